"""Whether the rows of a batch are independent, repeatable and not random: without that a difference means nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from approxgrad.gradients.checks import Model, as_tuple, rows_of
from approxgrad.messages import one_line

CHECKED_ROWS = 3
"""Rows of the inputs that are looked at: the first, the middle and the last."""

ROUNDINGS = 64
"""Outputs may differ by so many roundings of the largest one, and by what so many roundings of the inputs change."""

DISTANT = -3.0
"""Multiple of a row that keeps it company, so that a scale or mean taken over the batch changes visibly."""

DRAWS = 8
"""Roundings of the inputs that are drawn before outputs that differ are called different."""

SWITCH = "check_rows=False switches this check off for a model that is known"


class RowError(ValueError):
    """A model whose output for a row depends on more than that row."""


def check_rows(
    model: Model, inputs: Tensor | tuple[Tensor, ...], arguments: Any = None, *, batch_size: int | None = None
) -> int:
    """Refuse a model whose output for a row depends on more than the row: on chance, on other rows, on their number.

    Some rows are evaluated alone, again, in the company of others and of distant ones, and in a batch of another size.
    All must agree up to rounding, which is measured by rounding the inputs.

    Parameters
    ----------
    model : callable
        A batch of inputs to a batch of outputs. It is given copies, so it may change its inputs.
    inputs : Tensor or tuple of Tensor
        Floating-point, each of shape (N, ...).
    arguments : Any
        Passed to the model after the inputs; a tensor whose first axis has length N is taken row by row.
    batch_size : int, optional
        If it is 1, the model will only see single rows, so that nothing but repeatability is checked.

    Returns
    -------
    int
        Model evaluations made: at most 9 for each of up to 3 rows, and 26 for each where outputs differ.

    Raises
    ------
    RowError
        Naming which of the four comparisons failed, by how much, and what helps.
    """
    return RowCheck(model, as_tuple(inputs), as_tuple(arguments)).run(single=batch_size == 1)


class RowCheck:
    """The evaluations of :func:`check_rows`.

    Attributes
    ----------
    evaluations : int
        Rows that the model was given so far.
    """

    def __init__(self, model: Model, inputs: tuple[Tensor, ...], arguments: tuple[Any, ...]) -> None:
        self._model = model
        self._rows = len(inputs[0])
        self._inputs = tuple(tensor.detach() for tensor in inputs)
        self._arguments = arguments
        last = self._rows - 1
        self._chosen = sorted({0, last // 2, last})
        self.evaluations = 0

    def run(self, single: bool) -> int:
        """Make the comparisons; return the evaluations."""
        own = self._chosen
        alone = torch.cat([self._outputs([row]) for row in own])
        again = torch.cat([self._outputs([row]) for row in own])
        self._compare(alone, again, "two evaluations of the same row", "expected a model without randomness")
        if single:
            return self.evaluations
        helps = "batch_size=1 evaluates rows one by one"
        company = self._with_company(own)
        self._compare(alone, company, "a row alone and beside other rows", helps)
        twice = self._outputs([*reversed(own), *own, *own])[-len(own) :]
        self._compare(alone, twice, "a row alone and in a batch of another size", helps)
        return self.evaluations

    def _with_company(self, own: Sequence[int]) -> Tensor:
        """Return the outputs of rows beside distant rows, or beside each other if the model fails for distant ones."""
        try:
            return self._outputs([*own, *own], [1.0] * len(own) + [DISTANT] * len(own))[: len(own)]
        except ValueError:
            return self._outputs([*own, *reversed(own)])[: len(own)]

    def _outputs(self, rows: Sequence[int], factors: Sequence[float] | None = None) -> Tensor:
        """Return the outputs for copies of some rows, times a factor each, in float64."""
        index = torch.tensor(rows, device=self._inputs[0].device)
        copies = [tensor.index_select(0, index.to(tensor.device)) for tensor in self._inputs]
        if factors is not None:
            scale = torch.tensor(factors)
            copies = [
                copy * scale.to(copy).reshape(-1, *[1] * (copy.ndim - 1)) if copy.is_floating_point() else copy
                for copy in copies
            ]
        return self._evaluate(copies, index)

    def _evaluate(self, copies: list[Tensor], index: Tensor) -> Tensor:
        self.evaluations += len(index)
        shapes = ", ".join(str(tuple(copy.shape)) for copy in copies)
        try:
            with torch.inference_mode(mode=False), torch.no_grad():
                found = torch.as_tensor(self._model(*copies, *rows_of(self._arguments, index, self._rows)))
        except Exception as error:
            raise RowError(
                f"model: fails for {copies[0].dtype} inputs of shape {shapes} "
                f"({one_line(f'{type(error).__name__}: {error}')})"
            ) from error
        if found.ndim == 0 or len(found) != len(index):
            raise RowError(f"model: returned shape {tuple(found.shape)} for a batch of {len(index)} inputs")
        self._dtype = found.dtype
        return found.detach().to(torch.float64, copy=True).reshape(len(index), -1)

    def _compare(self, first: Tensor, second: Tensor, what: str, helps: str) -> None:
        """Refuse outputs that differ by more than rounding explains."""
        if first.shape != second.shape:
            raise RowError(f"model: {what} have {first.shape[1]} and {second.shape[1]} outputs; {helps}")
        if torch.allclose(first, second, rtol=0, atol=0, equal_nan=True):
            return
        difference = (first - second).abs().nan_to_num(torch.inf).amax(dim=0)
        if (difference <= self._rounding(first)).all():
            return
        worst = float(difference.max())
        raise RowError(f"model: outputs differ by {worst:.2g} between {what}; {helps}; {SWITCH}")

    def _rounding(self, outputs: Tensor) -> Tensor:
        """Return the largest difference of each output that rounding explains."""
        kinds = {tensor.dtype for tensor in self._inputs if tensor.is_floating_point()}
        kinds |= {self._dtype} if self._dtype.is_floating_point else set()
        eps = max(torch.finfo(kind).eps for kind in kinds)
        size = outputs.abs().nan_to_num(0, 0, 0).amax(dim=0)
        changes = torch.zeros_like(size)
        # A model that does not see roundings of float64 computes in float32.
        for coarser in sorted({eps, max(eps, torch.finfo(torch.float32).eps)}):
            changes, eps = self._changes(outputs, coarser), coarser
            if changes.any():
                break
        return ROUNDINGS * eps * size + changes

    def _changes(self, outputs: Tensor, eps: float) -> Tensor:
        """Return by how much roundings of the inputs change each output."""
        generator = torch.Generator().manual_seed(0)
        index = torch.tensor(self._chosen, device=self._inputs[0].device)
        largest = torch.zeros(outputs.shape[1], dtype=torch.float64, device=outputs.device)
        for _ in range(DRAWS):
            copies = []
            for tensor in self._inputs:
                copy = tensor.index_select(0, index)
                signs = torch.randint(0, 2, copy.shape, generator=generator).mul_(2).sub_(1).to(copy)
                copies.append(copy * (1 + ROUNDINGS * eps * signs))
            moved = torch.cat(
                [self._evaluate([copy[i : i + 1] for copy in copies], index[i : i + 1]) for i in range(len(index))]
            )
            largest = torch.maximum(largest, (moved - outputs).abs().nan_to_num(0, 0, 0).amax(dim=0))
        return largest
