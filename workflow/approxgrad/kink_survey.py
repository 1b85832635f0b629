"""How far the kinks of a piecewise linear model are from its inputs, whichever feature is moved."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from approxgrad.kinks import Array, Kinks
from approxgrad.probing import Probe
from approxgrad.stencils import Stencil

Flags = NDArray[np.bool_]
Rows = NDArray[np.int64]

PILOTS = 16
"""Points that find the scale of the distances, before more of them measure it."""

WALK = 7
"""Largest number of doublings or halvings towards that scale."""

LEVELS = 12
"""Most steps at which inputs with a kink in reach are counted, each the square root of two from the next."""

RARE, TYPICAL = 0.2, 0.5
"""Shares of such inputs that the steps are to enclose."""

SATURATED = 0.9
"""Above this share of inputs the points of their paths are counted instead."""

PAIRS = 1024
"""Pairs of a point and a feature with which both kinds of distances are compared."""

FEWEST, MOST = 8, 32
"""Points of these pairs. If even the fewest have more features than that, some of the features are drawn."""

OUTWARDS, INWARDS = 5, 16
"""Distances that are tried from a first guess, each the square root of two from the next (outwards: two)."""


class KinkSurvey:
    """Looks for kinks around some points: first along all features at once, which is cheap, then along each.

    Moving all features at once, with random signs, crosses a unit's kink at |z| / |sum of w_i|, if the unit is z at the
    point and its gradient is w; moving them one by one crosses it at |z| / max |w_i|. The first takes two evaluations
    instead of two for each feature. So all points are asked in the first way, and a few in both, which gives the ratio
    of the two distances: a ratio estimate, as of two-phase sampling (Cochran, 1977, "Sampling Techniques", chapter 12).

    Parameters
    ----------
    probe : Probe
        Evaluates and counts; its points are those of the first path position of all inputs, then of the next.
    stencil : Stencil
        Of the finite difference: kinks count on the side that it looks at.
    inputs, nodes : int
        Number of inputs and of the points of each.
    path_points : int
        Points of a path of which `nodes` are surveyed.
    generator : Generator
        Draws signs and features.
    """

    def __init__(
        self,
        probe: Probe,
        stencil: Stencil,
        inputs: int,
        nodes: int,
        path_points: int,
        generator: np.random.Generator,
    ) -> None:
        self._probe = probe
        self._stencil = stencil
        self._inputs, self._nodes = inputs, nodes
        self._path_points = path_points
        self._generator = generator
        self._count = inputs * nodes
        points = probe.points[: self._count]
        self._features = points[0].numel()
        shape = (self._count, self._features)
        self._signs = torch.from_numpy(generator.choice([-1.0, 1.0], shape)).to(points)
        half = torch.from_numpy(generator.integers(2, size=shape)).to(points)
        # In two halves, since in one sum the weights of a unit cancel more.
        self._halves = [self._signs * half, self._signs * (1 - half)]

    def kinks(self, guess: float, visible: float, visible_along_all: float) -> Kinks:
        """Return how far kinks are if any one feature is moved.

        Parameters
        ----------
        guess : float
            Of the distance.
        visible, visible_along_all : float
            Smallest second difference of the output that is no noise, along one feature and along all.
        """
        self._visible, self._visible_along_all = visible, visible_along_all
        self._base = self._probe(self._signs, [0.0])[:, 0]
        typical = self._typical_distance(guess)
        ratio = self._ratio(typical)
        return self._counted(typical, ratio)

    def _typical_distance(self, step: float) -> float:
        """Return about the step within which half of the points have a kink."""
        pilots = np.arange(min(PILOTS, self._count))

        def rare(step: float) -> bool:
            return bool(self._met(step, pilots, [self._signs]).mean() < 0.5)

        upwards = rare(step)
        for _ in range(WALK):
            following = step * 2 if upwards else step / 2
            if rare(following) != upwards:
                break
            step = following
        return step

    def _met(self, step: float | Array, rows: Rows, directions: list[Tensor]) -> Flags:
        """Return whether a kink is within a step (or one for each row) along any direction, or against it."""
        found = np.zeros(len(rows), bool)
        steps = np.broadcast_to(np.asarray(step, np.float64), len(rows))
        for direction in directions:
            left = np.flatnonzero(~found)
            if len(left):
                lengths = torch.from_numpy(steps[left].copy())[:, None].to(direction)
                values = self._probe(direction[torch.from_numpy(rows[left])] * lengths, [-1.0, 1.0], rows[left])
                bend = np.abs(values.sum(axis=1) - 2 * self._base[rows[left]])
                found[left] = bend > self._visible_along_all
        return found

    def _counted(self, typical: float, ratio: float) -> Kinks:
        """Count the inputs with a kink in reach of steps around the one that half of them have one within."""
        step = 3 * typical / self._nodes
        everywhere = np.arange(self._count)
        found = {step: self._met(step, everywhere, self._halves)}

        def share(step: float) -> float:
            return float(found[step].reshape(self._nodes, self._inputs).any(axis=0).mean())

        # A point with a kink in reach has it in reach of any larger step, and is not asked again.
        while len(found) < LEVELS and share(max(found)) < TYPICAL:
            last, step = found[max(found)], max(found) * math.sqrt(2)
            found[step] = last.copy()
            found[step][~last] = self._met(step, everywhere[~last], self._halves)
        while len(found) < LEVELS and share(min(found)) > RARE:
            last, step = found[min(found)], min(found) / math.sqrt(2)
            found[step] = last.copy()
            found[step][last] = self._met(step, everywhere[last], self._halves)
        steps = np.array(sorted(found))
        of_inputs = np.array([share(step) for step in steps])
        of_points = np.array([found[step].mean() for step in steps])
        hazards = np.where(
            of_inputs <= SATURATED, hazard(of_inputs, self._inputs) / self._nodes, hazard(of_points, self._count)
        )
        return Kinks.measured(ratio * steps, hazards)

    def _ratio(self, typical: float) -> float:
        """Return the ratio of the distances to the first kink along any one feature and along all at once."""
        features = min(self._features, PAIRS // FEWEST)
        points = np.arange(min(self._count, max(FEWEST, min(MOST, PAIRS // features))))

        def along_all(steps: Array, among: Rows) -> Flags:
            return self._met(steps, points[among], self._halves)

        far = np.full(len(points), 4 * typical)
        all_at_once = distances(along_all, far, outwards=0)
        points, all_at_once = points[np.isfinite(all_at_once)], all_at_once[np.isfinite(all_at_once)]
        if not len(points):
            return 1.0
        chosen = np.stack([self._generator.permutation(self._features)[:features] for _ in points])
        each = self._along_features(points, chosen, all_at_once)
        ratio = math.exp(float(np.mean(np.log(each.min(axis=1) / all_at_once))))
        if features == self._features:
            return ratio
        # More features bring the first kink nearer; by how much is seen from the first half of those that were tried.
        growth = float(np.mean(np.log(each[:, : features // 2].min(axis=1) / each.min(axis=1)))) / math.log(2)
        return ratio * (features / self._features) ** growth

    def _along_features(self, points: Rows, chosen: Rows, guesses: Array) -> Array:
        """Return the distance to the first kink along features, of shape (points, features chosen)."""
        rows = np.repeat(points, chosen.shape[1])
        feature = torch.from_numpy(chosen.ravel())
        shifts = (
            self._stencil.shifts
            if len(self._stencil.shifts) == 2
            else (self._stencil.shifts[0] / 2, self._stencil.shifts[0])
        )

        def along_one(steps: Array, among: Rows) -> Flags:
            directions = torch.zeros(len(among), self._features, dtype=self._signs.dtype, device=self._signs.device)
            directions[torch.arange(len(among)), feature[among]] = torch.from_numpy(steps).to(directions)
            values = self._probe(directions, shifts, rows[among])
            base = self._base[rows[among]]
            two_sided = values.sum(axis=1) - 2 * base
            one_sided = values[:, 1] - 2 * values[:, 0] + base
            return np.abs(two_sided if len(self._stencil.shifts) == 2 else one_sided) > self._visible

        found = distances(
            along_one, np.repeat(math.sqrt(2) * guesses, chosen.shape[1]), outwards=OUTWARDS, group=chosen.shape[1]
        )
        return found.reshape(chosen.shape)


def distances(met: Callable[[Array, Rows], Flags], first: Array, outwards: int, group: int = 1) -> Array:
    """Return the distances at which something is met for the first time, to a factor of the square root of two.

    Parameters
    ----------
    met : callable
        From distances and the numbers of items to whether each meets something within its distance.
    first : ndarray
        Of each item, the distance to begin with.
    outwards : int
        How often the distance is doubled where nothing is met.
    group : int
        Items of which only the first distance matters: as soon as one has met something, the others go no further.

    Returns
    -------
    ndarray
        Infinite where nothing is met; but beyond the last distance if that holds for a whole group.
    """
    found = np.full(len(first), np.inf)
    groups = np.arange(len(first)) // group
    reached = first.astype(np.float64)
    left = np.arange(len(first))
    for turn in range(outwards + 1):
        hit = met(reached[left], left)
        found[left[hit]] = reached[left[hit]]
        settled = np.isin(groups, np.unique(groups[np.isfinite(found)]))
        left = np.flatnonzero(~settled)
        if not len(left) or turn == outwards:
            break
        reached[left] *= 2
    if outwards:
        found[left] = 2 * reached[left]
    inner = np.flatnonzero(np.isfinite(found) & (found <= reached))
    for _ in range(INWARDS):
        if not len(inner):
            break
        hit = met(found[inner] / math.sqrt(2), inner)
        inner = inner[hit]
        found[inner] /= math.sqrt(2)
    return found


def hazard(shares: Array, count: int) -> Array:
    """Return the mean number of events whose first is met by these shares of `count` items."""
    return -np.log1p(-np.clip(shares, 0.5 / count, 1 - 0.5 / count))


def most_survey_evaluations(features: int, points: int) -> int:
    """Return the largest number of evaluations of a survey of some points with so many features each."""
    pilots = 2 * PILOTS * (WALK + 2)
    counted = 4 * points * LEVELS
    paired = min(MOST, points)
    along_all = 4 * paired * (INWARDS + 1)
    along_each = 2 * max(PAIRS, FEWEST * min(features, PAIRS // FEWEST)) * (OUTWARDS + 1 + INWARDS)
    return points + pilots + counted + along_all + along_each
