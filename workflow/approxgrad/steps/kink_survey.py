"""How far the kinks of a piecewise linear model are from its inputs, whichever feature is moved."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from approxgrad.gradients.batching import balanced_slices
from approxgrad.gradients.stencils import Stencil
from approxgrad.steps.distances import INWARDS, Flags, Rows, distances
from approxgrad.steps.kinks import Array, Kinks
from approxgrad.steps.probing import Probe

PILOTS = 16
"""Points that find the scale of the distances, before more of them measure it."""

WALK = 7
"""Largest number of doublings or halvings towards that scale."""

LEVELS = 12
"""Most steps at which inputs with a kink in reach are counted, each the square root of two from the next."""

FINE_LEVELS = 24
"""The same of the finer count that begins with an estimate, each step the fourth root of two from the next."""

BEYOND = 4.0
"""Multiple of the estimated distance from which such a count goes inwards: with an estimate good to a factor of two it
begins where at least three of four inputs have a kink in reach, which only few of their pairs are to blame for."""

AT_A_KINK = 2.0**-10
"""Share of the estimated distance within which a point is taken to lie on a kink."""

GROWTH = 16
"""Multiple of that distance at which the second difference of such a point has to be as many times larger, as that of
noise is not."""

RARE, TYPICAL = 0.35, 0.5
"""Shares of such inputs that the steps are to enclose: fewer inputs would be too few to count."""

SATURATED = 0.9
"""Above this share of inputs the points of their paths are counted instead."""

PAIRS = 1536
"""Pairs of a point and a feature at which kinks along single features are looked for."""

COUNTABLE = 2**16
"""Pairs that are counted at most where an estimate is not enough."""

FEWEST, MOST = 8, 32
"""Points of these pairs. If even the fewest have more features than that, some of the features are drawn."""

OUTWARDS = 5
"""Doublings of a guess of a distance, as long as no kink is met within it."""

ELEMENTS = 2**22
"""Elements of the directions that are made at a time."""


class KinkSurvey:
    """Looks for kinks around some points: first along all features at once, which is cheap, then along each.

    Moving all features at once, with random signs, crosses a unit's kink at |z| / |sum of w_i|, if the unit is z at the
    point and its gradient is w; moving them one by one crosses it at |z| / max |w_i|. The first takes two evaluations
    instead of two for each feature. So all points are asked in the first way, and a few in both, which gives the ratio
    of the two distances: a ratio estimate, as of two-phase sampling (Cochran, 1977, "Sampling Techniques", chapter 12).

    Parameters
    ----------
    probe : Probe
        Evaluates and counts.
    stencil : Stencil
        Of the finite difference: kinks count on the side that it looks at.
    places : ndarray
        Numbers of the probe's points, of shape (nodes, inputs): each input has a column of points on its path.
    generator : Generator
        Draws signs and features.
    """

    def __init__(
        self,
        probe: Probe,
        stencil: Stencil,
        places: Rows,
        generator: np.random.Generator,
    ) -> None:
        self._probe = probe
        self._stencil = stencil
        self._nodes, self._inputs = places.shape
        self._places = places.ravel()
        self._generator = generator
        self._count = places.size
        self._features = probe.points[0].numel()
        shape = (self._count, self._features)
        self._signs = torch.from_numpy(generator.choice([-1.0, 1.0], shape)).to(probe.points)
        half = torch.from_numpy(generator.integers(2, size=shape)).to(probe.points)
        # In two halves, since in one sum the weights of a unit cancel more.
        self._halves = [self._signs * half, self._signs * (1 - half)]

    def kinks(self, guess: float, visible: float, visible_along_all: float) -> Kinks:
        """Return how far kinks are if any one feature is moved: an estimate, unless there are few pairs.

        Parameters
        ----------
        guess : float
            Of the distance.
        visible, visible_along_all : float
            Smallest second difference of the output that is no noise, along one feature and along all.
        """
        self._visible, self._visible_along_all = visible, visible_along_all
        self._base = self._probe(self._signs, [0.0], self._places)[:, 0]
        typical = self._typical_distance(guess)
        if self._count * self._features <= PAIRS:
            return self._counted(2 * typical / self._nodes, self._features, self._along_features)
        kinks = self._counted(3 * typical / self._nodes, len(self._halves), self._along_halves)
        return Kinks.measured(self._ratio(typical) * kinks.steps, kinks.hazards)

    def counted_kinks(self, distance: float, visible: float, visible_along_all: float) -> Kinks:
        """Return how far kinks are, from all features of all points: two evaluations for each and few more.

        Some points lie on a kink: in a uniform part of an image the largest of several values is often not the only
        one. There a one-sided difference is linear however small its step is, and yet none has the exact gradient. So
        these points are looked for on both sides. The inputs that have them count as inputs with a kink in reach,
        unless they are the majority, for which no step is good.

        Parameters
        ----------
        distance : float
            Estimate of the step within which half of the inputs have a kink. Nothing beyond :data:`BEYOND` times it
            is tried, since that would take every pair again.
        visible, visible_along_all : float
            Smallest second difference of the output that is no noise, along one feature and along all.
        """
        self._visible = visible
        self._base = self._probe(self._signs, [0.0], self._places)[:, 0]
        on = self._on_a_kink(AT_A_KINK * distance, visible_along_all)
        if on.reshape(self._nodes, self._inputs).any(axis=0).mean() >= TYPICAL:
            on[:] = False
        return self._counted(BEYOND * distance, self._features, self._along_features, on)

    def _on_a_kink(self, step: float, visible_along_all: float) -> Flags:
        """Return which points have a kink within a tiny step: their second difference grows with the step."""
        everywhere = np.arange(self._count)
        # Of different lengths, since equal ones may keep equal what is equal.
        lengths = torch.from_numpy(self._generator.uniform(0.5, 1.5, self._signs.shape)).to(self._signs)
        near, further = (
            self._met(self._signs * lengths * (step * factor), everywhere, [-1.0, 1.0], visible_along_all * factor)
            for factor in (1, GROWTH)
        )
        return near & further

    def _typical_distance(self, step: float) -> float:
        """Return about the step within which half of the points have a kink."""
        pilots = np.arange(min(PILOTS, self._count))

        def rare(step: float) -> bool:
            directions = self._signs[: len(pilots)] * step
            return bool(self._met(directions, pilots, [-1.0, 1.0], self._visible_along_all).mean() < 0.5)

        upwards = rare(step)
        for _ in range(WALK):
            following = step * 2 if upwards else step / 2
            if rare(following) != upwards:
                break
            step = following
        return step

    def _met(self, directions: Tensor, rows: Rows, shifts: Sequence[float], visible: float) -> Flags:
        """Return whether the second difference at three equidistant places, the point among them, is no noise."""
        values = self._probe(directions, shifts, self._places[rows])
        base = self._base[rows]
        middle = values[:, 0] if min(shifts) * max(shifts) > 0 else base
        ends = values[:, 1] + (base if middle is not base else values[:, 0])
        return np.asarray(np.abs(ends - 2 * middle) > visible)

    def _along_halves(self, steps: Array, items: Rows) -> Flags:
        """Return whether a kink is within a step along half of the features, or against it; two items a point."""
        rows, half = np.divmod(items, len(self._halves))
        chosen = torch.from_numpy(half).to(self._signs.device)[:, None]
        place = torch.from_numpy(rows).to(self._signs.device)
        directions = torch.where(chosen == 0, self._halves[0][place], self._halves[1][place])
        lengths = torch.from_numpy(steps).to(directions)[:, None]
        return self._met(directions * lengths, rows, [-1.0, 1.0], self._visible_along_all)

    def _along_features(self, steps: Array, items: Rows) -> Flags:
        """Return whether a kink is within a step along a feature, where the scheme looks; d items a point."""
        shifts = self._stencil.shifts
        places = shifts if len(shifts) == 2 else (shifts[0] / 2, shifts[0])
        found = np.empty(len(items), bool)
        for part in balanced_slices(len(items), max(1, ELEMENTS // self._features)):
            rows, feature = np.divmod(items[part], self._features)
            directions = torch.zeros(len(rows), self._features, dtype=self._signs.dtype, device=self._signs.device)
            directions[np.arange(len(rows)), feature] = torch.from_numpy(steps[part]).to(directions)
            found[part] = self._met(directions, rows, places, self._visible)
        return found

    def _counted(
        self,
        first: float,
        width: int,
        met: Callable[[Array, Rows], Flags],
        on: Flags | None = None,
    ) -> Kinks:
        """Count the inputs that meet a kink within some steps, along any of the `width` items of each point.

        With the points that lie `on` a kink, the count is fine and goes inwards only.
        """
        ratio, levels = (2**0.5, LEVELS) if on is None else (2**0.25, FINE_LEVELS)
        found: dict[float, Flags] = {}

        def ask(step: float, known: Flags, items: Rows) -> None:
            found[step] = known.copy()
            found[step][items] = met(np.full(len(items), step), items)

        def points(step: float) -> Flags:
            met_there = np.asarray(found[step].reshape(self._count, width).any(axis=1))
            return met_there if on is None else met_there | on

        def share(step: float) -> float:
            return float(points(step).reshape(self._nodes, self._inputs).any(axis=0).mean())

        nothing = np.zeros(self._count * width, bool)
        ask(first, nothing, np.arange(len(nothing)))
        # What meets a kink within some step does so within any larger one, and is not asked again.
        while on is None and len(found) < levels and share(max(found)) < TYPICAL:
            last = max(found)
            ask(last * ratio, found[last], np.flatnonzero(~np.repeat(points(last), width)))
        while len(found) < levels and share(min(found)) > RARE:
            last = min(found)
            ask(last / ratio, nothing, np.flatnonzero(found[last]))
        steps = sorted(found)
        inputs, nodes = (
            np.array([value(step) for step in steps]) for value in (share, lambda step: points(step).mean())
        )
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
        items = (points[:, None] * self._features + chosen).ravel()
        guesses = math.sqrt(2) * all_at_once[points]
        growth = 0.0
        each = distances(self._along_features, items, guesses, outwards=OUTWARDS)
        if features < self._features:
            # More features bring the first kink nearer; by how much is seen from the first half of those tried.
            half = (points[:, None] * self._features + chosen[:, : features // 2]).ravel()
            fewer = distances(self._along_features, half, guesses, outwards=OUTWARDS)
            growth = float(np.mean(np.log(fewer / each))) / math.log(2)
        ratio = math.exp(float(np.mean(np.log(each / all_at_once[points]))))
        return ratio * (features / self._features) ** growth


def hazard(shares: Array, count: int) -> Array:
    """Return the mean number of events whose first is met by these shares of `count` items."""
    return -np.log1p(-np.clip(shares, 0.5 / count, 1 - 0.5 / count))


def most_survey_evaluations(features: int, points: int) -> int:
    """Return the largest number of evaluations of a survey of some points with so many features each.

    It may be followed by a finer count, at most at :data:`COUNTABLE` pairs. Each pair is asked once
    and then again only as long as it has a kink in reach, which few do; the bound lets all of them have one always.
    """
    pilots = 2 * PILOTS * (WALK + 2)
    counted = 4 * points * LEVELS
    paired = min(MOST, points)
    along_all = 4 * paired * (INWARDS + 1)
    along_each = 2 * max(PAIRS, FEWEST * min(features, PAIRS // FEWEST)) * (OUTWARDS + 1 + INWARDS)
    pairs = min(points * features, COUNTABLE)
    count = 5 * points + 2 * pairs * FINE_LEVELS
    return points + pilots + counted + along_all + along_each + count
