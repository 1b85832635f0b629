"""The noise of a computed function, from a table of differences of a few equally spaced values."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from approxgrad.steps.arrays import Array

# Values along one line. Their differences of orders up to 8 contain only noise if the function is smooth on it.
POINTS = 9
# Estimates of consecutive orders that differ by no more than this factor show only noise.
AGREEMENT = 4.0
# First distance between values in roundings of the inputs: far above their rounding, far below the scale of bends. Not
# a power of two, whose multiples would all be rounded alike.
SPACING = 43.0
# With 16 bits no distance is far above the one and far below the other. This one, in units of the inputs' size, keeps
# the line short beside bends and kinks, which would count as noise; and so many roundings still tell the values apart.
SHORTEST, FEW = 0.01, 5.0
GROWTH = 1000.0  # factor of the distance while values coincide
LONGEST = 1e-3  # largest distance between values, in units of the inputs' size


def noise_level(values: Array) -> float:
    """Return the standard deviation of the noise in equally spaced values of a function, of shape (m,), m >= 2.

    A difference of order k of independent noise of variance s^2 has variance s^2 (2k)! / (k!)^2, while the same
    difference of a smooth function shrinks from order to order. The estimate is that of the lowest order whose
    differences change sign and agree with those of the next two orders, or else the smallest of any order, to which the
    function adds least (ECnoise; Moré and Wild, 2011, "Estimating computational noise",
    https://doi.org/10.1137/100786125). It is zero for equal values.
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
    """Return the distances that :func:`measured_noise` tries for inputs of this resolution and size, ascending."""
    found = [max(FEW * resolution, min(SPACING * resolution, SHORTEST)) * scale]
    while found[-1] * GROWTH <= LONGEST * scale:
        found.append(found[-1] * GROWTH)
    return found


def measured_noise(lines: Callable[[Sequence[float]], Array], resolution: float, scale: float) -> float:
    """Return the root mean square noise of a function, which gives values (lines, shifts) for shifts along some lines.

    It is at least a tenth of the function's own rounding to the resolution (machine epsilon) of inputs of size `scale`.
    """
    for spacing in spacings(resolution, scale):
        values = lines([spacing * point for point in range(POINTS)])
        # If most neighbours are equal, the function is coarser than the line.
        if np.mean(np.diff(values) == 0) <= 0.5:
            break
    level = math.sqrt(float(np.mean([noise_level(line) ** 2 for line in values])))
    return max(level, 0.1 * resolution * float(np.abs(values).mean()))
