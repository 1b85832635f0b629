"""Parquet files with a JSON document in their metadata: how all results lie on disk."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from approxgrad.storage.files import write_atomically
from approxgrad.storage.row_groups import document_schema, writer_options
from approxgrad.storage.seals import seal_parquet
from approxgrad.storage.table_file import TableFile


def write_table(path: Path | str, table: pa.Table, metadata: Mapping[str, Any]) -> None:
    """Write a table with a JSON document as its metadata."""
    table = table.replace_schema_metadata(document_schema(table.schema, metadata).metadata)

    def write(temporary: Path) -> None:
        pq.write_table(table, temporary, **writer_options(table.schema))
        seal_parquet(temporary)

    write_atomically(path, write)


def read_table(path: Path | str, columns: list[str] | None = None) -> tuple[pa.Table, dict[str, Any]]:
    """Return a table or some columns, and the JSON document in its metadata; errors of :class:`TableFile`."""
    file = TableFile(path, columns or ())
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
