"""The labels of a classification: the text in a file, or numbers if the file knows types."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from approxgrad.datasets.faults import DatasetError, lookalikes
from approxgrad.messages import one_line

Labels = NDArray[np.object_]

FRACTIONS = 20
"""More different numbers with a fraction than this, or than half of the rows, are measurements and not classes."""


def labels_of(values: NDArray[Any], where: str, rows: NDArray[np.int64]) -> Labels:
    """Return a column of labels as Python's text, numbers or truth values, or raise a DatasetError.

    The `rows` are the numbers of the rows in the file, for messages.
    """
    if values.dtype.kind not in "biufOUTS":
        raise DatasetError(f"{where}: contains {values.dtype}, expected labels: text, numbers or truth values")
    labels = np.empty(len(values), object)
    missing = pd.isna(values)
    for row, label in enumerate(values.tolist()):
        place = f"{where}, row {rows[row]}"
        if isinstance(label, bytes):
            try:
                label = label.decode()
            except UnicodeDecodeError:
                raise DatasetError(f"{place}: got {one_line(repr(label), 60)}, expected text in UTF-8") from None
        if missing[row] or (isinstance(label, str) and not label.strip()):
            raise DatasetError(f"{place}: is missing, expected a label")
        if isinstance(label, np.longdouble):
            label = float(label)
        if not isinstance(label, (str, bool, int, float, Decimal)):
            got = one_line(f"{type(label).__name__} {label}", 60)
            raise DatasetError(f"{place}: got the {got}, expected a label: text, number or truth value")
        labels[row] = label
    return labels


def classes_of(
    parts: Mapping[str, Labels], wheres: Mapping[str, str], as_text: bool, fewest: int = 2
) -> tuple[tuple[str, ...], dict[str, NDArray[np.int64]]]:
    """Return the ordered names of the classes, and the class numbers of every part, or raise a DatasetError.

    Text is ordered by letter and numbers by size. If the file of one part does not know types, all labels are compared
    `as_text`; numbers are still ordered by size. The `wheres` are the files for messages. There must be
    at least `fewest` classes.
    """
    where = " and ".join(dict.fromkeys(wheres.values()))
    if as_text:
        parts = {name: np.array([str(label) for label in labels], object) for name, labels in parts.items()}
    # Not sets: which of two equal numbers gives the name must not depend on the run.
    seen = {name: list(dict.fromkeys(labels.tolist())) for name, labels in parts.items()}
    _check_kinds(list(seen.values()), where, as_text)
    found = list(dict.fromkeys(label for labels in seen.values() for label in labels))
    if len(found) < fewest:
        first = next(iter(wheres.values()))
        raise DatasetError(f"{first}: target is always {one_line(found[0])}, expected several labels")
    numbers = {label: _number(label) for label in found if as_text or not isinstance(label, str)}
    found = ordered(found) if as_text else sorted(found)
    _check_discrete(numbers, sum(map(len, parts.values())), where)
    for label, other in lookalikes({str(label): str(label) for label in found}):
        raise DatasetError(
            f"{where}: target has the labels {_shown(label)} and {_shown(other)}, which look the same; "
            "expected one spelling of each label"
        )
    place = {label: number for number, label in enumerate(found)}
    return tuple(map(one_line, found)), {
        name: np.fromiter((place[label] for label in labels), np.int64, len(labels)) for name, labels in parts.items()
    }


def ordered(labels: Sequence[str]) -> list[str]:
    """Return text by the size of the numbers that it spells if all of it does, else by letter."""
    numbers = {label: _number(label) for label in labels}
    return sorted(labels, key=None if None in numbers.values() else lambda label: (numbers[label], label))


def _number(label: Any) -> Decimal | None:
    """Return the finite number that a label is or spells, whatever its length."""
    try:
        number = Decimal(int(label) if isinstance(label, bool) else str(label).strip())
    except ArithmeticError:
        return None
    return number if number.is_finite() else None


def _check_kinds(parts: list[list[Any]], where: str, as_text: bool) -> None:
    """Refuse numbers in one part and text in another; in text only if the parts have no label in common."""
    numeric = [
        all(_number(label) is not None if as_text else not isinstance(label, str) for label in found) for found in parts
    ]
    for kind, found in zip(numeric, parts, strict=True):
        if kind != numeric[0] and not (as_text and set(found) & set(parts[0])):
            raise DatasetError(f"{where}: target mixes numbers and text, expected labels of one kind")


def _check_discrete(numbers: Mapping[Any, Decimal | None], rows: int, where: str) -> None:
    """Refuse a measured target: many different numbers with a fraction."""
    fractions = [n for n in numbers.values() if n is not None and n != n.to_integral_value()]
    if len(fractions) > min(FRACTIONS, rows / 2):
        raise DatasetError(
            f"{where}: target has {len(fractions)} different values with a fraction such as {fractions[0]}, so it is a "
            "continuous number and not a class; expected `task: regression`, or labels"
        )


def _shown(label: str) -> str:
    """Return a label with all its white space and the codes of its letters."""
    text = ascii(label)
    return text if len(text) <= 80 else f"{text[:77]}..."
