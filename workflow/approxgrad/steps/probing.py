"""Model evaluations along straight lines, counted: what the choice of a step is made from."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from approxgrad.gradients.batching import balanced_slices
from approxgrad.gradients.checks import Model
from approxgrad.gradients.targets import select_outputs

Array = NDArray[np.float64]


class Probe:
    """The target output of a model along lines through some points, in batches.

    Parameters
    ----------
    model : callable
        A batch of inputs to a batch of outputs. It is given copies, so it may change them.
    points : Tensor
        Shape (P, ...): the points.
    indices : Tensor or None
        The target of every point: :func:`approxgrad.gradients.targets.target_indices`.
    batch_size : int
        Inputs per evaluation.

    Attributes
    ----------
    evaluations : int
        Inputs that the model was given so far.
    """

    def __init__(self, model: Model, points: Tensor, indices: Tensor | None, batch_size: int) -> None:
        self.model = model
        self.points = points
        self.indices = indices
        self.batch_size = batch_size
        self.evaluations = 0

    def __call__(
        self,
        directions: Tensor,
        shifts: Sequence[float],
        rows: NDArray[np.int64] | None = None,
        finite: bool = True,
    ) -> Array:
        """Return the output at ``points[i] + shift * directions[i]``.

        Parameters
        ----------
        directions : Tensor
            Shape (K, d): one for each of the points that are used.
        shifts : sequence of float
            S multiples of the direction. They are rounded to the precision of the inputs, as the steps of
            :class:`approxgrad.FiniteDifference` are, so that the rounding of x + h counts as noise here too.
        rows : ndarray, optional
            Numbers of these points; by default the first K.
        finite : bool
            Whether an output that is not finite is refused; otherwise it is returned.

        Returns
        -------
        ndarray
            Float64 of shape (K, S).

        Raises
        ------
        ValueError
            If an output is not finite, or does not fit the target.
        """
        count, device = len(directions), self.points.device
        used = torch.arange(count, device=device) if rows is None else torch.from_numpy(rows).to(device)
        offsets = torch.tensor(shifts, dtype=torch.float64, device=device).to(self.points.dtype)
        total = count * len(offsets)
        # Not inference_mode, in which a model could neither differentiate nor keep a tensor for later.
        with torch.inference_mode(mode=False), torch.no_grad():
            outputs = torch.empty(total, dtype=torch.float64)
            for part in balanced_slices(total, self.batch_size):
                item = torch.arange(part.start, part.stop, device=device)
                point, shift = item // len(offsets), item % len(offsets)
                base = self.points[used[point]]
                moved = base.flatten(1) + offsets[shift, None] * directions[point]
                raw = self.model(moved.reshape(base.shape))
                indices = None if self.indices is None else self.indices[used[point]]
                outputs[part] = select_outputs(raw, indices, len(item)).double().cpu()
        self.evaluations += total
        found = torch.isfinite(outputs)
        if finite and not found.all():
            first = int((~found).nonzero()[0])
            near = f"near an input, features shifted by {float(offsets[first % len(offsets)]):+g}"
            raise ValueError(f"model: output is {outputs[first].item()} {near}")
        return outputs.reshape(count, -1).numpy()
