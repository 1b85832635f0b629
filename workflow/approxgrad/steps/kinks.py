"""The error that a piecewise linear model adds to a finite difference, and the step with the smallest error."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from approxgrad.steps.arrays import Array

SIMULATED = 1001  # inputs that are simulated to predict an error
ARRIVALS = 40  # kinks that are simulated for each; if more are in reach, their mean predicts the error well
CANDIDATES = 300  # steps that are compared, from 0.001 to 1000 kinks within reach of an input


@dataclass(frozen=True)
class Kinks:
    """How far kinks are from an input, whichever feature is moved.

    A hazard is the mean number of kinks within a step: a share exp(-hazard) of the inputs has none. Between the
    ascending steps it is interpolated by a power; beyond them, kinks are as dense as at the nearest step. They are
    `counted` if every feature of the points was moved; otherwise the distances are estimates.
    """

    steps: Array
    hazards: Array
    counted: bool = False

    @classmethod
    def measured(cls, steps: Array, hazards: Array, counted: bool = False) -> Kinks:
        """Return measured hazards, made strictly ascending, so that each belongs to one step."""
        rising = np.maximum.accumulate(np.asarray(hazards, np.float64))
        return cls(np.asarray(steps, np.float64), rising * (1 + 1e-9 * np.arange(len(rising))), counted)

    def reach(self, hazards: Array) -> Array:
        """Return the steps with these hazards."""
        known, wanted = np.log(self.hazards), np.log(hazards)
        inner = np.interp(wanted, known, np.log(self.steps))
        return np.exp(inner + np.minimum(wanted - known[0], 0) + np.maximum(wanted - known[-1], 0))


def best_step(
    kinks: Kinks, sizes: Array, density: float, rounding: float, path_points: int, quantile: float, seed: int
) -> tuple[float, float]:
    """Return the step with the smallest squared error of a gradient for most inputs, and the error of kinks there.

    A kink of size J at distance s changes the derivative over a step h > s by J (1 - s / h). Inputs are simulated, with
    kinks at distances that follow the hazard and `sizes` drawn from measured changes of a derivative: root mean square
    J / sqrt(3). The density is kinks per unit of step, each counted once for every feature that meets it; `rounding` is
    the squared rounding error of the gradient at step 1. An attribution averages over `path_points` gradients, and a
    share `quantile` of the inputs has no larger error than the minimised one.
    """
    generator = np.random.default_rng(seed)
    distances = kinks.reach(generator.exponential(size=(SIMULATED, ARRIVALS)).cumsum(axis=1) / path_points)
    rate = kinks.hazards[0] / kinks.steps[0]
    features_met = max(1.0, density / rate)
    jumps = 3 * features_met * generator.choice(sizes, size=distances.shape) ** 2 / path_points**2
    first, last = kinks.reach(np.array([1e-3, 1e3]) / path_points)
    steps = np.geomspace(first, last, CANDIDATES)
    truncations = np.empty(CANDIDATES)
    for position, step in enumerate(steps):
        if step >= np.median(distances[:, -1]):
            truncations[position] = max(density, rate) * step * float(np.mean(sizes**2)) / path_points
        else:
            error = (jumps * np.clip(1 - distances / step, 0, None) ** 2).sum(axis=1)
            truncations[position] = np.quantile(error, quantile)
    best = int(np.argmin(rounding / steps**2 + truncations))
    return float(steps[best]), math.sqrt(truncations[best])
