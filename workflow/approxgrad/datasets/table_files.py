"""Rows of CSV, Parquet and NumPy files as arrays, with errors that name file, column and row."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from approxgrad.datasets.kinds import DatasetError
from approxgrad.messages import one_line
from approxgrad.storage.array_files import load_arrays
from approxgrad.storage.table_checks import TableError

SUFFIXES = (".csv", ".parquet")


@dataclass(frozen=True)
class Rows:
    """Some rows of a table.

    Attributes
    ----------
    features : ndarray
        Float32 of shape (N, d).
    target : ndarray
        Shape (N,): labels of any kind, or float32 values of a regression.
    effects : ndarray or None
        Float32 of shape (N, d): the true effects of the features, where known.
    where : str
        File, for messages.
    """

    features: NDArray[np.float32]
    target: NDArray[Any]
    effects: NDArray[np.float32] | None
    where: str

    def __len__(self) -> int:
        return len(self.features)

    def rows(self, index: NDArray[np.int64]) -> Rows:
        """Return the chosen rows."""
        effects = None if self.effects is None else self.effects[index]
        return replace(self, features=self.features[index], target=self.target[index], effects=effects)


def read_columns(path: Path, features: Sequence[str], target: str, effects: Sequence[str], task: str) -> Rows:
    """Read named columns of a CSV or Parquet file.

    Parameters
    ----------
    path : path
        Ends in ``.csv`` or ``.parquet``.
    features, target, effects : sequence of str, str, sequence of str
        Names of columns; no effects where they are not known.
    task : str
        ``classification``: the target is any kind of label; ``regression``: it is a number.

    Raises
    ------
    DatasetError
        If the file cannot be read, lacks a column, or a value is missing or no finite number.
    """
    columns = _columns(path, list(dict.fromkeys([*features, target, *effects])))
    numbers = {name: _numbers(columns[name], f"{path}: column {name}") for name in (*features, *effects)}
    where = f"{path}: column {target}"
    return Rows(
        features=np.stack([numbers[name] for name in features], axis=1),
        target=_target(columns[target], task, where),
        effects=np.stack([numbers[name] for name in effects], axis=1) if effects else None,
        where=str(path),
    )


def read_arrays(path: Path, names: Sequence[str], effects: str | None, task: str) -> Rows:
    """Read a matrix of features, a vector of targets and perhaps a matrix of effects from an ``.npz`` file.

    Parameters
    ----------
    path : path
        Read without unpickling.
    names : sequence of str
        Names of the arrays of the features and of the target.
    effects : str or None
        Name of the array of the effects.
    task : str
        As for :func:`read_columns`.

    Raises
    ------
    DatasetError
        If the file cannot be read, lacks an array, or an array does not have the shape or holds a value that it should.
    """
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
    return Rows(
        features=_matrix(features, f"{path}: array {names[0]}"),
        target=_target(target.reshape(-1), task, f"{path}: array {names[1]}"),
        effects=_matrix(arrays[effects], f"{path}: array {effects}") if effects else None,
        where=f"{path}: {names[0]}",
    )


def _columns(path: Path, names: list[str]) -> dict[str, NDArray[Any]]:
    try:
        if path.suffix.lower() == ".parquet":
            file = pq.ParquetFile(path, page_checksum_verification=True)
            _check_names(path, names, file.schema_arrow.names)
            frame = file.read(columns=names).to_pandas(ignore_metadata=True)
        else:
            # Only an empty field is missing: NA or None can be the name of a class.
            options: dict[str, Any] = {"keep_default_na": False, "na_values": [""], "low_memory": False}
            # Pandas renames a column that stands twice.
            header = pd.read_csv(path, header=None, nrows=1, dtype=str, **options).iloc[0]
            _check_names(path, names, header.dropna())
            frame = pd.read_csv(path, **options)
            if len(frame) and not isinstance(frame.index, pd.RangeIndex):
                raise DatasetError(f"{path}: row 1 has more fields than the header")
    except DatasetError:
        raise
    except FileNotFoundError:
        raise DatasetError(f"{path}: no such file") from None
    except (pa.ArrowException, ArithmeticError, LookupError, MemoryError, OSError, TypeError, ValueError) as error:
        raise DatasetError(f"{path}: cannot be read as {path.suffix[1:].lower()} ({one_line(error)})") from None
    if len(frame) == 0:
        raise DatasetError(f"{path}: has no rows")
    return {name: np.asarray(frame[name]) for name in names}


def _check_names(path: Path, wanted: Iterable[str], found: Iterable[str]) -> None:
    known = [str(name) for name in found]
    for name in wanted:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f" (did you mean {one_line(close[0])}?)" if close else ""
            shown = one_line(", ".join(known[:10]) + (", ..." if len(known) > 10 else ""))
            raise DatasetError(f"{path}: has no column {name!r}, only {shown if known else 'nothing'}{hint}")
        if known.count(name) > 1:
            raise DatasetError(f"{path}: has the column {name!r} {known.count(name)} times, expected it once")


def _target(values: NDArray[Any], task: str, where: str) -> NDArray[Any]:
    if task == "regression":
        return _numbers(values, where)
    missing = np.flatnonzero(pd.isna(values))
    if missing.size:
        raise DatasetError(f"{where}, row {missing[0] + 1}: is missing, expected a label")
    return values


def _numbers(values: NDArray[Any], where: str) -> NDArray[np.float32]:
    """Return a column as numbers; row numbers in messages count from 1 and leave out the header."""
    if values.dtype.kind not in "biufOUT":
        raise DatasetError(f"{where}: holds {values.dtype}, expected numbers")
    with np.errstate(over="ignore"):
        try:
            numbers = np.asarray(pd.to_numeric(values, errors="coerce")).astype(np.float32)
        except TypeError as error:
            raise DatasetError(f"{where}: does not hold numbers ({one_line(error)})") from None
    wrong = np.flatnonzero(~np.isfinite(numbers))
    if wrong.size:
        value = values[wrong[0]]
        got = "is missing" if np.all(pd.isna(value)) else f"got {one_line(repr(str(value)))}"
        raise DatasetError(f"{where}, row {wrong[0] + 1}: {got}, expected a finite number")
    return numbers


def _matrix(values: NDArray[Any], where: str) -> NDArray[np.float32]:
    columns = [_numbers(column, f"{where}, column {place}") for place, column in enumerate(values.T, start=1)]
    return np.stack(columns, axis=1)
