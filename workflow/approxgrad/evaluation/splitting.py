"""The error of a difference, split by measurement: what rounding adds to it, and what the step does by itself.

A source without rounding at the same step stands between: a difference minus that one is rounding, and that one minus
the exact attribution is truncation.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from approxgrad.evaluation.frames import read_keyed
from approxgrad.storage.attributions import attribution_file
from approxgrad.storage.table_checks import TableError, matrix
from approxgrad.storage.table_file import TableFile

ROUNDING, TRUNCATION = "rounding", "truncation"

CURVE = ["method", "family", "setting_name", "dtype"]
"""Columns that tell the curves of a model apart."""


def parts_table(inputs: Mapping[str, Any], params: Mapping[str, Any]) -> pa.Table:
    """Return the parts of the errors of a model's attributions over the setting, for a rule.

    The files ``rounded``, ``unrounded`` and ``exact`` belong together, and the ``methods`` are those of each. There is
    a row for each of :data:`CURVE`, ``setting`` and ``part``: ``unrounded`` (its family), ``error`` (median over the
    samples of the L2 norm of the part over that of the exact attribution), ``lower_quartile``, ``upper_quartile`` and
    ``n`` (samples whose exact attribution is not zero). A TableError says that a file lacks a sample.
    """
    rows = []
    files = (inputs["rounded"], inputs["unrounded"], inputs["exact"])
    for method, *paths in zip(params["methods"], *files, strict=True):
        rounded, unrounded, exact = (attribution_file(path, ["attribution"]) for path in paths)
        described: dict[str, Any] = {"unrounded": unrounded.metadata["family"]}
        described |= {name: rounded.metadata[name] for name in ("family", "setting_name", "dtype", "setting")}
        sample = rounded.read(["sample"])["sample"].to_numpy()
        maps = [_maps(file, sample) for file in (rounded, unrounded, exact)]
        size = np.linalg.norm(maps[2], axis=1)
        for part, difference in ((ROUNDING, maps[0] - maps[1]), (TRUNCATION, maps[1] - maps[2])):
            errors = np.linalg.norm(difference, axis=1)[size > 0] / size[size > 0]
            low, middle, high = np.quantile(errors, [0.25, 0.5, 0.75]) if len(errors) else [math.nan] * 3
            numbers = {"error": middle, "lower_quartile": low, "upper_quartile": high, "n": len(errors)}
            rows.append({"method": method, **described, "part": part, **numbers})
    return pa.Table.from_pandas(pd.DataFrame(rows), preserve_index=False)


def _maps(file: TableFile, sample: NDArray[np.int64]) -> NDArray[np.float64]:
    known = {number: row for row, number in enumerate(file.read(["sample"])["sample"].to_pylist())}
    missing = [number for number in sample.tolist() if number not in known]
    if missing:
        raise TableError(f"{file.path}: lacks sample {missing[0]}")
    taken = file.take(np.array([known[number] for number in sample.tolist()]), ["attribution"])
    return matrix(taken["attribution"], "attribution", file.path).astype(np.float64)


def read_parts(paths: Iterable[Any], models: Iterable[tuple[str, str]]) -> pd.DataFrame:
    """Return the tables of several models, with data set and model as columns."""
    named = zip(paths, models, strict=True)
    parts = [read_keyed(path, [*CURVE, "part"], dataset=dataset, model=model) for path, (dataset, model) in named]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def ruled(curve: pd.DataFrame) -> tuple[float, float]:
    """Return the largest setting below which rounding is the larger part throughout, and the next one.

    The `curve` has the rows of one of :data:`CURVE`. NaN stands for no such setting: the first is NaN if truncation is
    the larger part already at the smallest setting, the second if rounding is so at all.
    """
    wide = curve.pivot_table(index="setting", columns="part", values="error").sort_index()
    rounding = (wide[ROUNDING] >= wide[TRUNCATION]).to_numpy()
    settings = wide.index.to_numpy(float)
    count = int(np.argmin(rounding)) if not rounding.all() else len(rounding)
    last = settings[count - 1] if count else math.nan
    return float(last), float(settings[count]) if count < len(settings) else math.nan
