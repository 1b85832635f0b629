"""Counted model evaluations along straight lines, from which a step is chosen."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from approxgrad.gradients.directional.bases import RandomCosines
from approxgrad.gradients.evaluating.batching import balanced_slices
from approxgrad.gradients.evaluating.checks import Model
from approxgrad.gradients.evaluating.evaluation import evaluation
from approxgrad.gradients.evaluating.targets import select_outputs
from approxgrad.steps.arrays import Array, Rows

ELEMENTS = 2**22  # most elements of the directions along single features that are made at a time


class Probe:
    """The target output of a model along lines through some points, of shape (P, ...), in batches.

    The model may change what it is given. `indices` are the targets of the points
    (:func:`.targets.target_indices`). With a basis, its directions stand for the single features. A
    point has `features`; `evaluations` counts the inputs evaluated so far.
    """

    def __init__(
        self,
        model: Model,
        points: Tensor,
        indices: Tensor | None,
        batch_size: int,
        basis: RandomCosines | None = None,
    ) -> None:
        self._model = model
        self.points = points
        self._indices = indices
        self._batch_size = batch_size
        self.basis = basis
        self.features = points[0].numel()
        self.evaluations = 0

    def __call__(
        self, directions: Tensor, shifts: Sequence[float], rows: Rows | None = None, finite: bool = True
    ) -> Array:
        """Return the output at ``points[rows[i]] + shift * directions[i]``: float64 of shape (K, S).

        The directions have shape (K, d); the rows are by default the first ones. The S shifts are rounded to the dtype
        of the inputs, like the steps of :class:`approxgrad.FiniteDifference`, so that the rounding of x + h counts as
        noise. Outputs that are not finite raise a ValueError if they must be `finite`.
        """
        count, device = len(directions), self.points.device
        used = torch.from_numpy(np.arange(count) if rows is None else rows).to(device)
        offsets = torch.tensor(shifts, dtype=torch.float64, device=device).to(self.points.dtype)
        total = count * len(offsets)
        with evaluation():
            outputs = torch.empty(total, dtype=torch.float64)
            for part in balanced_slices(total, self._batch_size):
                item = torch.arange(part.start, part.stop, device=device)
                point, shift = item // len(offsets), item % len(offsets)
                base = self.points[used[point]]
                moved = base.flatten(1) + offsets[shift, None] * directions[point]
                raw = self._model(moved.reshape(base.shape))
                indices = None if self._indices is None else self._indices[used[point]]
                outputs[part] = select_outputs(raw, indices, len(item)).double().cpu()
        self.evaluations += total
        found = torch.isfinite(outputs)
        if finite and not found.all():
            first = int((~found).nonzero()[0])
            near = f"near an input, features shifted by {float(offsets[first % len(offsets)]):+g}"
            raise ValueError(f"model: output is {outputs[first].item()} {near}")
        return outputs.reshape(count, -1).numpy()

    def along_features(
        self, features: Rows, shifts: Sequence[float], rows: Rows, lengths: Array | float = 1.0, finite: bool = True
    ) -> Array:
        """Return the output at some points, each with one feature moved by a length of its own times each shift."""
        lengths = np.broadcast_to(lengths, len(rows))
        found = [
            self(self.axes(features[part], lengths[part]), shifts, rows[part], finite)
            for part in balanced_slices(len(rows), max(1, ELEMENTS // self.features))
        ]
        return np.concatenate(found)

    def axes(self, features: Rows, lengths: Array | float = 1.0) -> Tensor:
        """Return directions along single features, or those of the basis: shape (K, d), with these lengths."""
        own = torch.from_numpy(np.broadcast_to(np.asarray(lengths, np.float64), len(features)).copy())
        own = own.to(self.points.device)
        if self.basis is not None:
            numbers = torch.from_numpy(features).to(own.device)
            return (self.basis.directions(numbers) * own.unsqueeze(1)).to(self.points.dtype)
        directions = torch.zeros(len(features), self.features, dtype=self.points.dtype, device=self.points.device)
        directions[np.arange(len(features)), features] = own.to(directions)
        return directions
