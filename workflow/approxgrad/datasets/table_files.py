"""Text, Parquet and NumPy files as columns, with errors that name the file and what may help."""

from __future__ import annotations

import codecs
import io
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from approxgrad.datasets.faults import DatasetError, listed, reading
from approxgrad.datasets.stray_files import is_hidden
from approxgrad.datasets.table_columns import check_names
from approxgrad.datasets.table_options import TEXT_FILES, CsvFormat, ending
from approxgrad.messages import one_line
from approxgrad.storage.array_files import load_arrays
from approxgrad.storage.beginnings import recognised
from approxgrad.storage.damage import DAMAGES
from approxgrad.storage.table_checks import TableError

CP1252 = "`csv: {encoding: cp1252}`"
UTF_16 = "`csv: {encoding: utf-16}`"

Column = NDArray[Any]

Chosen = tuple[list[str], list[str]]
"""Columns that are read, and those of them that hold text in a file that does not know types."""


def read_columns(path: Path, choose: Callable[[list[str]], Chosen], written: CsvFormat) -> dict[str, Column]:
    """Return the columns of a text or ``.parquet`` file that are chosen from the names of all, or raise a DatasetError.

    A column without a name is passed over: programs write the numbers of rows there.
    """
    fault = f"{path}: cannot be read as {ending(path)[1:]}"
    with reading(fault, missing=f"{path}: no such file", errors=(*DAMAGES, pa.ArrowException)):
        if ending(path) in TEXT_FILES:
            columns = _text_columns(path, choose, written, fault)
        else:
            file = pq.ParquetFile(path, page_checksum_verification=True)
            names, _ = choose([str(name) for name in file.schema_arrow.names])
            check_names(path, names, file.schema_arrow.names)
            frame = file.read(columns=names).to_pandas(ignore_metadata=True)
            columns = {name: np.asarray(frame[name]) for name in names}
    if not len(next(iter(columns.values()))):
        raise DatasetError(f"{path}: has no rows")
    return columns


def read_arrays(path: Path, names: Sequence[str], effects: str | None) -> tuple[Column, Column, Column | None]:
    """Return features, targets and perhaps effects by their names from an ``.npz`` file, or raise a DatasetError."""
    try:
        arrays = load_arrays(path, [*names, *([effects] if effects else [])])
    except TableError as error:
        raise DatasetError(str(error)) from None
    features, target = (arrays[name] for name in names)
    if features.ndim != 2 or 0 in features.shape:
        raise DatasetError(f"{path}: array {names[0]} has the shape {features.shape}, expected (rows, features)")
    if target.shape not in ((len(features),), (len(features), 1)):
        raise DatasetError(f"{path}: array {names[1]} has the shape {target.shape}, expected ({len(features)},)")
    if effects and arrays[effects].shape != features.shape:
        raise DatasetError(f"{path}: array {effects} has the shape {arrays[effects].shape}, expected {features.shape}")
    return features, target.reshape(-1), arrays[effects] if effects else None


def _text_columns(
    path: Path, choose: Callable[[list[str]], Chosen], written: CsvFormat, fault: str
) -> dict[str, Column]:
    if path.suffix.lower() in TEXT_FILES and (other := recognised(path)):
        raise DatasetError(f"{fault}; {other}")
    # Only an empty field is missing unless the options say more: NA or None can be the name of a class.
    options: dict[str, Any] = {
        "keep_default_na": False,
        "na_values": ["", *written.missing_marks],
        "low_memory": False,
        "sep": written.separates(path),
        "decimal": written.decimal,
        "thousands": written.thousands,
        "encoding": written.encoding,
        "skiprows": written.skip,
    }
    try:
        # Read apart, since pandas renames repeated columns.
        first = pd.read_csv(_text(path), header=None, nrows=1, dtype=str, **options).iloc[0]
        found = [str(name) if isinstance(name, str) else "" for name in first]
        if not written.header:
            found = [str(place) for place in range(1, len(first) + 1)]
        names, text = choose(found)
        check_names(path, names, found)
        types = {name if written.header else found.index(name): str for name in text}
        frame = pd.read_csv(_text(path), header=0 if written.header else None, dtype=types, **options)
    except UnicodeDecodeError as error:
        raise DatasetError(f"{fault} ({one_line(error)}); perhaps {_likely(path)}") from None
    except UnicodeError as error:
        raise DatasetError(f"{fault} ({one_line(error)}); perhaps another `csv: {{encoding: ...}}`") from None
    if len(frame) and not isinstance(frame.index, pd.RangeIndex):
        raise DatasetError(f"{path}: row 1 has more fields than the header")
    return {name: np.asarray(frame.iloc[:, found.index(name)]) for name in names}


def _text(path: Path) -> Path | io.BytesIO:
    """Return what pandas reads: of a .zip archive the only file that a person has put there."""
    if path.suffix.lower() != ".zip":
        return path
    with zipfile.ZipFile(path) as archive:
        files = [name for name in archive.namelist() if not name.endswith("/")]
        names = [name for name in files if not any(map(is_hidden, name.split("/")))]
        if len(names) != 1:
            raise DatasetError(f"{path}: holds {listed(names)}, expected one text file")
        return io.BytesIO(archive.read(names[0]))


def _likely(path: Path) -> str:
    """Return what a file that is not text in the expected encoding is likely to be."""
    with path.open("rb") as file:
        if file.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
            return UTF_16
    return CP1252
