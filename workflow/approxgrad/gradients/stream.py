"""The stream of evaluations of a finite difference: its points in batches, and a look at what came out of them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from approxgrad.gradients.batching import balanced_slices
from approxgrad.gradients.checks import Model, rows_of
from approxgrad.gradients.evaluation import failure
from approxgrad.gradients.perturbations import Perturbations
from approxgrad.gradients.prepared import PreparedModel, says_the_same
from approxgrad.gradients.rows import RowError, Rows
from approxgrad.gradients.targets import OutputSelector


class Stream:
    """Evaluates a model at the points of a finite difference.

    Parameters
    ----------
    model : callable
        What is evaluated: a prepared model, or one that wraps it.
    ready : PreparedModel
        The prepared model.
    arguments : tuple
        Further arguments of the model; a tensor with one row for each input is taken row by row.
    indices : Tensor or None
        Explained outputs: :func:`approxgrad.gradients.targets.target_indices`.
    rows : int
        Number of inputs.
    """

    def __init__(
        self, model: Model, ready: PreparedModel, arguments: tuple[Any, ...], indices: Tensor | None, rows: int
    ) -> None:
        self._model, self._ready = model, ready
        self._arguments, self._indices, self._rows = arguments, indices, rows

    def evaluate(self, points: Perturbations, size: int) -> Tensor:
        """Return the explained outputs at all points, in batches of a size: float64, (points,)."""
        select = OutputSelector(self._indices)
        outputs = torch.empty(len(points), dtype=torch.float64, device=points.row.device)
        for items in balanced_slices(len(points), size):
            own, copies = points.row[items], points.copies(items)
            try:
                found = self._model(*copies, *rows_of(self._arguments, own, self._rows))
            except (MemoryError, torch.cuda.OutOfMemoryError):
                raise
            except Exception as error:
                raise RowError(failure(copies, error)) from error
            outputs[items] = select(found, own)
        return outputs

    def check(self, points: Perturbations, outputs: Tensor) -> int:
        """Refuse a model that says something else of one of the points alone; return the evaluations.

        Once for each prepared model, and not for a wrapper that returns something else than that does.
        """
        if self._ready.seen_at_work or not says_the_same(self._model, self._ready):
            return 0
        items = torch.tensor([len(points) - 1], device=outputs.device)
        copies, number = tuple(points.copies(items)), points.row[items]
        single = Rows(self._ready, copies, self._arguments, OutputSelector(self._indices), number, self._rows)
        alone, found = single.alone(), outputs[items].unsqueeze(1)
        if not single.agree(alone, found):
            single.refuse(alone, found, "a row alone and the same row in a batch of the engine")
        self._ready.seen_at_work = True
        return single.evaluations
