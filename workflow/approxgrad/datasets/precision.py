"""From double to single precision, in which models are trained; what would be lost is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from approxgrad.datasets.faults import DatasetError
from approxgrad.messages import one_line

ROUNDED, MERGED = 1e-4, 1e-6
"""Rounding errors that are too large, as shares of a column's spread: in any case, and if they make values equal."""


def single(
    values: NDArray[np.float64], given: NDArray[Any], where: str, rows: NDArray[np.int64] | None = None
) -> NDArray[np.float32]:
    """Return a column in single precision, or raise a DatasetError that quotes the value `given` at `where`.

    The `rows` are the numbers of the rows in the file; by default they count from 1.
    """
    with np.errstate(over="ignore"):
        rounded = values.astype(np.float32)
    wrong = np.flatnonzero(~np.isfinite(rounded))
    if wrong.size:
        got = one_line(repr(str(given[wrong[0]])), 60)
        row = wrong[0] + 1 if rows is None else rows[wrong[0]]
        raise DatasetError(f"{where}, row {row}: got {got}, expected a finite number in single precision")
    lost = _lost(values, rounded)
    if lost:
        raise DatasetError(
            f"{where}: single precision, in which models are trained, moves its values by {lost:.1g} of their spread; "
            "shift or scale them in the file (for features `normalisation: standardise` does it)"
        )
    return rounded


def _lost(values: NDArray[np.float64], rounded: NDArray[np.float32]) -> float:
    """Return the rounding error of most values as a share of their spread if it is too large, else 0."""
    # Quartiles, since an outlier makes a standard deviation large, and its own large error does not matter.
    low, high = np.quantile(values, [0.25, 0.75])
    error = np.quantile(np.abs(values - rounded), 0.75)
    spread = high - low if high > low else np.ptp(values)
    if spread == 0 or error <= MERGED * spread:
        return 0.0
    merged = len(np.unique(rounded)) < 0.9 * len(np.unique(values))
    return float(error / spread) if merged or error > ROUNDED * spread else 0.0
