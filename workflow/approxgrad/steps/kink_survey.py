"""How far the kinks of a piecewise linear model are from its inputs, whichever feature is moved."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from approxgrad.gradients.stencils import Stencil
from approxgrad.steps.arrays import Array, Flags, Rows
from approxgrad.steps.distances import INWARDS, distances
from approxgrad.steps.kinks import Kinks
from approxgrad.steps.probing import Probe

PILOTS = 16  # points that find the scale of the distances, before more of them measure it
WALK = 7  # most doublings or halvings towards that scale
LEVELS = 12  # most steps at which inputs with a kink in reach are counted, each the square root of two from the next
FINE_LEVELS = 24  # the same for the finer count from an estimate, each step the fourth root of two from the next
# Multiple of the estimated distance from which the finer count goes inwards. With an estimate good to a factor of two,
# at least three of four inputs have a kink within it, because of few of their pairs.
BEYOND = 4.0
AT_A_KINK = 2.0**-10  # share of the estimated distance within which a point counts as lying on a kink
# At this multiple of that distance the second difference of such a point has to be larger by the same factor, as that
# of noise is not.
GROWTH = 16
RARE, TYPICAL = 0.35, 0.5  # shares of inputs with a kink in reach that the steps are to enclose
SATURATED = 0.9  # above this share of inputs the points of their paths are counted instead
PAIRS = 1536  # pairs of a point and a feature at which kinks along single features are looked for
COUNTABLE = 2**16  # most pairs that are counted if an estimate is not enough
FEWEST, MOST = 8, 32  # points of the pairs; if even the fewest have more features than that, features are drawn
OUTWARDS = 5  # doublings of a guessed distance while no kink is met within it


class KinkSurvey:
    """Looks for kinks around some points: first along all features at once, which is cheap, then along each.

    Moving all features at once, with random signs, crosses a unit's kink at |z| / |sum of w_i|, if the unit is z at the
    point and its gradient is w. Moving them one by one crosses it at |z| / max |w_i|, but takes two evaluations for
    each feature. So all points are tested in the first way and a few in both, which gives the ratio of the distances: a
    ratio estimate from two-phase sampling (Cochran, 1977, "Sampling Techniques", chapter 12).

    The `places` are numbers of the probe's points, of shape (nodes, inputs): each input has a column of points on its
    path. Kinks count on the side that the stencil uses.
    """

    def __init__(self, probe: Probe, stencil: Stencil, places: Rows, generator: np.random.Generator) -> None:
        self._probe = probe
        shifts = stencil.shifts
        self._sides = shifts if len(shifts) == 2 else (shifts[0] / 2, shifts[0])
        self._nodes, self._inputs = places.shape
        self._places = places.ravel()
        self._generator = generator
        self._count = places.size
        self._features = probe.features
        shape = (self._count, self._features)
        self._signs = torch.from_numpy(generator.choice([-1.0, 1.0], shape)).to(probe.points)
        half = torch.from_numpy(generator.integers(2, size=shape)).to(probe.points)
        # In two halves, because the weights of a unit cancel more in one sum.
        self._halves = [self._signs * half, self._signs * (1 - half)]

    def kinks(self, guess: float, visible: float, visible_along_all: float) -> Kinks:
        """Return how far kinks are if any one feature is moved: an estimate, unless there are few pairs.

        `visible` and `visible_along_all` are the smallest second differences of the output that are not noise.
        """
        self._begin(visible, visible_along_all)
        typical = self._typical_distance(guess)
        if self._count * self._features <= PAIRS:
            return self._counted(2 * typical / self._nodes, self._features, self._along_features)
        kinks = self._counted(3 * typical / self._nodes, len(self._halves), self._along_halves)
        return Kinks.measured(self._ratio(typical) * kinks.steps, kinks.hazards)

    def counted_kinks(self, distance: float, visible: float, visible_along_all: float) -> Kinks:
        """Return how far kinks are, from all features of all points: two evaluations for each and few more.

        Some points lie on a kink: in a uniform part of an image the largest of several values is often not unique.
        There a one-sided difference is linear however small its step is, but never has the exact gradient. So kinks of
        these points are looked for on both sides. Their inputs count as inputs with a kink in reach, unless they are
        the majority, for which no step is good.

        The distance is an estimate of the step within which half of the inputs have a kink. Nothing beyond
        :data:`BEYOND` times it is tried, because every pair would have to be evaluated again.
        """
        self._begin(visible, visible_along_all)
        on = self._on_a_kink(AT_A_KINK * distance)
        if on.reshape(self._nodes, self._inputs).any(axis=0).mean() >= TYPICAL:
            on[:] = False
        return self._counted(BEYOND * distance, self._features, self._along_features, on)

    def _begin(self, visible: float, visible_along_all: float) -> None:
        self._visible, self._visible_along_all = visible, visible_along_all
        self._base = self._probe(self._signs, [0.0], self._places)[:, 0]

    def _on_a_kink(self, step: float) -> Flags:
        """Return which points have a kink within a tiny step: their second difference grows with the step."""
        everywhere = np.arange(self._count)
        # Of different lengths, because equal ones may keep equal what is equal.
        lengths = torch.from_numpy(self._generator.uniform(0.5, 1.5, self._signs.shape)).to(self._signs)
        near, further = (
            self._met_along_all(self._signs * lengths * (step * factor), everywhere, factor) for factor in (1, GROWTH)
        )
        return near & further

    def _typical_distance(self, step: float) -> float:
        """Return about the step within which half of the points have a kink."""
        pilots = np.arange(min(PILOTS, self._count))

        def rare(step: float) -> bool:
            return bool(self._met_along_all(self._signs[: len(pilots)] * step, pilots).mean() < 0.5)

        upwards = rare(step)
        for _ in range(WALK):
            following = step * 2 if upwards else step / 2
            if rare(following) != upwards:
                break
            step = following
        return step

    def _met(self, values: Array, shifts: Sequence[float], rows: Rows, visible: float) -> Flags:
        """Return whether the second difference at three equidistant places, the point among them, is not noise."""
        base = self._base[rows]
        middle = values[:, 0] if min(shifts) * max(shifts) > 0 else base
        ends = values[:, 1] + (base if middle is not base else values[:, 0])
        return np.asarray(np.abs(ends - 2 * middle) > visible)

    def _met_along_all(self, directions: Tensor, rows: Rows, factor: float = 1) -> Flags:
        """Return whether a kink is within a direction or its opposite, above a multiple of the noise along all."""
        values = self._probe(directions, [-1.0, 1.0], self._places[rows])
        return self._met(values, [-1.0, 1.0], rows, self._visible_along_all * factor)

    def _along_halves(self, steps: Array, items: Rows) -> Flags:
        """Return whether a kink is within a step along half of the features, or against it; two items a point."""
        rows, half = np.divmod(items, len(self._halves))
        chosen = torch.from_numpy(half).to(self._signs.device)[:, None]
        place = torch.from_numpy(rows).to(self._signs.device)
        directions = torch.where(chosen == 0, self._halves[0][place], self._halves[1][place])
        return self._met_along_all(directions * torch.from_numpy(steps).to(directions)[:, None], rows)

    def _along_features(self, steps: Array, items: Rows) -> Flags:
        """Return whether a kink is within a step along a feature, on the scheme's side; d items a point."""
        rows, features = np.divmod(items, self._features)
        values = self._probe.along_features(features, self._sides, self._places[rows], steps)
        return self._met(values, self._sides, rows, self._visible)

    def _counted(self, first: float, width: int, met: Callable[[Array, Rows], Flags], on: Flags | None = None) -> Kinks:
        """Count the inputs that meet a kink within some steps, along any of the `width` items of each point.

        If the points that lie `on` a kink are given, the count is fine and only goes inwards.
        """
        ratio, levels = (2**0.5, LEVELS) if on is None else (2**0.25, FINE_LEVELS)
        found: dict[float, Flags] = {}

        def test(step: float, known: Flags, items: Rows) -> None:
            found[step] = known.copy()
            if len(items):
                found[step][items] = met(np.full(len(items), step), items)

        def points(step: float) -> Flags:
            met_there = np.asarray(found[step].reshape(self._count, width).any(axis=1))
            return met_there if on is None else met_there | on

        def share(step: float) -> float:
            return float(points(step).reshape(self._nodes, self._inputs).any(axis=0).mean())

        nothing = np.zeros(self._count * width, bool)
        test(first, nothing, np.arange(len(nothing)))
        # An item that meets a kink within some step does so within any larger one, and is not tested again.
        while on is None and len(found) < levels and share(max(found)) < TYPICAL:
            last = max(found)
            test(last * ratio, found[last], np.flatnonzero(~np.repeat(points(last), width)))
        while len(found) < levels and share(min(found)) > RARE:
            last = min(found)
            test(last / ratio, nothing, np.flatnonzero(found[last]))
        steps = sorted(found)
        inputs = np.array([share(step) for step in steps])
        nodes = np.array([points(step).mean() for step in steps])
        of_inputs, of_nodes = hazard(inputs, self._inputs) / self._nodes, hazard(nodes, self._count)
        hazards = np.where(inputs <= SATURATED, of_inputs, of_nodes)
        return Kinks.measured(np.array(steps), hazards, counted=met == self._along_features)

    def _ratio(self, typical: float) -> float:
        """Return the ratio of the distances to the first kink along any one feature and along all at once."""
        features = min(self._features, PAIRS // FEWEST)
        count = min(self._count, max(FEWEST, min(MOST, PAIRS // features)))
        all_at_once = distances(self._along_halves, np.arange(2 * count), 4 * typical * np.ones(count), outwards=0)
        points = np.flatnonzero(np.isfinite(all_at_once))
        if not len(points):
            return 1.0
        chosen = np.stack([self._generator.permutation(self._features)[:features] for _ in points])
        guesses = math.sqrt(2) * all_at_once[points]

        def along_each(drawn: Rows) -> Array:
            items = (points[:, None] * self._features + drawn).ravel()
            return distances(self._along_features, items, guesses, outwards=OUTWARDS)

        growth, each = 0.0, along_each(chosen)
        if features < self._features:
            # More features bring the first kink nearer; the first half of those tried shows by how much.
            growth = float(np.mean(np.log(along_each(chosen[:, : features // 2]) / each))) / math.log(2)
        ratio = math.exp(float(np.mean(np.log(each / all_at_once[points]))))
        return ratio * (features / self._features) ** growth


def hazard(shares: Array, count: int) -> Array:
    """Return the mean number of events if these shares of `count` items meet at least one."""
    return -np.log1p(-np.clip(shares, 0.5 / count, 1 - 0.5 / count))


def most_survey_evaluations(features: int, points: int) -> int:
    """Return the most evaluations of a survey of so many points and of a finer count, if all have kinks in reach."""
    pilots = 2 * PILOTS * (WALK + 2)
    counted = 4 * points * LEVELS
    along_all = 4 * min(MOST, points) * (INWARDS + 1)
    along_each = 2 * max(PAIRS, FEWEST * min(features, PAIRS // FEWEST)) * (OUTWARDS + 1 + INWARDS)
    count = 5 * points + 2 * min(points * features, COUNTABLE) * FINE_LEVELS
    return points + pilots + counted + along_all + along_each + count
