"""Whether the rows of a batch are independent, repeatable and not random: without that a difference means nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import cycle, islice
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from approxgrad.gradients.batching import bytes_at_once, memory_budget
from approxgrad.gradients.checks import Model, as_tuple, halved, layers, rows_of
from approxgrad.gradients.evaluation import evaluated, failure
from approxgrad.gradients.footprint import MemoryMeter, memory_meter
from approxgrad.gradients.targets import as_outputs
from approxgrad.gradients.wrapping import unwrapped

CHECKED_ROWS = 3
"""Rows of the inputs that are looked at at most: the first, the middle and the last."""

ROUNDINGS, COARSE_ROUNDINGS = 64, 8
"""Outputs may differ by so many roundings of the largest one, and by what so many roundings of the inputs change; the
second number is for half precision."""

COARSE = 1e-4
"""Machine epsilons above this are those of half precision."""

REPEATED_ROUNDINGS = 4
"""The same for one batch that is evaluated again, by the same kernels."""

FEWEST = 4
"""Rows of the batches in which they are looked at, at least."""

DISTANT = (-3.0, 0.5, 2.0)
"""Multiples of rows that keep them company, so that a scale or mean taken over the batch changes visibly."""

DRAWS = 8
"""Roundings of the inputs that are drawn before outputs that differ are called different."""

MOST_EVALUATIONS = CHECKED_ROWS * (2 + 2 + 2 + 2 + 2 * DRAWS)
"""Evaluations that looking at a model takes at most: alone, again, three times in a batch, with rounded inputs."""

SINGLY = "batch_size=1 evaluates rows one by one"
SWITCH = "check_rows=False switches this check off for a model that is known"

Selector = Callable[[Any, Tensor], Tensor]
"""From what a model returned, and the rows that it was given, to the explained output of each."""


class RowError(ValueError):
    """A model that fails, or whose output for a row depends on more than that row."""


def check_rows(
    model: Model, inputs: Tensor | tuple[Tensor, ...], arguments: Any = None, *, batch_size: int | None = None
) -> int:
    """Refuse a model whose output for a row depends on more than the row: on chance, on other rows, on their number.

    Some rows are evaluated alone, again, in the company of others and of distant ones, and in a batch of another size.
    All must agree up to rounding. Where they do not at first sight, roundings of the inputs say what rounding explains.

    Parameters
    ----------
    model : callable
        A batch of inputs to a batch of outputs. It is given copies, so it may change its inputs.
    inputs : Tensor or tuple of Tensor
        Floating-point, each of shape (N, ...).
    arguments : Any
        Passed to the model after the inputs; a tensor whose first axis has length N is taken row by row.
    batch_size : int, optional
        Largest batch that the model is given. If it is 1, nothing but repeatability is checked.

    Returns
    -------
    int
        Model evaluations made: 6 for each of up to 3 rows (10 for a single one), and at most 32 more for each where
        outputs differ.

    Raises
    ------
    RowError
        Naming which of the comparisons failed, by how much, and what helps; or that the model fails, and why.
    """
    rows = Rows(model, as_tuple(inputs), as_tuple(arguments), batch_size=batch_size)
    alone = rows.alone(memory_meter(), memory_budget(as_tuple(inputs)[0].device))
    rows.check_repeated(alone)
    rows.check_company(alone)
    rows.check_size(alone)
    return rows.evaluations


class Rows:
    """A few rows of the inputs of a model, evaluated in different company.

    Parameters
    ----------
    model, inputs, arguments
        As for :func:`check_rows`.
    select : callable, optional
        Takes the explained outputs; by default all outputs are compared.
    numbers : Tensor, optional
        Which of `total` rows the inputs belong to, for the arguments and for `select`; by default they are all.
    total : int, optional
        Number of these rows.
    batch_size : int, optional
        Largest batch that the model is given.

    Attributes
    ----------
    chosen : list of int
        Numbers of the rows.
    several : int
        Size of the largest batch.
    evaluations : int
        Rows that the model was given so far.
    """

    def __init__(
        self,
        model: Model,
        inputs: tuple[Tensor, ...],
        arguments: tuple[Any, ...],
        select: Selector | None = None,
        numbers: Tensor | None = None,
        total: int | None = None,
        batch_size: int | None = None,
    ) -> None:
        self._model = model
        self._count = len(inputs[0])
        self._numbers = torch.arange(self._count, device=inputs[0].device) if numbers is None else numbers
        self._total = self._count if total is None else total
        self._inputs = tuple(tensor.detach() for tensor in inputs)
        self._arguments = arguments
        self._select = select
        last = self._count - 1
        most = 2 * CHECKED_ROWS if batch_size is None else batch_size
        self.chosen = sorted({0, last // 2, last})[: max(1, min(CHECKED_ROWS, most // 2))]
        self.several = min(max(FEWEST, 2 * len(self.chosen)), most)
        self.evaluations = 0
        self._explained: Tensor | None = None
        module = unwrapped(model)
        parts = layers(module) if isinstance(module, nn.Module) else ()
        weights = (tensor for _, part in parts for tensor in part._parameters.values() if tensor is not None)
        self._weights_eps = max(map(_eps, weights), default=0.0)

    def alone(self, meter: MemoryMeter | None = None, budget: int | None = None) -> Tensor:
        """Return the outputs of the chosen rows, each evaluated alone.

        A meter sees the first; then there are no more rows in a batch than fit into a memory budget.
        """
        try:
            first = self.outputs(self.chosen[:1], meter=meter)
        except RowError as error:
            if self.several > 1 and self._works_together():
                raise RowError(
                    f"{error}, although not for {self.several}: its rows depend on each other; batch_size=1 would "
                    "evaluate them one by one, which this model does not bear"
                ) from error.__cause__
            raise
        if meter is not None and budget is not None:
            self.several = max(1, min(self.several, budget // max(1, bytes_at_once(meter))))
            self.chosen = self.chosen[: max(1, self.several // 2)]
        return torch.cat([first, *(self.outputs([row]) for row in self.chosen[1:])])

    def _works_together(self) -> bool:
        try:
            self.together()
        except (RowError, TypeError):
            return False
        return True

    def together(self, meter: MemoryMeter | None = None) -> Tensor:
        """Return the outputs of the chosen rows in a batch of :attr:`several`, at its beginning."""
        return self.outputs([*self.chosen, *self._company()], meter=meter)[: len(self.chosen)]

    def _company(self) -> list[int]:
        """Return the numbers of the rows that fill a batch up, in another order."""
        return list(islice(cycle(reversed(self.chosen)), self.several - len(self.chosen)))

    def check_repeated(self, alone: Tensor) -> None:
        """Compare the outputs of the rows alone with those of the same again."""
        again = torch.cat([self.outputs([row]) for row in self.chosen])
        if not self._agree(alone, again, REPEATED_ROUNDINGS * self._eps * _size(alone)):
            self.refuse(alone, again, "two evaluations of the same row", "expected a model without randomness")

    def check_company(self, alone: Tensor, meter: MemoryMeter | None = None) -> None:
        """Compare them with the outputs of the rows beside distant rows."""
        if self.several == 1:
            return
        company = self._in_company(meter)
        if not self.agree(alone, company):
            self.refuse(alone, company, "a row alone and the same row beside others")

    def check_size(self, alone: Tensor) -> None:
        """Compare them with the outputs of the rows beside themselves, in another order."""
        if self.several == 1:
            return
        together = self.together()
        if not self.agree(alone, together):
            self.refuse(alone, together, "a row alone and the same row in a batch of another size")

    def agree(self, first: Tensor, second: Tensor) -> bool:
        """Return whether outputs of the chosen rows differ by no more than rounding explains."""
        plain = self._roundings(self._eps) * self._eps * _size(first)
        return self._agree(first, second, plain) or self._agree(first, second, self._rounding(first))

    def _agree(self, first: Tensor, second: Tensor, tolerance: Tensor) -> bool:
        if first.shape != second.shape:
            return False
        return bool((_difference(first, second).amax(dim=0) <= tolerance).all())

    def refuse(self, first: Tensor, second: Tensor, what: str, helps: str = SINGLY) -> None:
        """Raise the error for outputs that differ."""
        if first.shape != second.shape:
            found = f"have {first.shape[1]} and {second.shape[1]} outputs"
            raise RowError(f"model: {what} {found}, expected as many; {helps}")
        worst = float(_difference(first, second).max())
        raise RowError(f"model: outputs differ by {worst:.2g} between {what}; {helps}; {SWITCH}")

    def _in_company(self, meter: MemoryMeter | None) -> Tensor:
        """Return the outputs of rows behind distant rows, or behind each other if the model fails for distant ones."""
        own, company = self.chosen, self._company()
        factors = [*islice(cycle(DISTANT), len(company)), *[1.0] * len(own)]
        try:
            with np.errstate(all="ignore"):
                return self.outputs([*company, *own], factors, meter)[-len(own) :]
        except RowError:
            return self.outputs([*company, *own], meter=meter)[-len(own) :]

    def outputs(
        self, rows: Sequence[int], factors: Sequence[float] | None = None, meter: MemoryMeter | None = None
    ) -> Tensor:
        """Return the outputs of one batch: some rows, times a factor each; float64, (rows, outputs)."""
        index = torch.tensor(rows, device=self._inputs[0].device)
        copies = [tensor.index_select(0, index) for tensor in self._inputs]
        if factors is not None:
            scale = torch.tensor(factors, device=index.device)
            copies = [copy * scale.to(copy).reshape(-1, *[1] * (copy.ndim - 1)) for copy in copies]
        return self._evaluate(copies, index, meter)

    def _evaluate(self, copies: list[Tensor], index: Tensor, meter: MemoryMeter | None = None) -> Tensor:
        self.evaluations += len(index)
        numbers = self._numbers[index]
        arguments = rows_of(self._arguments, numbers, self._total)
        try:
            found = evaluated(self._model, copies, arguments, meter)
        except torch.OutOfMemoryError:
            half = halved(len(index))
            parts = [slice(half), slice(half, None)]
            return torch.cat([self._evaluate([copy[part] for copy in copies], index[part]) for part in parts])
        except MemoryError:
            raise
        except Exception as error:
            helps = f", although not for single rows; {SINGLY}" if len(index) > 1 else ""
            raise RowError(f"{failure(copies, error)}{helps}") from error
        if self._select is not None:
            outputs = self._select(found, numbers)
        else:
            outputs = as_outputs(found)
            if outputs.ndim == 0 or len(outputs) != len(index):
                raise RowError(f"model: returned shape {tuple(outputs.shape)} for {len(index)} rows")
        self._eps = max(self._weights_eps, *(_eps(tensor) for tensor in (*copies, outputs)))
        return outputs.detach().to(torch.float64, copy=True).reshape(len(index), -1)

    def _roundings(self, eps: float) -> int:
        return ROUNDINGS if eps < COARSE else COARSE_ROUNDINGS

    def _rounding(self, outputs: Tensor) -> Tensor:
        """Return the largest difference of each output that rounding explains, measured by rounding the inputs."""
        if self._explained is not None:
            return self._explained
        eps = self._eps
        changes = torch.zeros_like(_size(outputs))
        # A model that does not see roundings of float64 computes in float32.
        for coarser in sorted({eps, max(eps, torch.finfo(torch.float32).eps)}):
            changes, eps = self._changes(outputs, coarser), coarser
            if changes.any():
                break
        self._explained = self._roundings(eps) * eps * _size(outputs) + changes
        return self._explained

    def _changes(self, outputs: Tensor, eps: float) -> Tensor:
        """Return by how much roundings of the inputs change each output."""
        generator = torch.Generator("cpu").manual_seed(0)
        index = torch.tensor(self.chosen, device=self._inputs[0].device)
        largest = torch.zeros_like(_size(outputs))
        for _ in range(DRAWS):
            copies = []
            for tensor in self._inputs:
                copy = tensor.index_select(0, index)
                signs = torch.randint(0, 2, copy.shape, generator=generator, device="cpu").mul_(2).sub_(1).to(copy)
                copies.append(copy * (1 + self._roundings(eps) * eps * signs))
            alone = [
                self._evaluate([copy[row : row + 1].clone() for copy in copies], index[row : row + 1])
                for row in range(len(index))
            ]
            largest = torch.maximum(largest, _difference(torch.cat(alone), outputs).amax(dim=0))
        return largest


def _eps(tensor: Tensor) -> float:
    return torch.finfo(tensor.dtype).eps if tensor.is_floating_point() else 0.0


def _size(outputs: Tensor) -> Tensor:
    return outputs.abs().nan_to_num(0, 0, 0).amax(dim=0)


def _difference(first: Tensor, second: Tensor) -> Tensor:
    """Return absolute differences: none between two that are both NaN, infinite where only one is finite."""
    same = (first == second) | (first.isnan() & second.isnan())
    return torch.where(same, 0.0, (first - second).abs().nan_to_num(torch.inf))
