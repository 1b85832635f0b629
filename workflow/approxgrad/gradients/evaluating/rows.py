"""Whether the rows of a batch are independent, repeatable and not random: otherwise a difference means nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import cycle, islice
from typing import Any

import numpy as np
import torch
from torch import Tensor

from approxgrad.gradients.evaluating.batching import bytes_at_once, halved, memory_budget
from approxgrad.gradients.evaluating.checks import Model, as_tuple, layers, rows_of
from approxgrad.gradients.evaluating.evaluation import evaluation, failure
from approxgrad.gradients.evaluating.footprint import MemoryMeter, memory_meter
from approxgrad.gradients.evaluating.full_float32 import product_eps
from approxgrad.gradients.evaluating.targets import as_outputs
from approxgrad.gradients.evaluating.wrapping import unwrapped

CHECKED_ROWS = 3  # most rows of the inputs that are checked: the first, the middle and the last
# Outputs may differ by this many roundings of the largest one, and by what this many roundings of the inputs change.
# The second number is for half precision, whose machine epsilon is above the third.
ROUNDINGS, COARSE_ROUNDINGS, COARSE = 64, 8, 1e-4
REPEATED_ROUNDINGS = 4  # the same for a batch that is evaluated again, by the same kernels
FEWEST = 4  # fewest rows of the batches in which they are checked
# Multiples of rows that are put beside them, so that a scale or mean over the batch changes visibly.
DISTANT = (-3.0, 0.5, 2.0)
DRAWS = 8  # random roundings of the inputs that are tried before outputs count as different
# Most evaluations of the checks: alone, again, three times in a batch, with rounded inputs.
MOST_EVALUATIONS = CHECKED_ROWS * (2 + 2 + 2 + 2 + 2 * DRAWS)

SINGLY = "batch_size=1 evaluates rows one by one"
SWITCH = "check_rows=False switches this check off for a model that is known"

Selector = Callable[[Any, Tensor], Tensor]  # from the outputs of a batch and its row numbers to the explained outputs


class RowError(ValueError):
    """A model that fails, or whose output for a row depends on more than that row."""


def check_rows(
    model: Model, inputs: Tensor | tuple[Tensor, ...], arguments: Any = None, *, batch_size: int | None = None
) -> int:
    """Refuse a model whose output for a row depends on more than the row: on chance, on other rows, on their number.

    Some rows are evaluated alone, again, beside others and distant ones, and in a batch of another size. All outputs
    must agree up to rounding. If they do not at once, rounded inputs tell how much rounding explains.

    Parameters
    ----------
    model, inputs, arguments
        As for :meth:`approxgrad.FiniteDifference.__call__`.
    batch_size : int, optional
        Largest batch for the model. With 1, only repeatability is checked.

    Returns
    -------
    int
        Model evaluations made: 6 for each of up to 3 rows (10 for a single one), and at most 32 more for each if
        outputs differ.

    Raises
    ------
    RowError
        With the comparison that failed, by how much, and what helps; or why the model fails.
    """
    rows = Rows(model, as_tuple(inputs), as_tuple(arguments), batch_size=batch_size)
    alone = rows.alone(memory_meter(), memory_budget(as_tuple(inputs)[0].device))
    rows.check_repeated(alone)
    rows.check_company(alone)
    rows.check_size(alone)
    return rows.evaluations


class Rows:
    """A few rows of the inputs of a model, evaluated alone and beside others.

    The arguments are those of :func:`check_rows`, and `select`, which takes the explained outputs instead of comparing
    all of them. The inputs may be the rows `numbers` out of `total`, which are counted for `arguments` and `select`.

    Attributes
    ----------
    chosen : list of int
        Numbers of the rows.
    several : int
        Size of the largest batch.
    evaluations : int
        Rows evaluated so far.
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
        count = len(inputs[0])
        self._model = model
        self._numbers = torch.arange(count, device=inputs[0].device) if numbers is None else numbers
        self._total = count if total is None else total
        self._inputs = tuple(tensor.detach() for tensor in inputs)
        self._arguments = arguments
        self._select = select
        last = count - 1
        most = 2 * CHECKED_ROWS if batch_size is None else batch_size
        self.chosen = sorted({0, last // 2, last})[: max(1, min(CHECKED_ROWS, most // 2))]
        self.several = min(max(FEWEST, 2 * len(self.chosen)), most)
        self.evaluations = 0
        self._explained: Tensor | None = None
        weights = (weight for _, part in layers(unwrapped(model)) for weight in part._parameters.values())
        self._weights_eps = max((product_eps(weight) for weight in weights if weight is not None), default=0.0)

    def alone(self, meter: MemoryMeter | None = None, budget: int | None = None) -> Tensor:
        """Return the outputs of the chosen rows, each evaluated alone.

        A meter measures the first one; then no batch has more rows than fit into a memory budget.
        """
        try:
            first = self._outputs(self.chosen[:1], meter=meter)
        except RowError as error:
            if self.several > 1 and self._works_together():
                raise RowError(
                    f"{error}, although not for {self.several}: its rows depend on each other; batch_size=1 would "
                    "evaluate them one by one, which fails for this model"
                ) from error.__cause__
            raise
        if meter is not None and budget is not None:
            self.several = max(1, min(self.several, budget // max(1, bytes_at_once(meter))))
            self.chosen = self.chosen[: max(1, self.several // 2)]
        return torch.cat([first, *(self._outputs([row]) for row in self.chosen[1:])])

    def together(self, meter: MemoryMeter | None = None) -> Tensor:
        """Return the outputs of the chosen rows at the beginning of a batch of :attr:`several`."""
        return self._outputs([*self.chosen, *self._company()], meter=meter)[: len(self.chosen)]

    def _works_together(self) -> bool:
        try:
            self.together()
        except (RowError, TypeError):
            return False
        return True

    def _company(self) -> list[int]:
        """Return the rows that fill up a batch, in another order."""
        return list(islice(cycle(reversed(self.chosen)), self.several - len(self.chosen)))

    def check_repeated(self, alone: Tensor) -> None:
        """Compare the outputs of the rows alone with those of a second evaluation."""
        again = torch.cat([self._outputs([row]) for row in self.chosen])
        if not _within(alone, again, REPEATED_ROUNDINGS * self._eps * _size(alone)):
            self.refuse(alone, again, "two evaluations of the same row", "expected a model without randomness")

    def check_company(self, alone: Tensor, meter: MemoryMeter | None = None) -> None:
        """Compare them with the outputs of the rows behind distant rows, or behind others if these make it fail."""
        if self.several == 1:
            return
        own, company = self.chosen, self._company()
        factors = [*islice(cycle(DISTANT), len(company)), *[1.0] * len(own)]
        try:
            with np.errstate(all="ignore"):
                outputs = self._outputs([*company, *own], factors, meter)
        except RowError:
            outputs = self._outputs([*company, *own], meter=meter)
        self._check(alone, outputs[-len(own) :], "a row alone and the same row beside others")

    def check_size(self, alone: Tensor) -> None:
        """Compare them with the outputs of the rows beside themselves, in another order."""
        if self.several > 1:
            self._check(alone, self.together(), "a row alone and the same row in a batch of another size")

    def _check(self, first: Tensor, second: Tensor, what: str) -> None:
        if not self.agree(first, second):
            self.refuse(first, second, what)

    def agree(self, first: Tensor, second: Tensor) -> bool:
        """Return whether outputs of the chosen rows differ by no more than rounding explains."""
        plain = _roundings(self._eps) * self._eps * _size(first)
        return _within(first, second, plain) or _within(first, second, self._explained_by_rounding(first))

    def refuse(self, first: Tensor, second: Tensor, what: str, helps: str = SINGLY) -> None:
        """Raise the error for outputs that differ."""
        if first.shape != second.shape:
            found = f"have {first.shape[1]} and {second.shape[1]} outputs"
            raise RowError(f"model: {what} {found}, expected as many; {helps}")
        worst = float(_difference(first, second).max())
        raise RowError(f"model: outputs differ by {worst:.2g} between {what}; {helps}; {SWITCH}")

    def _outputs(
        self, rows: Sequence[int], factors: Sequence[float] | None = None, meter: MemoryMeter | None = None
    ) -> Tensor:
        """Return the outputs of one batch of rows, each times a factor: float64, (rows, outputs)."""
        index = torch.tensor(rows, device=self._inputs[0].device)
        copies = [tensor.index_select(0, index) for tensor in self._inputs]
        if factors is not None:
            scale = torch.tensor(factors, device=index.device)
            copies = [copy * scale.to(copy).reshape(-1, *[1] * (copy.ndim - 1)) for copy in copies]
        return self._evaluate(copies, index, meter)

    def _evaluate(self, copies: list[Tensor], index: Tensor, meter: MemoryMeter | None = None) -> Tensor:
        self.evaluations += len(index)
        numbers, half = self._numbers[index], 0
        try:
            found = _evaluated(self._model, copies, rows_of(self._arguments, numbers, self._total), meter)
        except torch.OutOfMemoryError:
            half = halved(len(index))
        except MemoryError:
            raise
        except Exception as error:
            helps = f", although not for single rows; {SINGLY}" if len(index) > 1 else ""
            raise RowError(f"{failure(copies, error)}{helps}") from error
        if half:
            # Only now is the memory free that the failed evaluation took: its error kept that alive.
            parts = [slice(half), slice(half, None)]
            return torch.cat([self._evaluate([copy[part] for copy in copies], index[part]) for part in parts])
        if self._select is not None:
            outputs = self._select(found, numbers)
        else:
            outputs = as_outputs(found)
            if outputs.ndim == 0 or len(outputs) != len(index):
                raise RowError(f"model: returned shape {tuple(outputs.shape)} for {len(index)} rows")
        self._eps = max(self._weights_eps, *(product_eps(tensor) for tensor in (*copies, outputs)))
        # A model may compute elsewhere than its inputs are.
        return outputs.detach().to(index.device, torch.float64, copy=True).reshape(len(index), -1)

    def _explained_by_rounding(self, outputs: Tensor) -> Tensor:
        """Return the largest difference of each output that rounding explains, measured by rounding the inputs."""
        if self._explained is None:
            eps = self._eps
            changes = torch.zeros_like(_size(outputs))
            # A model that does not respond to roundings of float64 computes in float32.
            for coarser in sorted({eps, max(eps, torch.finfo(torch.float32).eps)}):
                changes, eps = self._changes(outputs, coarser), coarser
                if changes.any():
                    break
            self._explained = _roundings(eps) * eps * _size(outputs) + changes
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
                copies.append(copy * (1 + _roundings(eps) * eps * signs))
            alone = [
                self._evaluate([copy[row : row + 1].clone() for copy in copies], index[row : row + 1])
                for row in range(len(index))
            ]
            largest = torch.maximum(largest, _difference(torch.cat(alone), outputs).amax(dim=0))
        return largest


def _evaluated(model: Model, copies: list[Tensor], arguments: list[Any], meter: MemoryMeter | None) -> Any:
    """Return the outputs of a batch; a meter measures its memory, if the model works under a meter."""
    with evaluation():
        if meter is not None:
            try:
                return meter.run(model, [copy.clone() for copy in copies], arguments)
            except Exception:  # noqa: BLE001 - some models, such as compiled ones, fail under a meter
                meter.failed = True
        return model(*copies, *arguments)


def _roundings(eps: float) -> int:
    return ROUNDINGS if eps < COARSE else COARSE_ROUNDINGS


def _size(outputs: Tensor) -> Tensor:
    return outputs.abs().nan_to_num(0, 0, 0).amax(dim=0)


def _within(first: Tensor, second: Tensor, tolerance: Tensor) -> bool:
    return first.shape == second.shape and bool((_difference(first, second).amax(dim=0) <= tolerance).all())


def _difference(first: Tensor, second: Tensor) -> Tensor:
    """Return absolute differences: zero if both are NaN, infinite if only one is finite."""
    same = (first == second) | (first.isnan() & second.isnan())
    return torch.where(same, 0.0, (first - second).abs().nan_to_num(torch.inf))
