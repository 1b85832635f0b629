"""Whether a service still has the model that it had at the beginning: its answers to rows that are always the same."""

from __future__ import annotations

import hashlib
import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from approxgrad.models.kind import ModelError

Array = NDArray[Any]

TOLERANCE = 1e-3
"""Bit equality would be too strict: under load a server may use other kernels, in float16 for instance."""

PROBES = 8
MOST_DECIMALS, CLEAR = 6, 20
"""Decimals up to which rounding is looked for, if they are coarser than so many roundings of the type."""

SHOWN = 16
"""Answers that stand in the record of a model, with four digits each."""


class Probes:
    """Rows that a service is asked at the beginning and again.

    Parameters
    ----------
    name : str
        The service, for messages.
    tolerance : float
        By how much answers may change, in parts of the largest.
    rows : ndarray, optional
        As the service takes them; drawn when the shape is known if there are none.

    Attributes
    ----------
    reference : ndarray or None
        The answers at the beginning.
    """

    def __init__(self, name: str, tolerance: float, rows: Array | None = None) -> None:
        if isinstance(tolerance, bool) or not isinstance(tolerance, (int, float)) or not 0 <= tolerance < 1:
            raise ValueError(f"tolerance: got {tolerance!r}, expected a number from 0 on and below 1")
        self._name, self._tolerance = name, tolerance
        self.rows = rows
        self.reference: Array | None = None

    def drawn(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
        """Return the rows; if there are none yet, standard normal numbers, or whole ones from 0 to 127."""
        if self.rows is None:
            random = np.random.default_rng(0)
            size = (PROBES, *shape)
            drawn = random.standard_normal(size) if dtype.kind == "f" else random.integers(0, 128, size)
            self.rows = drawn.astype(dtype)
        return self.rows

    @property
    def digest(self) -> str:
        """What tells these rows from others."""
        rows = np.ascontiguousarray(self.rows)
        return hashlib.sha256(f"{rows.dtype.str}{rows.shape}".encode() + rows.tobytes()).hexdigest()

    @property
    def allowed(self) -> float:
        """By how much an answer may change."""
        return self._tolerance * float(np.abs(np.asarray(self.reference, float)).max(initial=0))

    def compare(self, found: Array) -> None:
        """Refuse, by a ModelError, answers that are not those of the beginning."""
        reference = np.asarray(self.reference)
        if found.shape == reference.shape:
            change = float(np.abs(found.astype(float) - reference.astype(float)).max(initial=0))
            if change <= self.allowed:
                return
            what = f"they differ by {change:.2g}, and the largest is {float(np.abs(reference).max(initial=0)):.2g}"
        else:
            what = f"shape {found.shape}, and {reference.shape} then"
        raise ModelError(
            f"{self._name}: answers other numbers than at the beginning for the same rows ({what}); its model was "
            "changed, or several that differ answer at this address, so begin anew when it is settled"
        )

    def warn_of_rounding(self) -> None:
        """Warn if the answers are rounded to a few decimals."""
        decimals = rounded_to(np.asarray(self.reference))
        if decimals is None:
            return
        unit = 10.0**-decimals
        said = f"rounded to {decimals} decimals" if decimals else "whole numbers"
        warnings.warn(
            f"{self._name}: its answers look {said}; the error of a difference with step h is then about "
            f"{unit:g}/h, so let the service send all digits, or use large steps",
            stacklevel=2,
        )

    def record(self) -> list[float]:
        """Return the first answers, with four digits."""
        return [float(f"{value:.4g}") for value in np.ravel(np.asarray(self.reference, float))[:SHOWN]]


def rounded_to(answers: Array) -> int | None:
    """Return the fewest decimals that all answers have; None if that says nothing about rounding."""
    if answers.dtype.kind != "f" or len(np.unique(answers)) < PROBES:
        return None
    values = answers.astype(float)
    resolution = float(np.finfo(answers.dtype).eps) * float(np.abs(values).max())
    for decimals in range(MOST_DECIMALS + 1):
        if 10.0**-decimals < CLEAR * resolution:
            return None
        if (np.abs(values - np.round(values, decimals)) <= resolution).all():
            return decimals
    return None
