"""Columns of a file as features, targets and effects: numbers, categories, and what is missing."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from approxgrad.datasets.faults import DatasetError, listed, reading
from approxgrad.datasets.labels import labels_of, ordered
from approxgrad.datasets.precision import single
from approxgrad.messages import one_line

Missing = Literal["drop", "mean"]

LARGEST_EXACT = 2**53
"""Up to here a double holds every integer."""

MOST_CATEGORIES = 100
"""More different values than this, or than half of the rows, are names of rows and not categories."""

FEW_ROWS = 10
"""In so few rows a column may count by chance."""

MARKS = {
    *("na", "n/a", "#n/a", "nan", "null", "none", "nil", "?", "-", "--", ".", "missing", "unknown"),
    *("inf", "-inf", "+inf", "infinity", "-infinity", "#div/0!", "#value!", "#ref!", "#name?", "#num!", "#null!"),
}
"""Text, in lower case, that often stands for a missing value."""

HINTS = {
    re.compile(r"[-+]?\d{1,3}(,\d{3})+(\.\d*)?"): "; `csv: {thousands: ','}` is for numbers such as 1,000",
    re.compile(r"[-+]?\d{1,3}('\d{3})+(\.\d*)?"): "; `csv: {thousands: \"'\"}` is for numbers such as 1'000",
    re.compile(r"[-+]?\d+(\.\d{3})*,\d+"): "; `csv: {decimal: ','}` is for decimal commas",
    re.compile(r"\d{4}-\d\d?-\d\d?.*|\d\d?[./]\d\d?[./]\d{2,4}.*"): (
        "; write dates as numbers, such as days since the first, or leave them out with `without`"
    ),
    re.compile(r"[^\w]*[-+\u2212]?\s*\d[\d.,\s]*\s*[^\d\s]*"): "; a number must stand alone, without units or signs",
}
"""What helps for text that looks like a number or a date; the first that fits."""


@dataclass(frozen=True)
class Rows:
    """Some rows of a table; a feature that is missing is NaN."""

    features: NDArray[np.float64]  # (N, d)
    target: NDArray[Any]  # (N,): labels as text, numbers or truth values, or float32 values of a regression
    effects: NDArray[np.float32] | None  # (N, d): the true effects of the features, if known
    where: str  # file, for messages
    columns: tuple[str, ...]  # file and column of each feature, for messages
    numbers: NDArray[np.int64]  # (N,): of the rows in the file, from 1 on without the header
    names: tuple[str, ...] = ()  # of the features, where they have names
    categories: Mapping[str, NDArray[np.object_]] | None = None  # (N,) text or None of each categorical column
    order: tuple[str, ...] = ()  # names of the columns, numbers and categories, as they are chosen
    notes: tuple[str, ...] = ()  # what was done about rows with missing values, and what a user may have overlooked


def rows_of_columns(
    path: Path,
    columns: Mapping[str, NDArray[Any]],
    features: Sequence[str],
    target: str,
    effects: Sequence[str],
    task: str,
    *,
    categorical: Sequence[str] = (),
    missing: Missing | None = None,
) -> Rows:
    """Return the rows of a file with named columns, or raise a DatasetError."""
    wheres = {name: f"{path}: column {one_line(name)}" for name in columns}
    numeric = [name for name in features if name not in categorical]
    rows = len(columns[target])
    matrix = [_numbers(columns[name], wheres[name], words=True) for name in numeric]
    truth = [(columns[name], wheres[name]) for name in effects]
    own = Rows(
        features=np.stack(matrix, axis=1) if matrix else np.empty((rows, 0)),
        target=columns[target],
        effects=None,
        where=str(path),
        columns=tuple(wheres[name] for name in numeric),
        numbers=np.arange(1, rows + 1),
        names=tuple(numeric),
        categories={name: _words(columns[name]) for name in features if name in categorical},
        order=tuple(features),
        notes=tuple(
            f"{wheres[name]}: numbers the rows; if it is no feature, name it in `without`"
            for name, values in zip(numeric, matrix, strict=True)
            if rows > FEW_ROWS and np.all(np.diff(values) == 1)
        ),
    )
    return _complete(own, truth, task, wheres[target], missing)


def rows_of_arrays(
    path: Path,
    names: Sequence[str],
    arrays: tuple[NDArray[Any], NDArray[Any], NDArray[Any] | None],
    effects: str | None,
    task: str,
    missing: Missing | None = None,
) -> Rows:
    """Return the rows of a file of arrays, or raise a DatasetError."""
    features, target, truth = arrays

    def columns(name: str, values: NDArray[Any]) -> list[tuple[NDArray[Any], str]]:
        return [(column, f"{path}: array {name}, column {place}") for place, column in enumerate(values.T, 1)]

    given = columns(names[0], features)
    own = Rows(
        features=np.stack([_numbers(*column) for column in given], axis=1),
        target=target,
        effects=None,
        where=f"{path}: {names[0]}",
        columns=tuple(where for _, where in given),
        numbers=np.arange(1, len(target) + 1),
    )
    known = [] if truth is None or effects is None else columns(effects, truth)
    return _complete(own, known, task, f"{path}: array {names[1]}", missing)


def encoded(parts: Mapping[str, Rows]) -> tuple[dict[str, Rows], tuple[str, ...]]:
    """Return rows with a feature of 0 and 1 for each category, and the column that each feature is from.

    Categories are those of all parts, numbers by size and others by letter. A missing one is NaN in all its features.
    Without categorical columns the rows are as they were, and no columns are returned.
    """
    first = next(iter(parts.values()))
    if not first.categories:
        return dict(parts), ()
    found = {name: _categories(name, parts) for name in first.categories}
    groups = tuple(name for name in first.order for _ in found.get(name, [name]))
    result = {}
    for part, rows in parts.items():
        numeric = {name: rows.features[:, [place]] for place, name in enumerate(rows.names)}
        places = dict(zip(rows.names, rows.columns, strict=True))
        blocks, names, columns = [], [], []
        for name in rows.order:
            if name in numeric:
                blocks.append(numeric[name])
                names.append(name)
                columns.append(places[name])
                continue
            given = (rows.categories or {})[name]
            block = np.stack([given == category for category in found[name]], axis=1).astype(np.float64)
            block[[value is None for value in given]] = np.nan
            blocks.append(block)
            names += [f"{name}={one_line(category)}" for category in found[name]]
            columns += [f"{rows.where}: column {one_line(name)}"] * len(found[name])
        result[part] = replace(
            rows, features=np.concatenate(blocks, axis=1), names=tuple(names), columns=tuple(columns), categories=None
        )
    return result, groups


def filled(features: NDArray[np.float64], means: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return features with the means in place of missing values."""
    return np.where(np.isnan(features), means, features)


