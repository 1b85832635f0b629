"""What is measured of a model before the step of a finite difference is chosen."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from approxgrad.gradients.directional.bases import RandomCosines
from approxgrad.gradients.evaluating.checks import Model
from approxgrad.gradients.evaluating.rows import MOST_EVALUATIONS
from approxgrad.gradients.stencils import stencil
from approxgrad.steps.arrays import Array, Flags
from approxgrad.steps.kink_survey import COUNTABLE, KinkSurvey, most_survey_evaluations
from approxgrad.steps.kinks import Kinks
from approxgrad.steps.ladder import Ladder, most_ladder_evaluations
from approxgrad.steps.noise import POINTS, measured_noise, spacings
from approxgrad.steps.probing import Probe
from approxgrad.steps.stairs import Stairs, find_stairs, most_stairs_evaluations

LINES = 6  # lines along which the noise is measured
PILOTS = 16  # points that find the scale of something, before more of them measure it
PAIRS = 32  # points at which the bend along one feature is measured
INPUTS = 64  # most inputs that are tried
COUNTED_INPUTS = 16  # fewest inputs whose kinks are counted; the median of fewer says less than an estimate from many
NODES = 1024  # most path points at which kinks are looked for, unless all of them are counted
ELEMENTS = 2**22  # most elements of these points, which bound their number for large inputs
RATIO = 4.0  # ratio of the scales at which bends are looked for
RUNGS = 16  # number of these scales, the largest being the size of the inputs
FREQUENT = 0.4  # share of the pilots that have to show a bend: fewer leave too little to measure
ROUNDED = 1.1 / math.sqrt(12)  # noise in quanta below which an output was only rounded to multiples of one quantum
SECOND = 2.1  # largest second difference of rounding alone, in quanta, and a little for roundings before and after
VISIBLE = 6.0  # a difference of more standard deviations of its noise is not noise


class Search:
    """Points of a model's inputs, or of the paths to them, and what is measured there.

    The arguments are those of :func:`approxgrad.steps.choice.choose_step`, with `baselines` shaped like the inputs and
    `indices` from :func:`.targets.target_indices`. With `orthogonal` directions, those of a random
    orthonormal basis stand wherever features are spoken of: a difference along them is one along the features of inputs
    that were turned, and the error of the gradient is the same.

    Attributes
    ----------
    probe, features
        What evaluates and counts, and the number of features d.
    resolution, size, scale : float
        Machine epsilon of the inputs; their root mean square (1 if they are zero); and the length of a step that is as
        large as the inputs: their size, along orthogonal directions times the root of d.
    """

    def __init__(
        self,
        model: Model,
        inputs: Tensor,
        indices: Tensor | None,
        scheme: str,
        baselines: Tensor | None,
        path_points: int,
        seed: int,
        batch_size: int,
        orthogonal: bool = False,
    ) -> None:
        self._stencil = stencil(scheme)
        self._seed, self._stairs, self._most = seed, 0.0, math.inf
        self.order = self._stencil.order
        self._shifts = (-1, 0, 1) if self.order == 1 else (-1, -1 / RATIO, 1 / RATIO, 1)
        self._generator = generator = np.random.default_rng(seed)
        self.features = inputs[0].numel()
        tried = generator.permutation(len(inputs))[:INPUTS]
        self._inputs = len(tried)
        limit = max(INPUTS, min(NODES, ELEMENTS // self.features))
        self._nodes = 1 if baselines is None else max(1, min(path_points, limit // len(tried)))
        self._path_points = path_points
        self._countable = min(self._inputs, COUNTABLE // (path_points * self.features))
        if self._countable < min(self._inputs, COUNTED_INPUTS):
            self._countable = 0
        self._made = path_points if self._countable else self._nodes
        # One point of every input, then another one of every input; few inputs are used again along other features.
        count = max(self._inputs * self._made, PAIRS)
        row = torch.from_numpy(np.resize(tried, count)).to(inputs.device)
        points = inputs[row]
        if baselines is not None:
            turns = math.ceil(count / len(tried))
            nodes = (1 + np.polynomial.legendre.leggauss(path_points)[0]) / 2
            picked = np.stack([np.resize(generator.permutation(nodes), turns) for _ in tried], axis=1)
            share = torch.from_numpy(picked.ravel()[:count].reshape(-1, *[1] * (points.ndim - 1))).to(points)
            points = baselines[row] + share * (points - baselines[row])
        basis = RandomCosines(self.features, seed, inputs.device) if orthogonal else None
        self.probe = Probe(model, points, None if indices is None else indices[row], batch_size, basis)
        self.resolution = torch.finfo(inputs.dtype).eps
        self.size = float(points.double().square().mean().sqrt()) or 1.0
        self.scale = self.size * math.sqrt(self.features) if orthogonal else self.size
        # One feature for each point.
        self._axes = self.probe.axes(generator.integers(self.features, size=PAIRS))

    def noise(self) -> float:
        """Return the noise of the output, with the rounding of x + h along a feature, and its stairs."""
        return self._noise_along(self._axes)

    def _noise_along(self, directions: Tensor) -> float:
        noise = measured_noise(lambda shifts: self.probe(directions[:LINES], shifts), self.resolution, self.scale)
        return max(noise, self._stairs)

    def stairs(self) -> Stairs | None:
        """Return the stairs of the output, if it has any; from then on they count as noise."""
        found = find_stairs(self.probe, self._inputs, self.resolution, self.size, self._seed)
        if found:
            self._stairs = found.noise
            # Rounded outputs are off by half a quantum at most.
            self._most = SECOND * found.quantum if found.noise < ROUNDED * found.quantum else math.inf
        return found

    def ladder(self, noise: float) -> Ladder:
        """Return the errors of differences at steps of all sizes."""
        generator = np.random.default_rng([self._seed, 2])
        nodes, path = self._made, self._path_points
        return Ladder(self.probe, self._stencil, self._inputs, nodes, path, noise, self.scale, generator)

    def rounding(self, noise: float, step: float) -> float:
        """Return the standard deviation of the rounding error of a derivative."""
        return noise / step * math.sqrt(2 if self.order == 1 else 0.5)

    def truncation(self, bend: float) -> float:
        """Return the truncation error of a smooth function over a scale on which it has this bend."""
        return bend / 2 if self.order == 1 else bend / (1 - RATIO**-2)

    def derivative(self, bend: float, scale: float) -> float:
        """Return the second derivative (central scheme: the third) of a smooth function with this bend at a scale."""
        return 2 * self.truncation(bend) / scale if self.order == 1 else 6 * self.truncation(bend) / scale**2

    def kink_density(self, seen: Flags, scale: float) -> float:
        """Return the kinks per unit of step along one feature, from the points with a visible bend at a scale."""
        share = min(float(seen.mean()), 1 - 0.5 / len(seen))
        return -math.log(1 - share) / scale / (2 if self.order == 1 else 1)

    def bends(self, scale: float) -> tuple[Array, Array]:
        """Return the bends along a feature at a scale and at :data:`RATIO` times that scale, each of shape (PAIRS,).

        For a one-sided difference a bend is the difference of the derivatives on both sides, twice the truncation error
        of a smooth function; for the central one, the difference of the derivatives over this and a smaller step.
        """
        values = self.probe(self._axes, [scale * shift for shift in (-RATIO, *self._shifts, RATIO)])
        outer = [0, 2, 4] if self.order == 1 else [0, 1, 4, 5]
        return self._bend(values[:, 1:-1], scale), self._bend(values[:, outer], RATIO * scale)

    def _bend(self, values: Array, scale: float) -> Array:
        if self.order == 1:
            bend = (values[:, 2] - 2 * values[:, 1] + values[:, 0]) / scale
        else:
            bend = (values[:, 3] - values[:, 0] - RATIO * (values[:, 2] - values[:, 1])) / (2 * scale)
        # Far from the point the output, and so its rounding, may be larger than where the noise is measured.
        rounding = 4 * self.resolution * np.abs(values).max(axis=1) / scale
        return np.where(np.abs(bend) > rounding, bend, 0.0)

    def bend_noise(self, noise: float, scale: float) -> float:
        """Return the standard deviation of the bends at a scale that noise alone causes."""
        return noise / scale * math.sqrt(6 if self.order == 1 else (1 + RATIO**2) / 2)

    def seen(self, bends: Array, noise: float, scale: float) -> Flags:
        """Return which bends stand clear of the noise."""
        return np.abs(bends) > VISIBLE * self.bend_noise(noise, scale)

    def bend_scale(self, noise: float) -> float:
        """Return the smallest scale at which a share of :data:`FREQUENT` of the points shows a bend."""
        above, below = 0, RUNGS
        while below - above > 1:
            rung = (above + below) // 2
            scale = self.scale * RATIO**-rung
            values = self.probe(self._axes[:PILOTS], [scale * shift for shift in self._shifts])
            frequent = self.seen(self._bend(values, scale), noise, scale).mean() >= FREQUENT
            above, below = (rung, below) if frequent else (above, rung)
        return self.scale * RATIO**-above

    def kinks(self, noise: float, guess: float) -> Kinks:
        """Return how far kinks are if any one feature is moved, starting from a guess of that distance."""
        survey = self._survey(self._inputs, self._nodes)
        signs = torch.from_numpy(self._generator.choice([-1.0, 1.0], self._axes[:LINES].shape)).to(self._axes)
        visible = VISIBLE * math.sqrt(6)
        self._visible = min(visible * noise, self._most), min(visible * self._noise_along(signs), self._most)
        return survey.kinks(guess, *self._visible)

    def counted_kinks(self, distance: float) -> tuple[Kinks, bool] | None:
        """Return how far kinks are from all path points, and whether of all inputs; None if these are too many.

        `distance` is the step within which half of the inputs have a kink, from the estimate of :meth:`kinks`.
        """
        if not self._countable:
            return None
        survey = self._survey(self._countable, self._path_points)
        return survey.counted_kinks(distance, *self._visible), self._countable == self._inputs

    def _survey(self, inputs: int, nodes: int) -> KinkSurvey:
        places = np.arange(self._inputs * nodes).reshape(nodes, self._inputs)[:, :inputs]
        return KinkSurvey(self.probe, self._stencil, places, self._generator)


def most_evaluations(dtype: torch.dtype, scheme: str, features: int, points: int = INPUTS) -> int:
    """Return the most evaluations that the choice of a step takes, with the checks of the model.

    `points` are the inputs that are tried, at most :data:`INPUTS`, times the points of each path.
    """
    shifts = 3 if stencil(scheme).order == 1 else 4
    noise = 2 * LINES * POINTS * len(spacings(torch.finfo(dtype).eps, 1.0))
    bends = int(math.log2(RUNGS)) * PILOTS * shifts + PAIRS * (shifts + 2)
    stairs = most_stairs_evaluations() + most_ladder_evaluations()
    return MOST_EVALUATIONS + noise + stairs + bends + most_survey_evaluations(features, points)
