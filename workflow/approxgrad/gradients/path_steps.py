"""Differences whose steps are the increments of a path, for models whose output jumps."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from approxgrad.gradients.evaluating.batching import OUTPUT_SHARE, balanced_slices
from approxgrad.gradients.evaluating.evaluated import Stream

PATH_ONLY = (
    "step: path is for Integrated Gradients only, whose path it needs to know; use approxgrad.attribute with "
    "method='integrated_gradients', which takes the place of captum's, or a number as the step"
)

# Arrays of 8-byte numbers, one for each evaluation of the points that are taken together, in memory at once.
OUTPUT_BUFFERS = 14


def path_sums(stream: Stream, baselines: Tensor, shifts: Sequence[int], n_steps: int, budget: int) -> Tensor:
    """Return for each feature the sum of the changes of the output while it makes the steps of a straight path.

    With points ``z_k = b + k / n (x - b)``, the shift 1 sums ``f(z_k with the feature of z_k+1) - f(z_k)``, and -1 sums
    ``f(z_k+1) - f(z_k+1 with the feature of z_k)``. These are differences times increments, so the sum is the
    Integrated Gradients attribution. A jump along a feature is met by just one step and counts in full. What features
    do together is missing from one sum and counted by each of them in the other: the mean of both, which is that of two
    orders of a Shapley value, is complete for interactions of two features, however few the steps are.

    Parameters
    ----------
    stream : Stream
        Of a single input tensor, the ends x of the paths, of shape (N, ...).
    baselines : Tensor
        Their beginnings b, shaped like the inputs.
    shifts : sequence of int
        1, -1 or both, for the mean.
    n_steps, budget : int
        Number n of steps, and bytes of memory.

    Returns
    -------
    Tensor
        Float64 of shape (N, d).

    Notes
    -----
    Cost: n (d + 1) evaluations for each input and shift; features that do not move cost nothing.
    """
    (ends,) = (point.reshape(stream.rows, -1) for point in stream.inputs)
    begins = baselines.reshape(stream.rows, -1)
    total = torch.zeros(ends.shape, dtype=torch.float64, device=ends.device)
    evaluations = max(1, int(OUTPUT_SHARE * budget) // (8 * OUTPUT_BUFFERS))
    largest = max(1, evaluations // (1 + ends.shape[1]))
    for part in balanced_slices(stream.rows, largest):
        for steps in balanced_slices(n_steps, max(1, largest // (part.stop - part.start))):
            for shift in shifts:
                points = PathSteps(shift, begins, ends, stream.inputs[0].shape[1:], part, steps, n_steps)
                if len(points):
                    total[part] += points.sums(stream.evaluate(points))
    return total / len(shifts)


class PathSteps:
    """Points of straight paths, and copies with one feature a step ahead or behind.

    For each of the `steps` come first the points of all rows, then those with a moved feature. Features that are the
    same at both ends are not moved.

    Parameters
    ----------
    shift : int
        1 for the beginning of each step with a feature from its end, -1 for the end with a feature from the beginning.
    begins, ends, shape
        Both ends of all paths, of shape (N, d), and the shape of one input.
    part, steps, n_steps
        The rows, and the numbers of the steps among `n_steps` that are taken.
    """

    def __init__(
        self, shift: int, begins: Tensor, ends: Tensor, shape: torch.Size, part: slice, steps: slice, n_steps: int
    ) -> None:
        self._shift, self._shape, self._n_steps = shift, shape, n_steps
        self._begins = begins[part]
        self._moves = ends[part].double() - self._begins.double()
        self._pairs = row, feature = self._moves.nonzero(as_tuple=True)
        base = torch.arange(len(self._moves) if len(row) else 0, device=ends.device)
        self._base, self._rows = len(base), torch.cat([base, row])
        # A point as it is has feature 0 of itself.
        self._features = torch.cat([torch.zeros_like(base), feature])
        self._first, self._count = steps.start, steps.stop - steps.start
        self.row = (self._rows + part.start).repeat(self._count)

    def __len__(self) -> int:
        return len(self.row)

    def copies(self, items: slice | Tensor) -> list[Tensor]:
        """Return some of the points, in a list with one batch."""
        number = torch.arange(len(self), device=self.row.device)[items]
        own = number % len(self._rows)
        row, feature = self._rows[own], self._features[own].unsqueeze(1)
        place = number // len(self._rows) + self._first + int(self._shift < 0)
        begins, moves = self._begins[row], self._moves[row]
        points = self._along(begins, moves, place)
        place = place + self._shift * (own >= self._base)
        moved = self._along(begins.gather(1, feature), moves.gather(1, feature), place)
        return [points.scatter_(1, feature, moved).reshape(-1, *self._shape)]

    def _along(self, begins: Tensor, moves: Tensor, place: Tensor) -> Tensor:
        """Return features of points of the paths by the number of the point, from 0 to n."""
        share = (place.double() / self._n_steps).unsqueeze(1)
        return (begins.double() + share * moves).to(begins.dtype)

    def sums(self, outputs: Tensor) -> Tensor:
        """Return the changes of the output, summed over the steps: float64 of shape (rows, d)."""
        row, feature = self._pairs
        of_steps = outputs.reshape(self._count, -1).sum(dim=0)
        found = torch.zeros_like(self._moves)
        found[row, feature] = self._shift * (of_steps[self._base :] - of_steps[row])
        return found

    def place(self, item: int) -> str:
        """Return in words which point this is."""
        step, own = divmod(item, len(self._rows))
        where = f"a point of the path to input {int(self.row[item])}, in step {self._first + step} of {self._n_steps}"
        return where if own < self._base else f"{where} with feature {int(self._features[own])} moved"
