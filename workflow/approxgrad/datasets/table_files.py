"""Rows of CSV, Parquet and NumPy files as arrays, with errors that name file, column and row."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from approxgrad.datasets.faults import DatasetError, listed, reading
from approxgrad.datasets.labels import labels_of
from approxgrad.datasets.precision import single
from approxgrad.messages import one_line
from approxgrad.storage.array_files import load_arrays
from approxgrad.storage.damage import DAMAGES
from approxgrad.storage.table_checks import TableError

LARGEST_EXACT = 2**53  # up to here a double holds every integer


@dataclass(frozen=True)
class Rows:
    """Some rows of a table."""

    features: NDArray[np.float64]  # (N, d)
    target: NDArray[Any]  # (N,): labels as text, numbers or truth values, or float32 values of a regression
    effects: NDArray[np.float32] | None  # (N, d): the true effects of the features, if known
    where: str  # file, for messages
    columns: tuple[str, ...]  # file and column of each feature, for messages


def read_columns(path: Path, features: Sequence[str], target: str, effects: Sequence[str], task: str) -> Rows:
    """Read named columns of a ``.csv`` or ``.parquet`` file, or raise a DatasetError.

    In a ``classification`` the target holds labels, as text in a CSV file; in a ``regression`` it is a number.
    """
    named = list(dict.fromkeys([*features, target, *effects]))
    columns = _columns(path, named, text=[target] if task == "classification" else [])
    wheres = {name: f"{path}: column {one_line(name)}" for name in named}
    return Rows(
        features=np.stack([_numbers(columns[name], wheres[name]) for name in features], axis=1),
        target=_target(columns[target], task, wheres[target]),
        effects=np.stack([_single(columns[name], wheres[name]) for name in effects], axis=1) if effects else None,
        where=str(path),
        columns=tuple(wheres[name] for name in features),
    )


def read_arrays(path: Path, names: Sequence[str], effects: str | None, task: str) -> Rows:
    """Read features, targets and perhaps effects by their names from an ``.npz`` file, or raise a DatasetError."""
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

    def columns(name: str) -> list[tuple[NDArray[Any], str]]:
        return [(column, f"{path}: array {name}, column {place}") for place, column in enumerate(arrays[name].T, 1)]

    return Rows(
        features=np.stack([_numbers(*column) for column in columns(names[0])], axis=1),
        target=_target(target.reshape(-1), task, f"{path}: array {names[1]}"),
        effects=np.stack([_single(*column) for column in columns(effects)], axis=1) if effects else None,
        where=f"{path}: {names[0]}",
        columns=tuple(where for _, where in columns(names[0])),
    )


def _columns(path: Path, names: list[str], text: list[str]) -> dict[str, NDArray[Any]]:
    fault = f"{path}: cannot be read as {path.suffix[1:].lower()}"
    with reading(fault, missing=f"{path}: no such file", errors=(*DAMAGES, pa.ArrowException)):
        if path.suffix.lower() == ".parquet":
            file = pq.ParquetFile(path, page_checksum_verification=True)
            _check_names(path, names, file.schema_arrow.names)
            frame = file.read(columns=names).to_pandas(ignore_metadata=True)
        else:
            # Only an empty field is missing: NA or None can be the name of a class.
            options: dict[str, Any] = {"keep_default_na": False, "na_values": [""], "low_memory": False}
            # Read apart, since pandas renames repeated columns.
            header = pd.read_csv(path, header=None, nrows=1, dtype=str, **options).iloc[0]
            _check_names(path, names, header.dropna())
            frame = pd.read_csv(path, dtype=dict.fromkeys(text, str), **options)
            if len(frame) and not isinstance(frame.index, pd.RangeIndex):
                raise DatasetError(f"{path}: row 1 has more fields than the header")
    if len(frame) == 0:
        raise DatasetError(f"{path}: has no rows")
    return {name: np.asarray(frame[name]) for name in names}


def _check_names(path: Path, wanted: Iterable[str], found: Iterable[str]) -> None:
    known = [str(name) for name in found]
    for name in wanted:
        if known.count(name) > 1:
            raise DatasetError(f"{path}: has the column {name!r} {known.count(name)} times, expected it once")
        if name not in known:
            hint = ""
            for close in difflib.get_close_matches(name, known, n=1):
                # White space around a name is seen only in quotes.
                hint = f" (did you mean {repr(close) if close.strip() == name else one_line(close)}?)"
            raise DatasetError(f"{path}: has no column {name!r}, only {listed(known)}{hint}")


def _target(values: NDArray[Any], task: str, where: str) -> NDArray[Any]:
    return labels_of(values, where) if task == "classification" else _single(values, where)


def _single(values: NDArray[Any], where: str) -> NDArray[np.float32]:
    return single(_numbers(values, where), values, where)


def _numbers(values: NDArray[Any], where: str) -> NDArray[np.float64]:
    """Return a column as numbers; row numbers in messages count from 1 without the header."""
    if values.dtype.kind not in "biufOUT":
        raise DatasetError(f"{where}: contains {values.dtype}, expected numbers")
    with np.errstate(over="ignore"), reading(f"{where}: does not contain numbers", errors=(TypeError,)):
        numbers = np.asarray(_parsed(values)).astype(np.float64)
    wrong = np.flatnonzero(~np.isfinite(numbers))
    if wrong.size:
        value = values[wrong[0]]
        got = "is missing" if np.all(pd.isna(value)) else f"got {one_line(repr(str(value)), 60)}"
        raise DatasetError(f"{where}, row {wrong[0] + 1}: {got}, expected a finite number")
    if values.dtype.kind != "f":
        _check_digits(values, numbers, where)
    return numbers


def _parsed(values: NDArray[Any]) -> Any:
    """Return text and objects as numbers, or NaN."""
    if values.dtype.kind in "biuf":
        return values
    try:
        return pd.to_numeric(values, errors="coerce")
    except OverflowError:
        # Integers beyond the largest double, which pandas returns as Python's.
        return pd.to_numeric(np.array([str(value) for value in values], object), errors="coerce")


def _check_digits(values: NDArray[Any], numbers: NDArray[np.float64], where: str) -> None:
    """Refuse integers with more digits than a double has, if different ones would become equal."""
    long = np.flatnonzero(np.abs(numbers) > LARGEST_EXACT)
    if len({Decimal(str(value)) for value in values[long]}) > len(np.unique(numbers[long])):
        raise DatasetError(
            f"{where}, row {long[0] + 1}: got {one_line(values[long[0]], 60)}, which has too many digits: double "
            "precision keeps 15; subtract a constant in the file"
        )
