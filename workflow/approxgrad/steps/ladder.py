"""The error of a difference of a noisy function, predicted from differences on a ladder of steps."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from approxgrad.gradients.stencils import Stencil
from approxgrad.steps.arrays import Array, Flags, Rows
from approxgrad.steps.probing import Probe

PAIRS = 256  # pairs of a point and a feature at which differences are taken
NODES = 8  # most path points of one input among them
LARGEST = 8.0  # largest step in units of the inputs' size: above coarse stairs, steps have to leave the data
RUNGS = 12  # number of the steps, each half of the next
APART = 2  # rungs between two steps whose differences are compared
# Mean square of that comparison over that of the error: 9/16 for one-sided differences of any function; for the central
# one 9/16 with many kinks, (15/16)^2 for a smooth function.
ONE_SIDED, CENTRAL = 0.56, 0.75
CLEAR = 1.5  # mean squares above this multiple of the noise contain something else
EVENTS = 8  # fewest pairs that have to show it; a mean square of fewer says nothing
VISIBLE = 3.0  # a difference of more standard deviations of its noise is not noise, if it is one of several
# Three squares in a row that differ by no more than the first factor are noise, at most so many times the noise that
# was measured along lines.
LEVEL, MOST = 1.5, 3.0
FITTED = 3  # rungs that tell how the truncation error continues towards smaller steps
# For the best step, squares count up to this quantile: a few inputs with large errors decide the mean, not the median.
# At least the second share of the mean square is left.
USUAL, LEAST = 0.9, 0.05
CANDIDATES = 400  # steps that are compared
SMALLEST = 1e-3  # the smallest of them, in units of the lowest rung


class Ladder:
    """Differences along single features at steps that double, and the error that they predict at any step.

    Two things show the truncation error. One is the distance between the differences on both sides: its mean square is
    four times that of a one-sided difference of a smooth function, and twice that of one with kinks, each of which is
    met on one side. The other is the distance between differences over this and a smaller step, which does not see
    kinks at the point itself. For the central scheme the first counts only as far as it does not grow with the step. A
    feature at the end of a range to which the model clips its inputs has a difference of zero on one side, at any step;
    then the other side has the derivative.

    The probe's points are one of each of the `inputs`, then another one of each, in all `nodes`; an attribution
    averages over `path_points`. `noise` is the standard deviation of one evaluation's noise, `scale` the size of the
    inputs. All outputs are finite up to the step `largest`; the model `clips` some features or none.
    """

    def __init__(
        self,
        probe: Probe,
        stencil: Stencil,
        inputs: int,
        nodes: int,
        path_points: int,
        noise: float,
        scale: float,
        generator: np.random.Generator,
    ) -> None:
        self._probe = probe
        self._stencil = stencil
        self._order = stencil.order
        self._path_points, self._noise = path_points, noise
        nodes = min(nodes, NODES)
        owner = np.arange(PAIRS // nodes) % inputs
        self._places = owner[:, None] + inputs * np.arange(nodes)
        self._features = self._drawn_features(generator)
        self._measure(scale * LARGEST * 2.0 ** np.arange(1.0 - RUNGS, 1.0))

    def error(self, step: float) -> float:
        """Return the root mean square error of a derivative over a step, averaged over the path."""
        edge = np.interp(step, self._steps, self._edge)
        return math.sqrt(float(self._rounding(step) + self._mean(np.array([step]))[0]) + float(edge))

    def best(self) -> float:
        """Return the step with the smallest error of usual inputs, without features at the end of their range."""
        steps = np.geomspace(SMALLEST * self._steps[0], self.largest, CANDIDATES)
        return float(steps[np.argmin(self._rounding(steps) + self._usual(steps))])

    def _drawn_features(self, generator: np.random.Generator) -> Rows:
        """Return a feature for each row of places; on paths, as often as the square of its derivative's weight.

        All directions of a basis have the same weight.
        """
        features = self._probe.features
        if self._places.shape[1] == 1 or self._probe.basis is not None:
            return generator.integers(features, size=len(self._places))
        ends = (self._probe.points[torch.from_numpy(self._places[:, side])].flatten(1).double() for side in (0, 1))
        weights = (next(ends) - next(ends)).square().cpu().numpy() + np.finfo(np.float64).tiny
        return np.array([generator.choice(features, p=row / row.sum()) for row in weights])

    def _values(self, steps: Array) -> tuple[Array, Array, Array]:
        """Return the outputs a step before the points, at them and a step behind them, with an axis of steps."""
        rows, features = self._places.ravel(), np.repeat(self._features, self._places.shape[1])
        # At the smallest step the model has to be finite; larger ones are used as far as it is.
        near = self._probe.along_features(features, [-steps[0], 0, steps[0]], rows)
        far = self._probe.along_features(features, [*-steps[1:], *steps[1:]], rows, finite=False)
        ends = zip(np.split(near, 3, axis=1)[::2], np.split(far, 2, axis=1), strict=True)
        before, behind = (np.concatenate(end, axis=1).reshape(*self._places.shape, -1) for end in ends)
        return before, near[:, 1].reshape(*self._places.shape, 1), behind

    def _measure(self, steps: Array) -> None:
        """Evaluate, and keep the parts of the error."""
        before, at, behind = self._values(steps)
        finite = np.isfinite(before + behind).all(axis=(0, 1))
        rungs = len(steps) if finite.all() else int(np.argmin(finite))
        self._steps = steps = steps[:rungs]
        self.largest = float(steps[-1])
        backward, forward = (at - before[..., :rungs]) / steps, (behind[..., :rungs] - at) / steps
        clipped = self._clipped(backward, forward)
        inside = ~(clipped[0] | clipped[1])[..., None]
        self._noise = max(self._noise, _level(((forward - backward) * steps)[inside[..., 0]] ** 2 / 6, self._noise))
        self.clips = not bool(inside.all())
        self._edge = self._edges(backward, forward, clipped)
        self._mean, self._usual = (self._truncation(backward, forward, inside, cap) for cap in (1.0, USUAL))

    def _truncation(self, backward: Array, forward: Array, inside: Flags, cap: float) -> _Powers:
        """Return the mean squared truncation error, that of each row of places capped at a quantile of all rows."""
        rounding = float(inside.mean()) * self._noise**2 / self._steps**2
        two_sided, seen = self._mean_square(inside * (forward - backward), 6 * rounding, cap)
        growth = _growth(self._steps, two_sided, seen)
        if self._order == 1:
            own, factor = forward if 1 in self._stencil.offsets else backward, (1 + 4.0**APART) + (2.0**APART - 1) ** 2
            squares, part = two_sided / 2 ** np.clip(growth, 1, 2), ONE_SIDED
        else:
            own, factor = (forward + backward) / 2, (1 + 4.0**APART) / 2
            squares, part = two_sided / 4 * max(0.0, 1 - growth / 2), CENTRAL
        apart = inside * (own[..., APART:] - own[..., :-APART])
        compared, clear = self._mean_square(apart, factor * rounding[APART:], cap)
        squares = np.where(seen, squares, 0)
        squares[APART:] = np.maximum(squares[APART:], np.where(clear, compared / part, 0))
        # Steps below one without a visible error are left out. Squares never fall with the step: where the function
        # ends, differences do, but they are no better.
        first = len(squares) - int(np.argmin(np.append(squares[::-1] > 0, False)))
        steps, squares = self._steps[first:], np.maximum.accumulate(squares[first:])
        return _Powers(steps, squares, min(_growth(steps, squares, squares > 0), 2.0 * self._order))

    def _clipped(self, backward: Array, forward: Array) -> tuple[Flags, Flags]:
        """Return the pairs that are level before, and behind, the point at all steps, and only on that side."""
        level = [(side == 0).all(axis=-1) for side in (backward, forward)]
        noise = VISIBLE * math.sqrt(2) * self._noise / self._steps
        alive = [(np.abs(side) > noise).any(axis=-1) for side in (backward, forward)]
        return level[0] & alive[1], level[1] & alive[0]

    def _edges(self, backward: Array, forward: Array, clipped: tuple[Flags, Flags]) -> Array:
        """Return the mean squared error that clipped features add at each step."""
        weights = [abs(self._stencil.weights.get(side, 0.0)) for side in (-1, 1)]
        lost = sum(
            weight * flags[..., None] * other
            for weight, flags, other in zip(weights, clipped, (forward, backward), strict=True)
        )
        shares = [weight**2 * float(flags.mean()) for weight, flags in zip(weights, clipped, strict=True)]
        return self._mean_square(np.asarray(lost), 2 * sum(shares) * self._noise**2 / self._steps**2)[0]

    def _mean_square(self, values: Array, noise: Array, cap: float = 1.0) -> tuple[Array, Flags]:
        """Return the mean square above the noise, averaged over the path, and where it stands clear of the noise."""
        events = (np.abs(values) > VISIBLE * np.sqrt(noise)).sum(axis=(0, 1))
        of_rows = (values**2).mean(axis=1)
        seen, nodes = of_rows.mean(axis=0), values.shape[1]
        clear = (seen > CLEAR * noise) & (events >= EVENTS)
        squares = np.maximum(seen - noise, 0)
        if nodes > 1:
            # Points of one path have a part in common, which does not average out.
            common = (values.sum(axis=1) ** 2 - (values**2).sum(axis=1)).mean(axis=0) / (nodes * (nodes - 1))
            common = np.clip(common, 0, squares)
            squares = common + (squares - common) / self._path_points
        capped = np.minimum(of_rows, np.quantile(of_rows, cap, axis=0)).mean(axis=0)
        share = np.where(clear, (capped - noise) / np.where(clear, seen - noise, 1), 1)
        return squares * np.clip(share, LEAST, 1), clear & (squares > 0)

    def _rounding(self, step: Array | float) -> Array:
        return np.asarray((2 if self._order == 1 else 0.5) * self._noise**2 / self._path_points / np.square(step))


@dataclass(frozen=True)
class _Powers:
    """Squares at some steps, interpolated and continued to smaller ones by powers; zero if there are none."""

    steps: Array
    squares: Array
    growth: float

    def __call__(self, step: Array) -> Array:
        if not len(self.steps):
            return np.zeros(len(step))
        inner = np.exp(np.interp(np.log(step), np.log(self.steps), np.log(self.squares)))
        return np.asarray(inner * np.minimum(step / self.steps[0], 1) ** self.growth)


def _level(squares: Array, noise: float) -> float:
    """Return the noise at steps where squares of differences do not grow with the step, or 0.

    Truncation makes them grow at least as the square of the step, stairs that are seldom crossed as the step.
    """
    means = squares.mean(axis=0) if len(squares) else np.zeros(0)
    for rung in range(len(means) - 2):
        group = means[rung : rung + 3]
        if noise**2 < group.min() and group.max() < min(LEVEL * group.min(), (MOST * noise) ** 2):
            return math.sqrt(float(group.mean()))
    return 0.0


def _growth(steps: Array, squares: Array, seen: Flags) -> float:
    """Return the power of the step, at least 0, that squares grow with on the lowest rungs where they are seen."""
    lowest = np.flatnonzero(seen)[:FITTED]
    if len(lowest) < 2:
        return 1.0
    return max(0.0, float(np.polyfit(np.log(steps[lowest]), np.log(squares[lowest]), 1)[0]))


def most_ladder_evaluations() -> int:
    """Return the most evaluations of a ladder."""
    return PAIRS * (2 * RUNGS + 1)
