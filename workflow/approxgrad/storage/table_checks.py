"""What the files of data sets and results must contain, whoever wrote them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from approxgrad.storage.row_groups import METADATA_KEY


class TableError(ValueError):
    """A file that cannot be read as the table that it should be."""


def checked_document(file: pq.ParquetFile, path: Path | str) -> dict[str, Any]:
    """Return the JSON document in the metadata of a file; without one, raise a TableError."""
    try:
        document = json.loads((file.schema_arrow.metadata or {})[METADATA_KEY])
    except KeyError:
        raise TableError(f"{path}: has no metadata of approxgrad, so approxgrad did not write it") from None
    if not isinstance(document, dict):
        raise TableError(f"{path}: has metadata that are not a mapping, so approxgrad did not write it")
    return document


def matrix(column: pa.ChunkedArray, name: str, path: Path | str) -> NDArray[Any]:
    """Return a column of lists as an (N, d) array; a TableError if they differ in length or are missing."""
    rows = len(column)
    if not (pa.types.is_list(column.type) or pa.types.is_fixed_size_list(column.type)):
        raise TableError(f"{path}: column {name} holds {column.type}, expected lists of numbers")
    flat = column.combine_chunks().flatten().to_numpy(zero_copy_only=False)
    if column.null_count or rows == 0 or len(flat) % rows or len(set(pc.list_value_length(column).to_pylist())) > 1:
        raise TableError(f"{path}: column {name} does not hold lists of one length")
    if flat.dtype.kind != "f" or not np.isfinite(flat).all():
        raise TableError(f"{path}: column {name} does not hold only finite numbers")
    return np.asarray(flat.reshape(rows, -1))


def check_attributions(found: pa.Schema, expected: pa.Schema, document: Mapping[str, Any], path: Path | str) -> None:
    """Refuse an attribution file with columns of other types, or that does not say which gradient source it has."""
    for field in found:
        if field.name not in expected.names or pa.types.is_list(expected.field(field.name).type):
            continue
        own = expected.field(field.name).type
        if field.type != own:
            raise TableError(f"{path}: column {field.name} holds {field.type}, expected {own}")
    if not isinstance(document.get("family"), str):
        raise TableError(f"{path}: does not say from which gradient source it comes")
    setting = document.get("setting")
    if setting is not None and not (isinstance(setting, (int, float)) and math.isfinite(setting) and setting > 0):
        raise TableError(f"{path}: says that its setting is {setting!r}, expected a positive number or null")
