"""From attributions to tables: measures for every sample, and their summary."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from approxgrad.evaluation.metrics import METRICS, Array, compare
from approxgrad.evaluation.uncertainty import Bootstrap, intervals
from approxgrad.storage.cached_arrays import read_arrays
from approxgrad.storage.table_checks import TableError
from approxgrad.storage.table_file import TableFile
from approxgrad.storage.tables import attribution_file, matrix
from approxgrad.study.sources import GradientSource, described_source

KEYS = ["dataset", "model", "method", "gradient", "scheme", "step", "dtype", "reference"]
"""Columns that tell the rows of the summary apart, besides the metric."""

COMPARED = ["attribution", "truth"]
"""Columns of an attribution file that are needed here."""


def evaluate_method(exact: Sequence[Path | str], approximated: Sequence[Path | str]) -> pa.Table:
    """Return the measures of every sample of one data set, model and method.

    Parameters
    ----------
    exact : sequence of path
        The exact attribution in each precision that the approximated ones have.
    approximated : sequence of path
        The approximated ones.

    Returns
    -------
    Table
        One row for each gradient source, reference and sample: columns ``gradient``, ``scheme``, ``step``,
        ``dtype``, ``reference``, ``sample`` and the names of :data:`approxgrad.evaluation.metrics.METRICS`. The
        reference ``exact`` is of the same precision and there for approximated attributions; ``truth``, where known,
        is there for all. An undefined measure is null.

    Raises
    ------
    TableError
        If a sample or a precision lacks its exact attribution or the maps differ in size.
    """
    references = {}
    parts = []
    for path in exact:
        file = attribution_file(path, COMPARED)
        references[described_source(file.metadata).dtype] = file
        parts += _measured_file(file, None)
    for path in approximated:
        file = attribution_file(path, COMPARED)
        dtype = described_source(file.metadata).dtype
        if dtype not in references:
            raise TableError(f"{path}: has no exact attribution of {dtype}")
        parts += _measured_file(file, references[dtype])
    return pa.concat_tables(parts)


def _measured_file(file: TableFile, exact: TableFile | None) -> list[pa.Table]:
    """Compare the maps of a file with the exact ones, if given, and with the true effects, where known.

    Both files are read in step, so that few of their rows are in memory at once.
    """
    sample = file.read(["sample"])["sample"].to_numpy()
    positions = None if exact is None else _positions(exact, sample, file.path)
    found: dict[str, list[dict[str, Array]]] = {"exact": [], "truth": []}
    done = pieces = 0
    for piece in file.pieces(["attribution", "truth"]):
        maps = matrix(piece["attribution"], "attribution", file.path)
        if exact is not None and positions is not None:
            taken = exact.take(positions[done : done + len(piece)], ["attribution"])
            reference = matrix(taken["attribution"], "attribution", exact.path)
            if maps.shape[1] != reference.shape[1]:
                widths = maps.shape[1], reference.shape[1]
                raise TableError(f"{file.path}: has {widths[0]} features, the exact attribution {widths[1]}")
            found["exact"].append(compare(maps, reference))
        if piece["truth"].null_count < len(piece):
            found["truth"].append(compare(maps, matrix(piece["truth"], "truth", file.path)))
        done, pieces = done + len(piece), pieces + 1
    if len(found["truth"]) not in (0, pieces):
        raise TableError(f"{file.path}: column truth does not hold lists of one length")
    gradient, step = described_source(file.metadata), file.metadata["step"]
    return [
        _measure_table(
            sample,
            {metric: np.concatenate([part[metric] for part in parts]) for metric in METRICS},
            gradient,
            step,
            name,
        )
        for name, parts in found.items()
        if parts
    ]


def evaluate_arrays(
    paths: Sequence[Path | str], steps: Sequence[float], scheme: str, names: dict[str, str]
) -> pa.Table:
    """Return the measures of every sample of cached maps: the columns of :func:`evaluate_method`.

    Parameters
    ----------
    paths : sequence of path
        Files as :func:`approxgrad.storage.cached_arrays.read_arrays` takes them.
    steps : sequence of float
        The step of each of them.
    scheme : str
        The finite-difference scheme of all.
    names : dict
        Names of the arrays: ``exact`` and ``approximated``.
    """
    parts = []
    for path, step in zip(paths, steps, strict=True):
        exact, approximated = read_arrays(path, names)
        source = GradientSource(scheme, step)
        values = compare(approximated, exact)
        parts.append(_measure_table(np.arange(len(exact)), values, source, step, "exact"))
    return pa.concat_tables(parts)


def _measure_table(
    sample: NDArray[np.int64], values: dict[str, Array], gradient: GradientSource, step: float | None, reference: str
) -> pa.Table:
    """Return the measures of some samples as a table; `step` is the one used, also where it was chosen."""
    rows = len(sample)
    columns = {
        "gradient": pa.array([gradient.name] * rows),
        "scheme": pa.array([gradient.scheme] * rows),
        "step": pa.array([step] * rows, pa.float64()),
        "dtype": pa.array([gradient.dtype] * rows),
        "reference": pa.array([reference] * rows),
        "sample": pa.array(sample),
    }
    for metric, measures in values.items():
        columns[metric] = pa.array(measures, mask=np.isnan(measures))
    return pa.table(columns)


def _positions(exact: TableFile, sample: NDArray[np.int64], path: Path | str) -> NDArray[np.int64]:
    """Return the rows of the exact attributions of some samples."""
    known = {number: row for row, number in enumerate(exact.read(["sample"])["sample"].to_pylist())}
    missing = [number for number in sample.tolist() if number not in known]
    if missing:
        raise TableError(f"{path}: sample {missing[0]} has no exact attribution")
    return np.array([known[number] for number in sample.tolist()])


def summarise(metrics: pd.DataFrame, bootstrap: Bootstrap) -> pd.DataFrame:
    """Return the distribution of every measure over the samples.

    Parameters
    ----------
    metrics : DataFrame
        One row per sample, with the columns :data:`KEYS`, ``sample`` and the names of
        :data:`approxgrad.evaluation.metrics.METRICS`.
    bootstrap : Bootstrap
        How the intervals of mean and median are computed.

    Returns
    -------
    DataFrame
        One row for each of :data:`KEYS` and ``metric``: ``mean``, the ends ``mean_low`` and ``mean_high`` of its
        interval, ``std`` (population), ``median``, ``median_low``, ``median_high``, ``lower_quartile``,
        ``upper_quartile``, ``n`` (samples that the numbers are over) and ``undefined`` (samples left out).
    """
    tidy = metrics.melt(id_vars=[*KEYS, "sample"], value_vars=list(METRICS), var_name="metric")
    groups = tidy.groupby([*KEYS, "metric"], sort=False, dropna=False, observed=True)["value"]
    estimates = intervals([values.to_numpy() for _, values in groups], bootstrap)
    counts = groups.agg(n="count", size="size")
    columns = {
        **{name: estimates[name].to_numpy() for name in ("mean", "mean_low", "mean_high")},
        "std": groups.std(ddof=0),
        **{name: estimates[name].to_numpy() for name in ("median", "median_low", "median_high")},
        "lower_quartile": groups.quantile(0.25),
        "upper_quartile": groups.quantile(0.75),
        "n": counts["n"],
        "undefined": counts["size"] - counts["n"],
    }
    return pd.DataFrame(columns, index=counts.index).reset_index()
