"""The noise of a computed function, from a table of differences of a few equally spaced values."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

POINTS = 9
"""Values along one line; their differences of order up to 8 hold nothing of a function that is smooth over so short a
line."""

AGREEMENT = 4.0
"""Estimates of consecutive orders that differ by no more than this factor show noise and nothing else."""

SPACING = 43.0
"""First distance of neighbouring values, in units of the inputs' resolution: far above the rounding of the inputs, far
below the scale on which a model bends. It is no power of two, whose multiples would all be rounded alike."""

GROWTH = 1000.0
"""Factor by which the distance grows while values coincide."""

LONGEST = 1e-3
"""Largest distance of neighbouring values, in units of the inputs' size."""


def noise_level(values: Array) -> float:
    """Return the standard deviation of the noise in equally spaced values of a function.

    A difference of order k of independent noise of variance s^2 has variance s^2 (2k)! / (k!)^2, while the same
    difference of a smooth function shrinks from order to order. The estimate is taken from the lowest order whose
    differences change sign and agree with those of the next two orders (ECnoise; Moré and Wild, 2011, "Estimating
    computational noise", https://doi.org/10.1137/100786125).

    Parameters
    ----------
    values : ndarray
        Float64 of shape (m,), m at least 2.

    Returns
    -------
    float
        Zero for equal values. If no three orders agree, the smallest estimate of any order, which is the one with
        the least of the function in it.
    """
    differences = np.asarray(values, np.float64)
    estimates: list[float] = []
    changes: list[bool] = []
    for order in range(1, len(values)):
        differences = np.diff(differences)
        share = math.factorial(order) ** 2 / math.factorial(2 * order)
        estimates.append(math.sqrt(share * float(np.mean(differences**2))))
        changes.append(bool(differences.min() < 0 < differences.max()))
    for start in range(len(estimates) - 2):
        group = estimates[start : start + 3]
        if changes[start] and max(group) <= AGREEMENT * min(group):
            return group[0]
    return min(estimates)


def spacings(resolution: float, scale: float) -> list[float]:
    """Return the distances at which :func:`measured_noise` tries inputs of this resolution and size, ascending."""
    found = [SPACING * resolution * scale]
    while found[-1] * GROWTH <= LONGEST * scale:
        found.append(found[-1] * GROWTH)
    return found


def measured_noise(lines: Callable[[Sequence[float]], Array], resolution: float, scale: float) -> float:
    """Return the noise of a function that is evaluated along several lines: the root mean square over the lines.

    Parameters
    ----------
    lines : callable
        From shifts along the lines to values of shape (lines, shifts).
    resolution : float
        Relative rounding of the inputs: the machine epsilon of their type.
    scale : float
        Size of the inputs.

    Returns
    -------
    float
        In units of the function, at least a tenth of its own rounding to that resolution.
    """
    for spacing in spacings(resolution, scale):
        values = lines([spacing * point for point in range(POINTS)])
        # Where most neighbours are equal the function is coarser than the line.
        if np.mean(np.diff(values) == 0) <= 0.5:
            break
    level = math.sqrt(float(np.mean([noise_level(line) ** 2 for line in values])))
    return max(level, 0.1 * resolution * float(np.abs(values).mean()))
