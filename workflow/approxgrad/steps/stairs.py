"""Whether a model's output is a staircase, how high its stairs are, and whether a smooth function lies below them.

A quantised network, a rounded service and a forest change their output in jumps, and not in between. Between
neighbouring inputs a continuous function changes by as little as the inputs do; a jump stays a jump.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from approxgrad.steps.arrays import Array, Rows
from approxgrad.steps.probing import Probe

LINES = 16  # lines along which jumps are looked for
# Length of these lines in units of the inputs' size; it is multiplied if nothing changes, so many times in all.
NEAR, FURTHER, ATTEMPTS = 0.1, 4.0, 3
HALVINGS = 30  # most halvings of a line; fewer if the inputs have no more digits
CLOSEST = 4.0  # ends of a line that are no more roundings of the inputs apart are neighbours
# Outputs have no more digits than this, since models compute in float32 whatever their inputs are.
FLOAT32 = torch.finfo(torch.float32).eps
ROUNDINGS = 3.0  # a jump of no more roundings of the output to float32 is ordinary rounding
NAMED = 8.0  # stairs of so many roundings are named and measured; lower ones are just noise
BESIDE = (1, 2, 3)  # places on both sides of a jump, in units of its width, where a staircase is level
# Around a threshold rounding takes the output back and forth. Ends moved apart by so many widths lie beyond it.
BEYOND = 32.0
LEVEL = 0.25  # largest change beside a jump, as a share of it; rounding errors change everywhere
# A quantum is the unit of the jumps if so large a share are multiples of it, whole to so much.
WHOLE, WHOLE_SHARE = 0.1, 0.9
INTERVALS = 64  # intervals of a line on which jumps are counted
STRIDES = (1, 2, 4, 8)  # numbers of these intervals that are taken together
CROSSED = 4.0  # jumps on the shortened lines if a line has more than twice as many
ENOUGH = 0.75  # mean jumps in an interval from which on their dispersion is informative
# Dispersion of jumps below which a smooth function sets their places: near 0 if it does, 1 or more if chance does.
EVEN = 0.4


@dataclass(frozen=True)
class Stairs:
    """The staircase of an output.

    It is even if its stairs follow each other like those of a rounded smooth function. The jumps of a forest or a step
    function do not: no smooth function lies below them.
    """

    quantum: float  # height of a stair: the unit of all jumps, or their root mean square if there is none
    noise: float  # standard deviation of what the stairs add to a smooth function
    named: bool  # whether the stairs are higher than the rounding of a float32 output
    even: bool


def find_stairs(probe: Probe, inputs: int, resolution: float, scale: float, seed: int) -> Stairs | None:
    """Return the stairs of the output, or None if most lines along which it changes show no jump.

    The probe's first points belong to different `inputs`, with this machine epsilon (`resolution`) and size (`scale`).
    """
    return _Finder(probe, inputs, resolution, scale, seed).find()


def most_stairs_evaluations() -> int:
    """Return the most evaluations of :func:`find_stairs`."""
    return LINES * (ATTEMPTS + 3 + 3 * (HALVINGS + 2 + 4 * len(BESIDE)) + 2 * (INTERVALS + 1))


class _Finder:
    """Lines through some points, and the jumps on them."""

    def __init__(self, probe: Probe, inputs: int, resolution: float, scale: float, seed: int) -> None:
        self._probe = probe
        self._resolution, self._scale = resolution, scale
        self._rows = np.resize(np.arange(inputs), LINES)
        points = probe.points[torch.from_numpy(self._rows).to(probe.points.device)].flatten(1)
        self._generator = generator = np.random.default_rng([seed, 1])
        # Of different lengths: equal ones would take features that are equal across the same threshold at once.
        lengths = generator.choice([-1.0, 1.0], points.shape) * generator.uniform(0.5, 1.5, points.shape)
        self._signs = torch.from_numpy(scale * lengths).to(points)
        # Towards another input, where a target's output changes most; with signs if there is no other.
        towards = probe.points[torch.from_numpy((self._rows + 1) % inputs).to(points.device)].flatten(1) - points
        self._towards = torch.where(towards.any(dim=1, keepdim=True), towards, self._signs)

    def find(self) -> Stairs | None:
        """Look for jumps, then measure them."""
        begin = self._along(self._signs, np.zeros(LINES))
        directions, length, end = self._changing(begin)
        changing = np.flatnonzero(np.isfinite(begin) & np.isfinite(end) & (begin != end))
        if not len(changing):
            return None
        self._rounding = max(self._resolution, FLOAT32) * float(np.sqrt(np.mean(begin[changing] ** 2)))
        jumps = self._jumps(directions, changing, np.zeros(LINES), length, begin, end)
        if 0 < np.count_nonzero(jumps) <= len(changing) / 2:
            # Lines between two stairs meet none if the output changes there too, as in the sum of a rounded and another
            # branch; longer ones do.
            rest, longer = changing[jumps[changing] == 0], FURTHER * length
            end[rest] = self._along(directions, longer[rest], rest)
            jumps += self._jumps(directions, rest[np.isfinite(end[rest])], np.zeros(LINES), longer, begin, end)
        if 2 * np.count_nonzero(jumps) <= len(changing):
            return None
        jumps = jumps[jumps > 0]
        quantum, height = self._quantum(jumps), float(np.sqrt(np.mean(jumps**2)))
        noise, even = height / math.sqrt(12), False
        if height > NAMED * self._rounding:
            measured, even = self._evenness(height)
            noise = noise if measured is None else max(measured, quantum / math.sqrt(12))
        return Stairs(quantum, noise, height > NAMED * self._rounding, even)

    def _along(self, directions: Tensor, places: Array, lines: Rows | None = None) -> Array:
        """Return the output at one place on each line."""
        lines = np.arange(LINES) if lines is None else lines
        moved = directions[lines] * torch.from_numpy(places[:, None]).to(directions)
        return self._probe(moved, [1.0], self._rows[lines], finite=False)[:, 0]

    def _changing(self, begin: Array) -> tuple[Tensor, Array, Array]:
        """Return lines, their lengths and the outputs at their ends, which differ from those at their beginning."""
        directions = self._signs.clone()
        length, end = np.zeros(LINES), begin.copy()
        for attempt in range(ATTEMPTS + 1):
            same = np.flatnonzero(end == begin)
            if not len(same):
                break
            if attempt == ATTEMPTS:
                directions[same] = self._towards[same]
            length[same] = NEAR * FURTHER**attempt if attempt < ATTEMPTS else 1.0
            end[same] = self._along(directions, length[same], same)
        return directions, length, end

    def _jumps(self, directions: Tensor, lines: Rows, low: Array, high: Array, first: Array, last: Array) -> Array:
        """Return the height of a jump on each of some lines, or 0; lines are halved towards the larger change."""
        low, high, first, last = low.copy(), high.copy(), first.copy(), last.copy()
        closest = CLOSEST * self._resolution * self._scale / directions.abs().amax(dim=1).double().cpu().numpy()
        for _ in range(HALVINGS):
            lines = lines[np.abs(last[lines] - first[lines]) > ROUNDINGS * self._rounding]
            wide = lines[high[lines] - low[lines] > closest[lines]]
            if not len(wide):
                break
            middle = (low[wide] + high[wide]) / 2
            value = self._along(directions, middle, wide)
            left = np.abs(value - first[wide]) >= np.abs(last[wide] - value)
            high[wide], last[wide] = np.where(left, middle, high[wide]), np.where(left, value, last[wide])
            low[wide], first[wide] = np.where(left, low[wide], middle), np.where(left, first[wide], value)
        heights = self._heights(directions, lines, low, high, first, last)
        rest = lines[heights[lines] == 0]
        if len(rest):
            width = BEYOND * (high - low)[rest]
            low[rest], high[rest] = low[rest] - width, high[rest] + width
            first[rest], last[rest] = (self._along(directions, ends[rest], rest) for ends in (low, high))
            rest = rest[np.abs(last[rest] - first[rest]) > ROUNDINGS * self._rounding]
            heights += self._heights(directions, rest, low, high, first, last)
        return heights

    def _heights(self, directions: Tensor, lines: Rows, low: Array, high: Array, first: Array, last: Array) -> Array:
        """Return the change between two places on each of some lines, or 0 unless the output is level beside them."""
        heights, change = np.zeros(LINES), np.zeros(LINES)
        heights[lines] = np.abs(last - first)[lines]
        for multiple in BESIDE if len(lines) else ():
            width = multiple * (high - low)[lines]
            before = self._along(directions, low[lines] - width, lines) - first[lines]
            behind = self._along(directions, high[lines] + width, lines) - last[lines]
            change[lines] = np.maximum(change[lines], np.maximum(np.abs(before), np.abs(behind)))
        return np.where(change <= LEVEL * heights, heights, 0.0)

    def _evenness(self, height: float) -> tuple[float | None, bool]:
        """Return the noise, if intervals contain enough jumps to measure it, and whether the jumps are even.

        Third differences do not see a parabola. Those of a rounded smooth function contain its noise, of the same size
        on all intervals. Jumps at random places add up to a random walk, whose increments have the variance of so many
        jumps. The ratio of the two is the index of dispersion (Cox and Lewis, 1966, "The statistical analysis of series
        of events", chapter 4).
        """
        length, values = 1.0, self._values(1.0)
        crossed = _mean_change(values) / height
        if crossed > 2 * CROSSED:
            length = CROSSED / crossed
            values = self._values(length)
        jumps = self._drawn_jumps(values, length)
        if not jumps.any():
            return None, False
        typical = float(np.sum(jumps**2) / np.sum(jumps))
        noises, dispersions = [], []
        for stride in STRIDES:
            coarse = values[:, ::stride]
            variance = float(np.nanmean(np.diff(coarse, n=3) ** 2)) / math.comb(6, 3)
            if _mean_change(coarse) > ENOUGH * typical:
                noises.append(math.sqrt(variance))
                dispersions.append(variance / (math.comb(4, 2) / math.comb(6, 3) * typical * _mean_change(coarse)))
        return min(noises, default=None), min(dispersions, default=math.inf) < EVEN

    def _values(self, length: float) -> Array:
        """Return the output at equidistant places on the first part of the lines towards other inputs."""
        shifts = [length * place / INTERVALS for place in range(INTERVALS + 1)]
        values = self._probe(self._towards, shifts, self._rows, finite=False)
        return np.where(np.isfinite(values), values, np.nan)

    def _drawn_jumps(self, values: Array, length: float) -> Array:
        """Return a jump on each of these lines, in an interval that is drawn from those with a change."""
        changes = np.nan_to_num(np.diff(values)) != 0
        lines = np.flatnonzero(changes.any(axis=1))
        interval = np.where(changes, self._generator.random(changes.shape), -1.0).argmax(axis=1)
        ends = [(interval + side) * length / INTERVALS for side in (0, 1)]
        outputs = [values[np.arange(LINES), interval + side] for side in (0, 1)]
        return self._jumps(self._towards, lines, *ends, *outputs)

    def _quantum(self, jumps: Array) -> float:
        """Return the unit of the jumps: the smallest one if most are multiples of it, else their root mean square."""
        multiples = np.round(jumps / jumps.min())
        whole = np.abs(jumps / jumps.min() - multiples) <= WHOLE + 2 * self._rounding / jumps.min()
        if whole.mean() < WHOLE_SHARE:
            return float(np.sqrt(np.mean(jumps**2)))
        return float(jumps[whole].sum() / multiples[whole].sum())


def _mean_change(values: Array) -> float:
    """Return the mean absolute change from one value of a line to the next."""
    return float(np.nanmean(np.abs(np.diff(values))))
