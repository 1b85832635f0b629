"""Differences whose steps are the increments of a path, for models whose output jumps."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from approxgrad.gradients.batching import OUTPUT_SHARE, balanced_slices
from approxgrad.gradients.evaluated import Stream
from approxgrad.gradients.stencils import Stencil

PATH_ONLY = (
    "step: path is for Integrated Gradients only, whose path it needs to know; use approxgrad.attribute with "
    "method='integrated_gradients', which takes the place of captum's, or a number as the step"
)

# Arrays of 8-byte numbers, one for each evaluation of the points that are taken together, in memory at once.
OUTPUT_BUFFERS = 14


def path_sums(stream: Stream, baselines: Tensor, scheme: Stencil, n_steps: int, budget: int) -> Tensor:
    """Return for each feature the sum of the changes of the output while it makes the steps of a straight path.

    With points ``z_k = b + k / n (x - b)``, the forward scheme sums ``f(z_k with the feature from z_k+1) - f(z_k)``,
    the backward one ``f(z_k+1) - f(z_k+1 with the feature from z_k)``, and the central one moves the feature of the
    point in the middle to both. These are differences times increments, so the sum is the Integrated Gradients
    attribution. A jump along a feature is met by just one step, and counts in full.

    Parameters
    ----------
    stream : Stream
        Of a single input tensor, the ends x of the paths, of shape (N, ...).
    baselines : Tensor
        Their beginnings b, shaped like the inputs.
    scheme, n_steps, budget
        The stencil, the number n of steps, and bytes of memory.

    Returns
    -------
    Tensor
        Float64 of shape (N, d).

    Notes
    -----
    Cost: n (d + 1) evaluations for each input, 2 n d for the central scheme; features that do not move cost nothing.
    """
    (ends,) = (point.reshape(stream.rows, -1) for point in stream.inputs)
    begins = baselines.reshape(stream.rows, -1)
    total = torch.zeros(ends.shape, dtype=torch.float64, device=ends.device)
    evaluations = max(1, int(OUTPUT_SHARE * budget) // (8 * OUTPUT_BUFFERS))
    largest = max(1, evaluations // scheme.evaluations(ends.shape[1]))
    for part in balanced_slices(stream.rows, largest):
        for steps in balanced_slices(n_steps, max(1, largest // (part.stop - part.start))):
            points = PathSteps(scheme, begins, ends, stream.inputs[0].shape[1:], part, steps, n_steps)
            if len(points):
                total[part] += points.sums(stream.evaluate(points))
    return total


class PathSteps:
    """Points of straight paths, each perhaps with one feature a step before or ahead.

    For each of the `steps` come first the points of all rows, if the stencil uses them, then those with a moved
    feature, each with all shifts of the stencil. Features that are the same at both ends are not moved.

    Parameters
    ----------
    stencil, begins, ends, shape
        The scheme; both ends of all paths, of shape (N, d); and the shape of one input.
    part, steps, n_steps
        The rows, and the numbers of the steps among `n_steps` that are taken.
    """

    def __init__(
        self,
        stencil: Stencil,
        begins: Tensor,
        ends: Tensor,
        shape: torch.Size,
        part: slice,
        steps: slice,
        n_steps: int,
    ) -> None:
        self._stencil, self._shape, self._n_steps = stencil, shape, n_steps
        self._begins, self._part = begins[part], part
        self._moves = ends[part].double() - self._begins.double()
        row, feature = self._moves.nonzero(as_tuple=True)
        device, shifts = ends.device, len(stencil.shifts)
        own = torch.arange(len(self._moves) if stencil.uses_base and len(row) else 0, device=device)
        self._pairs, self._base = (row, feature), len(own)
        # Of one step: rows, features, and how far along the step the point and its feature are.
        self._rows = torch.cat([own, row.repeat_interleave(shifts)])
        self._features = torch.cat([torch.zeros_like(own), feature.repeat_interleave(shifts)])
        # Forward from the beginning of a step, backward from its end, else from its middle.
        self._place = 0.5 - sum(stencil.offsets) / 2
        ahead = torch.tensor(stencil.shifts, dtype=torch.float64, device=device) / shifts
        self._places = self._place + torch.cat([torch.zeros(len(own), device=device).double(), ahead.repeat(len(row))])
        self._first, self._count = steps.start, steps.stop - steps.start
        self.row = (self._rows + part.start).repeat(self._count)

    def __len__(self) -> int:
        return len(self.row)

    def copies(self, items: slice | Tensor) -> list[Tensor]:
        """Return some of the points, in a list with one batch."""
        number = torch.arange(len(self), device=self.row.device)[items]
        step, own = number // len(self._rows) + self._first, number % len(self._rows)
        row, feature = self._rows[own], self._features[own].unsqueeze(1)
        begins, moves = self._begins[row], self._moves[row]
        share = ((step.double() + self._place) / self._n_steps).unsqueeze(1)
        points = (begins.double() + share * moves).to(begins.dtype)
        share = ((step.double() + self._places[own]) / self._n_steps).unsqueeze(1)
        moved = begins.gather(1, feature).double() + share * moves.gather(1, feature)
        return [points.scatter_(1, feature, moved.to(points.dtype)).reshape(-1, *self._shape)]

    def sums(self, outputs: Tensor) -> Tensor:
        """Return the weighted sums of the outputs of all points, float64 of shape (rows, d)."""
        weights, shifts = self._stencil.weights, self._stencil.shifts
        total: Any = 0
        row, feature = self._pairs
        outputs = outputs.reshape(self._count, -1).sum(dim=0)
        for position, shift in enumerate(shifts):
            total = total + weights[shift] * outputs[self._base + position :: len(shifts)]
        if self._base:
            total = total + weights[0] * outputs[row]
        found = torch.zeros_like(self._moves)
        # Weights of a stencil are for a whole step, and the central one makes half a step to each side.
        found[row, feature] = len(shifts) * total
        return found

    def place(self, item: int) -> str:
        """Return in words which point this is."""
        step, own = divmod(item, len(self._rows))
        where = f"a point of the path to input {int(self.row[item])}, in step {self._first + step} of {self._n_steps}"
        return where if own < self._base else f"{where} with feature {int(self._features[own])} moved"
