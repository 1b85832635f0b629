"""What the files of data sets and results must hold, whoever wrote them: a damaged or foreign one is refused."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from approxgrad.storage.row_groups import METADATA_KEY

if TYPE_CHECKING:
    from approxgrad.storage.tables import Split


class TableError(ValueError):
    """A table that cannot be read as what it should be."""


def checked_document(file: pq.ParquetFile, path: Path | str) -> dict[str, Any]:
    """Return the JSON document in a file's metadata, or raise a TableError if there is none."""
    try:
        document = json.loads((file.schema_arrow.metadata or {})[METADATA_KEY])
    except KeyError:
        raise TableError(f"{path}: has no metadata of approxgrad, so it was not written by it") from None
    if not isinstance(document, dict):
        raise TableError(f"{path}: has metadata that are no mapping, so it was not written by approxgrad")
    return document


def matrix(column: pa.ChunkedArray, name: str, path: Path | str) -> NDArray[Any]:
    """Return a column of equally long lists as an (N, d) array.

    Raises
    ------
    TableError
        If the lists differ in length or are missing.
    """
    rows = len(column)
    if not (pa.types.is_list(column.type) or pa.types.is_fixed_size_list(column.type)):
        raise TableError(f"{path}: column {name} holds {column.type}, expected lists of numbers")
    flat = column.combine_chunks().flatten().to_numpy(zero_copy_only=False)
    if column.null_count or rows == 0 or len(flat) % rows or len(set(pc.list_value_length(column).to_pylist())) > 1:
        raise TableError(f"{path}: column {name} does not hold lists of one length")
    if flat.dtype.kind != "f" or not np.isfinite(flat).all():
        raise TableError(f"{path}: column {name} does not hold finite numbers only")
    return np.asarray(flat.reshape(rows, -1))


def check_split(split: Split, path: Path | str) -> None:
    """Refuse a part of a data set whose columns and metadata do not fit each other.

    Raises
    ------
    TableError
        Naming what does not fit.
    """
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


def check_attributions(found: pa.Schema, expected: pa.Schema, document: Mapping[str, Any], path: Path | str) -> None:
    """Refuse an attribution file with columns of other types, or that does not say which gradient source it has.

    Raises
    ------
    TableError
        Naming the column or the key of the metadata.
    """
    for field in found:
        if field.name not in expected.names or pa.types.is_list(expected.field(field.name).type):
            continue
        if field.type != expected.field(field.name).type:
            raise TableError(
                f"{path}: column {field.name} holds {field.type}, expected {expected.field(field.name).type}"
            )
    step = document.get("step")
    if not isinstance(document.get("scheme"), str):
        raise TableError(f"{path}: does not say with which scheme it was made")
    if step is not None and not (isinstance(step, (int, float)) and math.isfinite(step) and step > 0):
        raise TableError(f"{path}: says that its step is {step!r}, expected a positive number or null")
