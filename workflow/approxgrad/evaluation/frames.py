"""Result files as pandas data frames."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from approxgrad.gradients.precisions import precedence
from approxgrad.storage.attributions import ATTRIBUTION_SCHEMA, SOURCE_COLUMNS, attribution_file
from approxgrad.storage.files import write_atomically
from approxgrad.storage.table_checks import matrix
from approxgrad.storage.table_file import TableFile
from approxgrad.storage.tables import write_table

SOURCE = ["gradient", *SOURCE_COLUMNS]
"""Columns that describe a gradient source, in tables and in the metadata of attribution files."""

KEYS = ["dataset", "model", "method", *SOURCE, "reference"]
"""Columns that tell the rows of the summary apart, besides the metric."""


def source_columns(source: Mapping[str, Any], rows: int) -> dict[str, pa.Array]:
    """Return the columns :data:`SOURCE` of a table in which all rows are of one source."""
    types = {name: ATTRIBUTION_SCHEMA.field(name).type for name in SOURCE_COLUMNS}
    return {name: pa.array([source[name]] * rows, types.get(name, pa.string())) for name in SOURCE}


def read_metrics(path: Path | str, dataset: str, model: str, method: str) -> pd.DataFrame:
    """Return the metrics of one data set, model and method with these three names as columns."""
    return read_keyed(path, [*SOURCE, "reference", "sample"], dataset=dataset, model=model, method=method)


def read_comparisons(paths: Iterable[Path | str], comparisons: Iterable[Sequence[str]]) -> pd.DataFrame:
    """Return the metrics of several comparisons (data set, model, method), one file each, as one table."""
    return pd.concat([read_metrics(path, *names) for path, names in zip(paths, comparisons, strict=True)])


def read_keyed(path: Path | str, needed: Sequence[str] = (), **keys: str) -> pd.DataFrame:
    """Return a table that has the needed columns; the names in its path become its first columns."""
    frame = TableFile(path, needed).read().to_pandas()
    return pd.concat([pd.DataFrame(keys, index=frame.index), frame], axis=1)


def read_shown(path: Path | str, dataset: str, model: str, method: str) -> pd.DataFrame:
    """Return the :func:`shown_rows` of one data set, model and method."""
    return shown_rows(read_metrics(path, dataset, model, method))


def shown_rows(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the rows that figures and sentences about settings show.

    For each data set, model and method these are rows of the :func:`.leading` precision. Settings that were chosen at
    run time are left out where others with the same ``setting_name`` were fixed.
    """
    keys = ["dataset", "model", "method"]
    order = {dtype: place for place, dtype in enumerate(sorted(frame["dtype"].unique(), key=precedence))}
    precision = frame["dtype"].map(order)
    rows = frame[precision == precision.groupby([frame[key] for key in keys]).transform("min")]
    by_setting = [rows[key] for key in [*keys, "setting_name"]]
    return rows[~rows["chosen"] | rows["chosen"].groupby(by_setting).transform("all")]


def ranges_table(inputs: Mapping[str, Any], params: Mapping[str, Any]) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Return smallest and largest value and number of samples of exact attributions, for a rule."""
    rows = []
    for path, names in zip(inputs["exact"], params["cells"], strict=True):
        file = attribution_file(path, ["attribution"])
        pieces = (matrix(piece["attribution"], "attribution", path) for piece in file.pieces(["attribution"]))
        ends = np.array([(maps.min(), maps.max()) for maps in pieces])
        rows.append((*names, ends[:, 0].min(), ends[:, 1].max(), file.rows))
    return pd.DataFrame(rows, columns=["dataset", "model", "method", "minimum", "maximum", "samples"]), {}


def measures_table(inputs: Mapping[str, Any], params: Mapping[str, Any]) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Return the test measures of all models, for a rule.

    Columns are ``dataset``, ``model``, its ``kind`` for readers, ``metric``, ``value`` and ``n``.
    """
    files = zip(inputs["measures"], params["models"], params["kinds"], strict=True)
    parts = [read_keyed(path, dataset=dataset, model=model, kind=kind) for path, (dataset, model), kind in files]
    return pd.concat(parts, ignore_index=True), {}


def write_both(frame: pd.DataFrame, parquet: Path | str, csv: Path | str, metadata: Mapping[str, Any]) -> None:
    """Write a table as parquet, with a JSON document as its metadata, and as CSV."""
    write_table(parquet, pa.Table.from_pandas(frame, preserve_index=False), metadata)
    write_atomically(csv, lambda path: frame.to_csv(path, index=False))
