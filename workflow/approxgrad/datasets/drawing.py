"""Drawing rows at random for a part of a data set."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from approxgrad.datasets.kinds import DatasetError

Rows = NDArray[np.int64]


def stratified(labels: NDArray[np.int64], count: int, seed: int) -> tuple[Rows, Rows]:
    """Draw rows such that every class is drawn in proportion to its size, up to rounding.

    Parameters
    ----------
    labels : ndarray
        Class numbers of shape (N,); the same number everywhere gives a simple random draw.
    count : int
        Rows to draw, 0 to N; a smaller count gives a subset of a larger one.
    seed : int
        Of the draw.

    Returns
    -------
    drawn, left : ndarray
        Row numbers in ascending order.
    """
    order = np.random.default_rng(seed).permutation(len(labels))
    shuffled = labels[order]
    # The k-th of the n shuffled rows of a class stands at (k + 1/2) / n: all classes are spread evenly over [0, 1].
    position = np.empty(len(order))
    for label in np.unique(shuffled):
        rows = np.flatnonzero(shuffled == label)
        position[rows] = (np.arange(len(rows)) + 0.5) / len(rows)
    drawn = order[np.argsort(position, kind="stable")]
    return np.sort(drawn[:count]), np.sort(drawn[count:])


def rows_of(amount: float, rows: int) -> int:
    """Return a number of rows that is given as a share (below 1, rounded up) or as a count."""
    return math.ceil(amount * rows) if amount < 1 else int(amount)


def limited(rows: int, limit: int | None, key: str) -> int:
    """Return how many rows to keep.

    Raises
    ------
    DatasetError
        If the limit is more than there are.
    """
    if limit is not None and limit > rows:
        raise DatasetError(f"{key}: got {limit}, expected at most {rows}, the rows that there are")
    return rows if limit is None else limit


def check_rest(rest: int, taken: str) -> None:
    """Raise a DatasetError if too few rows are left to train on; `taken` names the keys that took the others."""
    if rest < 2:
        raise DatasetError(f"{taken}: leaves {max(rest, 0)} rows to train on, expected at least 2")