def training_means(features: NDArray[np.float64], columns: Sequence[str]) -> NDArray[np.float64]:
    """Return the mean of each feature over the training rows that have it, or raise a DatasetError if none has."""
    present = ~np.isnan(features)
    empty = np.flatnonzero(~present.any(axis=0))
    if empty.size:
        raise DatasetError(f"{columns[empty[0]]}: is missing in all training rows, so it has no mean there")
    return np.asarray(np.mean(features, axis=0, where=present))


def _complete(
    own: Rows, truth: Sequence[tuple[NDArray[Any], str]], task: str, where: str, missing: Missing | None
) -> Rows:
    """Return the rows with target and effects, without those that lack something if such are to be dropped."""
    absent = {name: np.isnan(column) for name, column in zip(own.columns, own.features.T, strict=True)}
    for name, words in (own.categories or {}).items():
        absent[f"{own.where}: column {one_line(name)}"] = np.array([word is None for word in words], bool)
    beside = {where: pd.isna(own.target)} | {name: np.asarray(pd.isna(values)) for values, name in truth}
    if missing is None:
        _refuse_missing(absent, beside, own)
    if missing == "drop":
        kept = ~np.any([*absent.values(), *beside.values()], axis=0)
    else:
        kept = np.ones(len(own.target), bool)
    lost = int((~kept).sum())
    if not kept.any():
        raise DatasetError(
            f"{own.where}: lacks a value in each of its {len(kept)} rows, so `missing: drop` leaves none"
        )
    numbers = own.numbers[kept]
    effects = [_single(values[kept], name, numbers) for values, name in truth]
    target = own.target[kept]
    notes = [
        *own.notes,
        *([f"{lost} of {len(kept)} rows of {own.where} lack a value and are left out"] if lost else []),
    ]
    gaps = int(sum(values.sum() for values in absent.values()))
    if missing == "mean" and gaps:
        notes.append(f"{gaps} missing values of {own.where} are the means of the training rows")
    return replace(
        own,
        features=own.features[kept],
        target=labels_of(target, where, numbers) if task == "classification" else _single(target, where, numbers),
        effects=np.stack(effects, axis=1) if effects else None,
        numbers=numbers,
        categories={name: words[kept] for name, words in (own.categories or {}).items()},
        notes=tuple(notes),
    )


