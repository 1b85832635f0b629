"""Result files as pandas data frames."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from approxgrad.storage.table_file import TableFile
from approxgrad.storage.tables import attribution_file, matrix, read_table, write_atomically, write_table
from approxgrad.study.sources import AUTO

MEASURED = ("gradient", "scheme", "step", "dtype", "reference", "sample")
"""Columns that say what the measures in a row are of."""


def read_metrics(path: Path | str, dataset: str, model: str, method: str) -> pd.DataFrame:
    """Return the measures of one data set, model and method with these three names as columns.

    Raises
    ------
    TableError
        If the file is no table of measures.
    """
    return read_keyed(path, MEASURED, dataset=dataset, model=model, method=method)


def read_keyed(path: Path | str, needed: Sequence[str] = (), **keys: str) -> pd.DataFrame:
    """Return a table that has the needed columns; its first columns hold the names that stand in its path."""
    frame = TableFile(path, needed).read().to_pandas()
    return pd.concat([pd.DataFrame(keys, index=frame.index), frame], axis=1)


def read_step_metrics(path: Path | str, dataset: str, model: str, method: str) -> pd.DataFrame:
    """Return the rows of :func:`study_steps` of one data set, model and method."""
    return study_steps(read_metrics(path, dataset, model, method))


def study_steps(frame: pd.DataFrame) -> pd.DataFrame:
    """Return what figures and sentences about the steps of a study show: one precision, and the steps it names.

    Of several precisions of a data set, model and method it is float32. Steps that were chosen at run time are left
    out, unless there are no others.
    """
    keys = ["dataset", "model", "method"]
    rows = frame[frame["dtype"] == frame.groupby(keys, observed=True)["dtype"].transform("min")]
    chosen = rows["gradient"].str.contains(f"-{AUTO}")
    named = (rows["step"].notna() & ~chosen).groupby([rows[key] for key in keys], observed=True).transform("any")
    return rows[~(chosen & named)]


def exact_ranges(paths: Sequence[Path | str], cells: Sequence[tuple[str, str, str]]) -> pd.DataFrame:
    """Return the smallest and largest value of exact attributions.

    Parameters
    ----------
    paths : sequence of path
        Attribution files.
    cells : sequence of tuple of str
        Data set, model and method of each of them.

    Returns
    -------
    DataFrame
        Columns ``dataset``, ``model``, ``method``, ``minimum``, ``maximum`` and ``samples``.
    """
    rows = []
    for path, names in zip(paths, cells, strict=True):
        file = attribution_file(path, ["attribution"])
        pieces = (matrix(piece["attribution"], "attribution", path) for piece in file.pieces(["attribution"]))
        ends = np.array([(maps.min(), maps.max()) for maps in pieces])
        rows.append((*names, ends[:, 0].min(), ends[:, 1].max(), file.rows))
    return pd.DataFrame(rows, columns=["dataset", "model", "method", "minimum", "maximum", "samples"])


def rounding_scales(
    paths: Sequence[Path | str], comparisons: Sequence[tuple[str, str, str]]
) -> dict[tuple[str, str, str, str], float]:
    """Return what exact attributions say of rounding, for :func:`approxgrad.evaluation.convergence.recommended_steps`.

    Parameters
    ----------
    paths : sequence of path
        Exact attribution files; those of version 0.1 say nothing.
    comparisons : sequence of tuple of str
        Data set, model and method of the attributions that are compared with each of them.
    """
    scales = {}
    for path, (dataset, model, method) in zip(paths, comparisons, strict=True):
        document = read_table(path, [])[1]
        scale = document.get("rounding_scale")
        if scale is not None:
            scales[(dataset, model, method, document["dtype"])] = float(scale)
    return scales


def model_measures(paths: Sequence[Path | str], models: Sequence[tuple[str, str]]) -> pd.DataFrame:
    """Return the test measures of all models: columns ``dataset``, ``model``, ``metric``, ``value`` and ``n``."""
    frames = []
    for path, (dataset, model) in zip(paths, models, strict=True):
        frames.append(read_keyed(path, dataset=dataset, model=model))
    return pd.concat(frames, ignore_index=True)


def write_both(
    frame: pd.DataFrame, parquet: Path | str, csv: Path | str, metadata: Mapping[str, Any] | None = None
) -> None:
    """Write a table as parquet, with a JSON document as its metadata, and as CSV."""
    write_table(parquet, pa.Table.from_pandas(frame, preserve_index=False), metadata or {})
    write_atomically(csv, lambda path: frame.to_csv(path, index=False))
