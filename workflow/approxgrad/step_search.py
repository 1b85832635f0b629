"""What is measured of a model before the step of a finite difference is chosen."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from approxgrad.checks import Model
from approxgrad.kinks import Kinks
from approxgrad.noise import POINTS, Array, measured_noise, spacings
from approxgrad.probing import Probe
from approxgrad.stencils import stencil
from approxgrad.targets import Target, target_indices

LINES = 6
"""Lines along which the noise is measured."""

PILOTS = 16
"""Points that find the scale of something, before more of them measure it."""

PAIRS = 32
"""Points at which the bend along one feature is measured."""

SURVEYED = 64
"""Points at which the distance to the first kink is measured."""

RATIO = 4.0
"""Ratio of the scales at which bends are looked for."""

RUNGS = 16
"""Number of these scales, the largest being the size of the inputs."""

FREQUENT = 0.4
"""Share of the pilots that a bend has to be seen at: more is a matter of scale, fewer leave too little to measure."""

VISIBLE = 6.0
"""A difference of more standard deviations of its noise than this is no noise."""

WALK = 7
"""Largest number of doublings or halvings towards the distance of the first kink."""

SURVEYS = 4
"""Most steps at which the share of points with a kink in reach is counted."""

RARE, TYPICAL = 0.25, 0.4
"""These shares are bracketed by the surveys if possible."""

EXCESS = 1.4
"""Ratio of the distances to the first kink along any one feature, and along halves of the features at once with random
signs: 1.3 to 1.5 for the networks of the default study."""

ONE_SIDED = 1.15
"""Ratio of the distances to the first kink on one side of x, in any feature, and on either side. It is below two since
a unit near its kink is crossed by some feature on each side."""


class Search:
    """Points of a model's inputs (or of the paths to them), and what is measured there.

    Parameters
    ----------
    model, inputs, target, scheme, baselines, seed, batch_size
        As for :func:`approxgrad.step_choice.choose_step`.

    Attributes
    ----------
    probe : Probe
        Evaluates and counts.
    features : int
        Number of features d.
    resolution, scale : float
        Machine epsilon of the inputs and their root mean square (1 if they are zero).
    """

    def __init__(
        self,
        model: Model,
        inputs: Tensor,
        target: Target,
        scheme: str,
        baselines: Tensor | None,
        seed: int,
        batch_size: int,
    ) -> None:
        self.order = stencil(scheme).order
        generator = np.random.default_rng(seed)
        rows, device = len(inputs), inputs.device
        # All inputs in turn, so that none is tried twice before each was tried once.
        turns = [generator.permutation(rows) for _ in range(math.ceil(SURVEYED / rows))]
        row = torch.from_numpy(np.concatenate(turns)[:SURVEYED]).to(device)
        points = inputs[row]
        if baselines is not None:
            share = torch.from_numpy(generator.random((SURVEYED, *[1] * (points.ndim - 1)))).to(points)
            points = baselines[row] + share * (points - baselines[row])
        indices = target_indices(target, rows, device)
        self.probe = Probe(model, points, None if indices is None else indices[row], batch_size)
        self.features = points[0].numel()
        self.resolution = torch.finfo(inputs.dtype).eps
        self.scale = float(points.double().square().mean().sqrt()) or 1.0
        # Directions: one feature, and all features with random signs, in two halves.
        self._axes = torch.zeros(SURVEYED, self.features, dtype=points.dtype, device=device)
        chosen = torch.from_numpy(generator.integers(self.features, size=SURVEYED)).to(device)
        self._axes[torch.arange(SURVEYED, device=device), chosen] = 1
        self._signs = torch.from_numpy(generator.choice([-1.0, 1.0], self._axes.shape)).to(points)
        self._half = torch.from_numpy(generator.integers(2, size=self._axes.shape)).to(points)

    def noise(self) -> float:
        """Return the noise of the output, the rounding of x + h along a feature included."""
        return self._noise_along(self._axes)

    def _noise_along(self, directions: Tensor) -> float:
        return measured_noise(lambda shifts: self.probe(directions[:LINES], shifts), self.resolution, self.scale)

    def rounding(self, noise: float, step: float) -> float:
        """Return the standard deviation of the rounding error of a derivative."""
        return noise / step * math.sqrt(2 if self.order == 1 else 0.5)

    def truncation(self, bend: float) -> float:
        """Return the truncation error of a smooth function over a scale on which its bend is this."""
        return bend / 2 if self.order == 1 else bend / (1 - RATIO**-2)

    def derivative(self, bend: float, scale: float) -> float:
        """Return the second derivative (central scheme: the third) of a smooth function with this bend at a scale."""
        return 2 * self.truncation(bend) / scale if self.order == 1 else 6 * self.truncation(bend) / scale**2

    def kink_density(self, seen: NDArray[np.bool_], scale: float) -> float:
        """Return the kinks per unit of step along one feature, from where bends were seen at a scale."""
        share = min(float(seen.mean()), 1 - 0.5 / len(seen))
        return -math.log(1 - share) / scale / (2 if self.order == 1 else 1)

    def bends(self, scale: float, points: int) -> tuple[Array, Array]:
        """Return the bends along a feature at a scale and at :data:`RATIO` times that scale, each of shape (points,).

        For a one-sided difference that is the difference of the derivatives on both sides, twice the truncation error
        of a smooth function; for the central one, the difference of the derivatives over this and over a smaller step.
        """
        shifts = [-RATIO, -1, 0, 1, RATIO] if self.order == 1 else [-RATIO, -1, -1 / RATIO, 1 / RATIO, 1, RATIO]
        values = self.probe(self._axes[:points], [scale * shift for shift in shifts])
        if self.order == 1:
            return self._bend(values[:, 1:4], scale), self._bend(values[:, ::2], RATIO * scale)
        return self._bend(values[:, 1:5], scale), self._bend(values[:, [0, 1, 4, 5]], RATIO * scale)

    def _bend(self, values: Array, scale: float) -> Array:
        if self.order == 1:
            return (values[:, 2] - 2 * values[:, 1] + values[:, 0]) / scale
        return (values[:, 3] - values[:, 0] - RATIO * (values[:, 2] - values[:, 1])) / (2 * scale)

    def bend_noise(self, noise: float, scale: float) -> float:
        """Return the standard deviation that noise alone gives the bends at a scale."""
        return noise / scale * math.sqrt(6 if self.order == 1 else (1 + RATIO**2) / 2)

    def seen(self, bends: Array, noise: float, scale: float) -> NDArray[np.bool_]:
        """Return which bends stand clear of the noise."""
        return np.abs(bends) > VISIBLE * self.bend_noise(noise, scale)

    def bend_scale(self, noise: float) -> float:
        """Return the smallest scale of the ladder at which bends are seen at :data:`FREQUENT` of the points."""
        shifts = [-1, 0, 1] if self.order == 1 else [-1, -1 / RATIO, 1 / RATIO, 1]
        above, below = 0, RUNGS
        while below - above > 1:
            rung = (above + below) // 2
            scale = self.scale * RATIO**-rung
            values = self.probe(self._axes[:PILOTS], [scale * shift for shift in shifts])
            frequent = self.seen(self._bend(values, scale), noise, scale).mean() >= FREQUENT
            above, below = (rung, below) if frequent else (above, rung)
        return self.scale * RATIO**-above

    def kinks(self, guess: float) -> Kinks:
        """Return how far kinks are if any one feature is moved, starting from a guess of that distance.

        Moving all features at once crosses the kinks that moving each of them alone would, at about the same step:
        a unit's weights add up with random signs to little more than the largest of them.
        """
        threshold = VISIBLE * math.sqrt(6) * self._noise_along(self._signs)
        base = self.probe(self._signs, [0.0])[:, 0]
        halves = [self._signs * self._half, self._signs * (1 - self._half)]

        def met(step: float, among: NDArray[np.bool_], directions: list[Tensor]) -> NDArray[np.bool_]:
            found = np.zeros(SURVEYED, bool)
            for direction in directions:
                left = np.flatnonzero(among & ~found)
                values = self.probe(direction[torch.from_numpy(left)], [-step, step], left)
                found[left] = np.abs(values.sum(axis=1) - 2 * base[left]) > threshold
            return found

        pilots = np.arange(SURVEYED) < PILOTS
        step = guess
        rare = met(step, pilots, [self._signs])[pilots].mean() < 0.5
        for _ in range(WALK):
            following = step * 2 if rare else step / 2
            if (met(following, pilots, [self._signs])[pilots].mean() < 0.5) != rare:
                break
            step = following
        # A point with a kink in reach has it in reach of any larger step, and is not asked again.
        found = {step: met(step, np.ones(SURVEYED, bool), halves)}
        while len(found) < SURVEYS and found[max(found)].mean() < TYPICAL:
            last = found[max(found)]
            found[2 * max(found)] = last | met(2 * max(found), ~last, halves)
        while len(found) < SURVEYS and found[min(found)].mean() > RARE:
            found[min(found) / 2] = met(min(found) / 2, found[min(found)], halves)
        steps = np.array(sorted(found))
        wider = EXCESS * (ONE_SIDED if self.order == 1 else 1)
        return Kinks.counted(steps * wider, np.array([found[step].mean() for step in steps]), SURVEYED)


def most_evaluations(dtype: torch.dtype, scheme: str) -> int:
    """Return the largest number of evaluations that the measurements make together."""
    shifts = 3 if stencil(scheme).order == 1 else 4
    noise = 2 * LINES * POINTS * len(spacings(torch.finfo(dtype).eps, 1.0))
    bends = int(math.log2(RUNGS)) * PILOTS * shifts + PAIRS * (shifts + 2)
    kinks = SURVEYED + 2 * PILOTS * (WALK + 1) + 2 * 2 * SURVEYS * SURVEYED
    return noise + bends + kinks
