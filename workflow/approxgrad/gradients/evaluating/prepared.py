"""A model as gradient sources evaluate it: checked, measured, and made faster if its outputs stay the same."""

from __future__ import annotations

import math
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from approxgrad.gradients.evaluating.acceleration import FastFunctions, is_compiled, keep_freed_memory
from approxgrad.gradients.evaluating.batching import batch_size
from approxgrad.gradients.evaluating.checks import Model, check_deterministic
from approxgrad.gradients.evaluating.footprint import Footprint, footprint, guessed, memory_meter
from approxgrad.gradients.evaluating.rows import RowError, Rows
from approxgrad.gradients.evaluating.targets import OutputSelector
from approxgrad.gradients.evaluating.wrapping import ModelWrapper, unwrapped, weights_in_order, wrappers


class PreparedModel(ModelWrapper):
    """A model that was checked and measured with inputs of one kind.

    The model itself is evaluated, and it is not changed. On a CPU some functions of torch are computed faster while it
    runs (:class:`.acceleration.FastFunctions`), if its outputs for a few rows were the same up to
    rounding.

    Parameters
    ----------
    model : callable
        A batch of inputs to a batch of outputs.
    inputs : tuple of Tensor
        Each of shape (N, ...); up to three rows are evaluated.
    arguments : tuple
        Further arguments of the model; a tensor whose first axis has length N is taken row by row.
    indices : Tensor or None
        Explained outputs: :func:`approxgrad.gradients.evaluating.targets.target_indices`.
    check_rows, batch_size, budget
        As `check_rows`, `batch_size` and `memory_budget` of :class:`approxgrad.FiniteDifference`.
    faster : bool
        Whether functions may be computed faster while no graph is recorded.

    Attributes
    ----------
    footprint : Footprint
        What one input needs.
    seen_rows : float
        Largest batch of the engine in which rows are known to be independent; infinite if they need no check.
    evaluations : int
        Evaluations made here: at most 30, without the check 15, and more only if outputs differ.

    Raises
    ------
    ValueError
        If the model or a check of it fails, or a target does not fit.
    """

    def __init__(
        self,
        model: Model,
        inputs: tuple[Tensor, ...],
        arguments: tuple[Any, ...],
        indices: Tensor | None,
        *,
        check_rows: bool,
        batch_size: int | None,
        budget: int,
        faster: bool = True,
    ) -> None:
        super().__init__(model)
        self.seen_rows: float = 0 if check_rows else math.inf
        check_deterministic(unwrapped(model))
        self.footprint: Footprint = guessed(inputs)
        self.evaluations = 0
        self._fast: FastFunctions | None = None
        on_cpu = inputs[0].device.type == "cpu"
        if on_cpu:
            keep_freed_memory()
        faster = faster and on_cpu and _may_be_faster(model)
        if not (check_rows or faster or batch_size is None):
            return
        # A compiled model compares itself with the module that it was made from.
        checked = unwrapped(model) if weights_in_order(model) else model
        rows = Rows(checked, inputs, arguments, OutputSelector(indices), batch_size=batch_size)
        one, several = memory_meter(), memory_meter()
        alone = rows.alone(one, budget)
        if check_rows:
            rows.check_repeated(alone)
            rows.check_company(alone, several)
        elif batch_size is None and rows.several > 1:
            rows.together(several)
        if not one.failed:
            self.footprint = footprint(one, None if several.failed else several, rows.several)
        if faster and (one.failed or one.sees_images):
            self._fast = self._agreeing(rows, alone, inputs, arguments, indices)
        # The comparison with faster functions has already evaluated a batch of that size.
        if check_rows and self._fast is None:
            rows.check_size(alone)
        self.evaluations += rows.evaluations

    def _agreeing(
        self, rows: Rows, alone: Tensor, inputs: tuple[Tensor, ...], arguments: tuple[Any, ...], indices: Tensor | None
    ) -> FastFunctions | None:
        """Return faster functions that the model uses and that leave its outputs the same, if there are any."""
        fast, model = FastFunctions(), self.__wrapped__

        def quick(*inputs: Any) -> Any:
            with fast:
                return model(*inputs)

        trial = Rows(quick, inputs, arguments, OutputSelector(indices), batch_size=rows.several)
        try:
            agrees = rows.agree(alone, trial.together())
        except RowError:
            agrees = False
        self.evaluations += trial.evaluations
        return fast if agrees and fast.used else None

    def __call__(self, *inputs: Any) -> Any:
        """Evaluate the model."""
        with nullcontext() if self._fast is None or torch.is_grad_enabled() else self._fast:
            return self.__wrapped__(*inputs)

    def rows_at_once(self, device: torch.device, budget: int, backward: bool = False) -> int:
        """Return how many inputs to evaluate at once: :func:`approxgrad.gradients.evaluating.batching.batch_size`."""
        return batch_size(self.footprint, device, budget, backward, weights_in_order(self))


def prepared(model: Model) -> PreparedModel | None:
    """Return the prepared model among a model and those that it wraps, if there is one."""
    return next((wrapper for wrapper in wrappers(model) if isinstance(wrapper, PreparedModel)), None)


def says_the_same(model: Model, ready: PreparedModel) -> bool:
    """Return whether a model that wraps a prepared one returns what that does."""
    for wrapper in wrappers(model):
        if wrapper is ready:
            return True
        if not wrapper.same_outputs:
            break
    return False


def _may_be_faster(model: Model) -> bool:
    """Return whether a model is a module that was not compiled."""
    module = unwrapped(model)
    return isinstance(module, nn.Module) and not is_compiled(module) and not weights_in_order(model)
