"""Parquet files and their schemas: the only place that knows how results lie on disk."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from approxgrad.storage.files import write_atomically as write_atomically
from approxgrad.storage.row_groups import METADATA_KEY as METADATA_KEY
from approxgrad.storage.row_groups import document_schema, group_rows, write_row_groups, writer_options
from approxgrad.storage.seals import seal_parquet
from approxgrad.storage.table_checks import TableError as TableError
from approxgrad.storage.table_checks import check_attributions
from approxgrad.storage.table_checks import matrix as matrix
from approxgrad.storage.table_file import TableFile

# Lists in result files have no fixed size: readers give one schema to all data sets, which differ in features.
ATTRIBUTION_SCHEMA = pa.schema(
    [
        ("sample", pa.int64()),
        ("target", pa.int64()),
        ("family", pa.string()),
        ("setting", pa.float64()),
        ("setting_name", pa.string()),
        ("chosen", pa.bool_()),
        ("dtype", pa.string()),
        ("evaluations", pa.int64()),
        # Float64 whatever a map was computed in: readers of a folder give all its files the schema of the first, which
        # would round the others to it.
        ("attribution", pa.list_(pa.float64())),
        ("input", pa.list_(pa.float32())),
        ("truth", pa.list_(pa.float32())),
        ("output", pa.float64()),
        ("baseline_output", pa.float64()),
    ]
)
SOURCE_COLUMNS = ["family", "setting", "setting_name", "chosen", "dtype", "evaluations"]
"""Columns that say what gradient an attribution has; the same for all its rows, and entries of the metadata."""

OPTIONAL_COLUMNS = ["output", "baseline_output"]
"""Columns that an attribution file may lack: without them it has no completeness residual, but all else."""


@dataclass(frozen=True)
class Split:
    """The training, validation or test part of a data set.

    Attributes
    ----------
    features : ndarray
        Shape (N, d), in the data's own units: float32, or float64 where float32 would lose what normalisation keeps.
    target : ndarray
        Shape (N,): int64 class numbers, or float32 values of a regression.
    effects : ndarray or None
        Float32 of shape (N, d): the true effect of every feature, where it is known.
    feature_shape : tuple of int
        Shape of one input; its product is d.
    classes : tuple of str
        Class names; empty for a regression.
    mean, std : tuple of float
        Normalisation for each channel (first axis of the feature shape), or a single number; the models see
        ``(features - mean) / std``.
    """

    features: NDArray[np.floating[Any]]
    target: NDArray[Any]
    effects: NDArray[np.float32] | None = None
    feature_shape: tuple[int, ...] = ()
    classes: tuple[str, ...] = ()
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)

    @property
    def outputs(self) -> int:
        """Number of outputs of a model for this data."""
        return len(self.classes) or 1

    def model_inputs(self) -> NDArray[np.float32]:
        """Return the normalised features, float32 of shape (N, *feature_shape)."""
        per_channel = (-1,) + (1,) * (len(self.feature_shape) - 1)
        mean = np.asarray(self.mean, self.features.dtype).reshape(per_channel)
        std = np.asarray(self.std, self.features.dtype).reshape(per_channel)
        return np.asarray((self.features.reshape(-1, *self.feature_shape) - mean) / std, np.float32)

    def rows(self, index: NDArray[np.int64]) -> Split:
        """Return the chosen rows."""
        effects = None if self.effects is None else self.effects[index]
        return replace(self, features=self.features[index], target=self.target[index], effects=effects)


def write_table(path: Path | str, table: pa.Table, metadata: Mapping[str, Any]) -> None:
    """Write a table with a JSON document as its metadata."""
    table = table.replace_schema_metadata(document_schema(table.schema, metadata).metadata)

    def write(temporary: Path) -> None:
        pq.write_table(table, temporary, **writer_options(table.schema))
        seal_parquet(temporary)

    write_atomically(path, write)


def read_table(
    path: Path | str, columns: list[str] | None = None, optional: Sequence[str] = ()
) -> tuple[pa.Table, dict[str, Any]]:
    """Return a table, all of it or some columns, and the JSON document in its metadata.

    Raises
    ------
    TableError
        If the file is no parquet file of this package, is damaged, or lacks a column that is not optional.
    """
    file = TableFile(path, set(columns or []) - set(optional))
    return file.read(columns), file.metadata


def fixed_lists(values: NDArray[Any]) -> pa.FixedSizeListArray:
    """Return an (N, d) array as a column of lists of fixed size d."""
    values = np.ascontiguousarray(values)
    return pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), values.shape[1])


def lists(values: NDArray[Any]) -> pa.ListArray:
    """Return an (N, d) array as a column of lists."""
    values = np.ascontiguousarray(values)
    offsets = np.arange(len(values) + 1, dtype=np.int32) * values.shape[1]
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(values.reshape(-1)))


def write_split(path: Path | str, split: Split, metadata: Mapping[str, Any]) -> None:
    """Write one part of a data set; `metadata` says where it came from."""
    columns = {"features": fixed_lists(split.features), "target": pa.array(split.target)}
    if split.effects is not None:
        columns["effects"] = fixed_lists(split.effects)
    document = {
        **metadata,
        "feature_shape": list(split.feature_shape),
        "classes": list(split.classes),
        "normalisation": {"mean": list(split.mean), "std": list(split.std)},
    }
    write_table(path, pa.table(columns), document)


def read_split(path: Path | str) -> Split:
    """Return one part of a data set.

    Raises
    ------
    TableError
        If the file does not have the schema of :func:`write_split`.
    """
    table, document = read_table(path)
    try:
        effects = matrix(table["effects"], "effects", path) if "effects" in table.column_names else None
        features = matrix(table["features"], "features", path)
        return _split(features, table["target"].to_numpy(), effects, document, path)
    except KeyError as missing:
        raise TableError(f"{path}: lacks {missing}, so it is no part of a data set") from None


def read_mean_input(path: Path | str) -> NDArray[np.float32]:
    """Return the mean model input of a part of a data set, reading it in pieces of bounded size.

    Returns
    -------
    ndarray
        Float32 of the shape of one input.

    Raises
    ------
    TableError
        As :func:`read_split`.
    """
    file = TableFile(path, ["features"])
    total, first = np.zeros(1), np.zeros(1, np.float32)
    for batch in file.batches(["features"], 4096):
        values = matrix(batch["features"], "features", path)
        if values.dtype == np.float64:
            # A sum of large numbers would lose digits that their differences have.
            first = first if first.dtype == np.float64 else values[0]
            values = values - first
        total = total + values.sum(axis=0, dtype=np.float64)
    mean = (first + total / max(file.rows, 1)).astype(first.dtype)[None]
    try:
        # Normalisation is affine, so the mean of the normalised rows is the normalised mean.
        target = np.zeros(1, np.int64 if file.metadata["classes"] else np.float32)
        inputs: NDArray[np.float32] = _split(mean, target, None, file.metadata, path).model_inputs()[0]
    except KeyError as missing:
        raise TableError(f"{path}: lacks {missing}, so it is no part of a data set") from None
    return inputs


def _split(
    features: NDArray[np.floating[Any]],
    target: NDArray[Any],
    effects: NDArray[np.float32] | None,
    document: dict[str, Any],
    path: Path | str,
) -> Split:
    try:
        shape = tuple(int(side) for side in document["feature_shape"])
        mean, std = (tuple(map(float, document["normalisation"][key])) for key in ("mean", "std"))
        classes = tuple(map(str, document["classes"]))
    except (TypeError, ValueError):
        raise TableError(f"{path}: has metadata that do not describe a data set") from None
    split = Split(features, target, effects, shape, classes, mean, std)
    _check_split(split, path)
    return split


def _check_split(split: Split, path: Path | str) -> None:
    """Refuse a part of a data set whose columns and metadata do not fit each other."""
    shape, width, target = split.feature_shape, split.features.shape[1], split.target
    if not shape or min(shape) < 1 or math.prod(shape) != width:
        raise TableError(f"{path}: has {width} features, which do not fill the shape {shape}")
    for key, values in (("mean", split.mean), ("std", split.std)):
        if len(values) not in (1, shape[0]) or not np.isfinite(values).all() or (key == "std" and min(values) <= 0):
            raise TableError(f"{path}: normalisation.{key} does not fit the shape {shape}")
    if split.effects is not None and split.effects.shape[1] != width:
        raise TableError(f"{path}: has {split.effects.shape[1]} effects for {width} features")
    if split.classes and (target.dtype.kind != "i" or not ((target >= 0) & (target < len(split.classes))).all()):
        raise TableError(f"{path}: column target does not hold class numbers from 0 to {len(split.classes) - 1}")
    if not split.classes and (target.dtype.kind != "f" or not np.isfinite(target).all()):
        raise TableError(f"{path}: column target does not hold finite numbers only")


@dataclass(frozen=True)
class Attributions:
    """One attribution file: the maps of one data set, model, method and gradient source.

    Attributes
    ----------
    sample : ndarray
        Int64 of shape (N,): row of the test split.
    attribution : ndarray
        Shape (N, d), float32 or float64 as it was computed; float64 when it is read from a file.
    inputs : ndarray
        Float32 of shape (N, d): what the model was given.
    target : ndarray or None
        Int64 of shape (N,): the explained output; None for a model with one output.
    truth : ndarray or None
        Float32 of shape (N, d): the true effects, where known.
    metadata : dict
        Feature shape, normalisation, gradient source, method options, cost and versions.
    output, baseline_output : ndarray or None
        Float64 of shape (N,): the explained output at the input and at the baseline, for methods that have one.
    """

    sample: NDArray[np.int64]
    attribution: NDArray[np.floating[Any]]
    inputs: NDArray[np.float32]
    target: NDArray[np.int64] | None
    truth: NDArray[np.float32] | None
    metadata: dict[str, Any]
    output: NDArray[np.float64] | None = None
    baseline_output: NDArray[np.float64] | None = None


def write_attributions(path: Path | str, result: Attributions) -> None:
    """Write one attribution file; its metadata hold :data:`SOURCE_COLUMNS`."""
    rows = len(result.sample)
    none = pa.nulls(rows, pa.list_(pa.float32()))
    columns = [
        pa.array(result.sample),
        pa.nulls(rows, pa.int64()) if result.target is None else pa.array(result.target),
        *(pa.array([result.metadata[name]] * rows, ATTRIBUTION_SCHEMA.field(name).type) for name in SOURCE_COLUMNS),
        lists(result.attribution.astype(np.float64)),
        lists(result.inputs),
        none if result.truth is None else lists(result.truth),
        *(
            pa.nulls(rows, pa.float64()) if values is None else pa.array(values, pa.float64())
            for values in (result.output, result.baseline_output)
        ),
    ]
    schema = document_schema(ATTRIBUTION_SCHEMA, result.metadata)
    write_row_groups(path, schema, [pa.table(columns, schema=schema)], group_rows(result.attribution.shape[1]))


def attribution_file(path: Path | str, needed: Sequence[str]) -> TableFile:
    """Return an attribution file to be read in pieces.

    Raises
    ------
    TableError
        If the file does not have the schema of :func:`write_attributions`.
    """
    file = TableFile(path, ["sample", *needed])
    check_attributions(file.schema, ATTRIBUTION_SCHEMA, file.metadata, path)
    if file.read(["sample"])["sample"].null_count:
        raise TableError(f"{path}: column sample lacks values")
    return file


def read_attributions(path: Path | str, rows: slice | Sequence[int] = slice(None)) -> Attributions:
    """Return one attribution file.

    Parameters
    ----------
    path : path
        The file.
    rows : slice or sequence of int
        Rows to read, by default all of them.

    Raises
    ------
    TableError
        If the file does not have the schema of :func:`write_attributions`.
    """
    needed = ["sample", "target", "attribution", "input", "truth"]
    file = attribution_file(path, needed)
    columns = [*needed, *(name for name in OPTIONAL_COLUMNS if name in file.schema.names)]
    table = file.read(columns) if rows == slice(None) else file.take(np.arange(file.rows)[rows], columns)
    known = {name for name in table.column_names if table[name].null_count < len(table)}
    return Attributions(
        sample=table["sample"].to_numpy(),
        attribution=matrix(table["attribution"], "attribution", path),
        inputs=matrix(table["input"], "input", path),
        target=table["target"].to_numpy() if "target" in known else None,
        truth=matrix(table["truth"], "truth", path) if "truth" in known else None,
        metadata=file.metadata,
        **{name: table[name].to_numpy() for name in OPTIONAL_COLUMNS if name in known},
    )
