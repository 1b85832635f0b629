"""What the rows of a table must have in them to learn from, and the numbers that normalise them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from approxgrad.datasets.faults import DatasetError
from approxgrad.datasets.normalisation import Normalisation
from approxgrad.datasets.precision import single
from approxgrad.datasets.table_rows import Rows


def standardising(features: NDArray[np.float64], columns: Sequence[str]) -> Normalisation:
    """Return mean and standard deviation of each feature, or raise a DatasetError that names one without."""
    low, high = features.min(axis=0), features.max(axis=0)
    with np.errstate(over="ignore", invalid="ignore"):
        # A constant feature becomes exactly 0, which a mean with a rounding error would not give.
        mean = np.where(low < high, features.mean(axis=0), low)
        std = np.where(low < high, features.std(axis=0), 1.0)
    wrong = np.flatnonzero(~(np.isfinite(std) & (std > 0)))
    if wrong.size:
        raise DatasetError(
            f"{columns[wrong[0]]}: got values from {low[wrong[0]]:g} to {high[wrong[0]]:g}, "
            "whose variance is not a number in double precision; expected others to standardise"
        )
    return Normalisation(tuple(mean.tolist()), tuple(std.tolist()))


def check_classes(
    drawn: Mapping[str, tuple[str, NDArray[np.int64]]],
    numbers: Mapping[str, NDArray[np.int64]],
    classes: tuple[str, ...],
) -> None:
    """Refuse a classification that lacks a class in the training rows."""
    origin, rows = drawn["train"]
    count = sum(map(len, numbers.values()))
    hint = f"; {len(classes)} labels in {count} rows may be numbers, `task: regression`"
    present = np.unique(np.concatenate(list(numbers.values())))
    for lacking in np.setdiff1d(present, numbers[origin][rows]):
        raise DatasetError(
            f"target: no training row has the class {classes[lacking]}, expected each class there"
            + (hint if len(classes) > count / 2 else "")
        )


def check_spread(drawn: Mapping[str, tuple[str, NDArray[np.int64]]], parts: Mapping[str, Rows]) -> None:
    """Refuse a regression with the same target in all rows that a model learns from or is measured on."""
    for name in ("train", "test"):
        origin, index = drawn[name]
        target = parts[origin].target[index]
        if len(target) > 1 and (target == target[0]).all():
            where = parts[origin].where
            raise DatasetError(f"{where}: target is always {target[0]:g} in the {name} rows, expected several values")


def stored(rows: Rows, scale: Normalisation) -> NDArray[np.floating[Any]]:
    """Return the features in double precision if they are to be shifted or scaled, else in single precision."""
    inputs = (rows.features - np.array(scale.mean)) / np.array(scale.std)
    columns = zip(inputs.T, rows.features.T, rows.columns, strict=True)
    models_see = np.stack([single(column, given, where, rows.numbers) for column, given, where in columns], axis=1)
    unchanged = not any(scale.mean) and set(scale.std) == {1.0}
    return models_see if unchanged else rows.features