def _refuse_missing(
    features: Mapping[str, NDArray[np.bool_]], beside: Mapping[str, NDArray[np.bool_]], own: Rows
) -> None:
    absent = {**features, **beside}
    counts = {name: int(values.sum()) for name, values in absent.items() if values.any()}
    if counts:
        first = min(int(absent[name].argmax()) for name in counts)
        means = "" if counts.keys() & beside else ", `missing: mean` takes the mean of the training rows"
        prefix = own.where if own.names or own.categories else own.where.rpartition(": ")[0]
        shown = listed(f"{name.removeprefix(f'{prefix}: ')} ({count})" for name, count in counts.items())
        raise DatasetError(
            f"{prefix}: lacks values, first in row {own.numbers[first]} of {len(own.numbers)}: {shown}; "
            f"`missing: drop` leaves such rows out{means}"
        )


def _categories(name: str, parts: Mapping[str, Rows]) -> list[str]:
    values = [value for rows in parts.values() for value in (rows.categories or {})[name] if value is not None]
    found = list(dict.fromkeys(values))
    where = next(iter(parts.values())).where
    if not found:
        raise DatasetError(f"{where}: column {one_line(name)}: has no value, expected categories")
    if len(found) > min(MOST_CATEGORIES, max(2, len(values) / 2)):
        raise DatasetError(
            f"{where}: column {one_line(name)}: has {len(found)} different values in {len(values)} rows, expected at "
            f"most {MOST_CATEGORIES} and half of the rows; leave it out with `without`"
        )
    return ordered(found)


def _words(values: NDArray[Any]) -> NDArray[np.object_]:
    """Return a categorical column as text, and None where it is missing."""
    words = np.empty(len(values), object)
    for place, (value, absent) in enumerate(zip(values.tolist(), pd.isna(values).tolist(), strict=True)):
        words[place] = None if absent else str(value)
    return words


def _single(values: NDArray[Any], where: str, rows: NDArray[np.int64]) -> NDArray[np.float32]:
    numbers = _numbers(values, where, rows)
    absent = np.flatnonzero(np.isnan(numbers))
    if absent.size:
        raise DatasetError(f"{where}, row {rows[absent[0]]}: is missing, expected a finite number")
    return single(numbers, values, where, rows)


def _numbers(
    values: NDArray[Any], where: str, rows: NDArray[np.int64] | None = None, *, words: bool = False
) -> NDArray[np.float64]:
    """Return a column as numbers, NaN where it is missing.

    A DatasetError names the first value that is no number; `words` says whether the column could be categorical.
    """
    if values.dtype.kind not in "biufOUT":
        raise DatasetError(f"{where}: contains {values.dtype}, expected numbers")
    with np.errstate(over="ignore"), reading(f"{where}: does not contain numbers", errors=(TypeError,)):
        numbers = np.asarray(_parsed(values)).astype(np.float64)
    absent = np.zeros(len(values), bool) if values.dtype.kind in "UT" else np.asarray(pd.isna(values))
    wrong = np.flatnonzero(~np.isfinite(numbers) & ~absent)
    if wrong.size:
        value = str(values[wrong[0]])
        row = wrong[0] + 1 if rows is None else rows[wrong[0]]
        hint = _hint(value) or ("; `categorical` is for columns of words, `without` leaves columns out" * words)
        raise DatasetError(f"{where}, row {row}: got {one_line(repr(value), 60)}, expected a finite number{hint}")
    if values.dtype.kind != "f":
        _check_digits(values, numbers, where)
    return numbers


def _hint(value: str) -> str:
    value = value.strip()
    if value.lower() in MARKS:
        return f"; `csv: {{missing_marks: [{value!r}]}}` if it stands for a missing value"
    return next((words for pattern, words in HINTS.items() if pattern.fullmatch(value)), "")


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
