"""Parquet files of this package, read as a whole or in the pieces in which they were written."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from approxgrad.messages import one_line
from approxgrad.storage.seals import ParquetSeal
from approxgrad.storage.table_checks import TableError, checked_document


class TableFile:
    """A parquet file of this package with the `needed` columns, of which only what is asked for is read.

    It has its JSON document as `metadata`, its `schema` and its number of `rows`. A TableError says that it is not a
    file of this package, is damaged, or lacks a column.
    """

    def __init__(self, path: Path | str, needed: Collection[str] = ()) -> None:
        self.path = path
        with _as_table_errors(path):
            self._seal = ParquetSeal(path)
            # Files without digests may have the checksums of their format.
            self._file = pq.ParquetFile(path, page_checksum_verification=True)
            self.metadata: dict[str, Any] = checked_document(self._file, path)
        self.schema = self._file.schema_arrow
        missing = set(needed) - set(self.schema.names)
        if missing:
            raise TableError(f"{path}: lacks the columns {', '.join(sorted(missing))}")
        groups = range(self._file.num_row_groups)
        self._starts = np.cumsum([0, *(self._file.metadata.row_group(number).num_rows for number in groups)])
        self.rows = int(self._starts[-1])

    def read(self, columns: Sequence[str] | None = None) -> pa.Table:
        """Return all rows of some columns, or of all."""
        with _as_table_errors(self.path):
            self._seal.check(self._file.metadata, columns=columns)
            return self._file.read(columns=columns if columns is None else list(columns))

    def pieces(self, columns: Sequence[str]) -> Iterator[pa.Table]:
        """Yield some columns of one row group after the other; a TableError if there are no rows."""
        if not self.rows:
            raise TableError(f"{self.path}: has no rows")
        for number in range(self._file.num_row_groups):
            yield self._group(number, columns)

    def batches(self, columns: Sequence[str], rows: int) -> Iterator[pa.Table]:
        """Yield some columns in pieces of at most `rows` rows, however the file was written."""
        with _as_table_errors(self.path):
            self._seal.check(self._file.metadata, columns=columns)
            for batch in self._file.iter_batches(batch_size=rows, columns=list(columns)):
                yield pa.table(batch)

    def take(self, rows: Sequence[int] | NDArray[np.int64], columns: Sequence[str]) -> pa.Table:
        """Return some columns of the given rows, in this order; only the row groups that contain them are read."""
        chosen = np.asarray(rows, np.int64)
        numbers = np.searchsorted(self._starts, chosen, side="right") - 1
        parts, places = [], []
        for number in np.unique(numbers).tolist():
            own = np.flatnonzero(numbers == number)
            parts.append(self._group(number, columns).take(chosen[own] - self._starts[number]))
            places.append(own)
        if not parts:
            return self.schema.empty_table().select(list(columns))
        return pa.concat_tables(parts).take(np.argsort(np.concatenate(places), kind="stable"))

    def _group(self, number: int, columns: Sequence[str]) -> pa.Table:
        with _as_table_errors(self.path):
            self._seal.check(self._file.metadata, [number], columns)
            return self._file.read_row_group(number, columns=list(columns))


@contextmanager
def _as_table_errors(path: Path | str) -> Iterator[None]:
    """Say in one line which file cannot be read, and why."""
    try:
        yield
    except FileNotFoundError:
        raise TableError(f"{path}: no such file") from None
    except TableError:
        raise
    except (pa.ArrowException, OSError, ValueError, MemoryError) as error:
        raise TableError(f"{path}: cannot be read as parquet ({one_line(error)})") from None
