"""Gradient sources that evaluate a model in batches: what they are, and what all of them share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor

from approxgrad.gradients.evaluating.batching import balanced_slices, halved, memory_budget
from approxgrad.gradients.evaluating.checks import (
    Model,
    as_tuple,
    check_finite,
    check_plain_gradient,
    checked_batch_size,
    checked_inputs,
    is_number,
    rows_of,
)
from approxgrad.gradients.evaluating.evaluation import evaluation, failure
from approxgrad.gradients.evaluating.full_float32 import uses_tf32
from approxgrad.gradients.evaluating.perturbations import Copies, Points
from approxgrad.gradients.evaluating.prepared import PreparedModel, prepared, says_the_same
from approxgrad.gradients.evaluating.rows import RowError, Rows
from approxgrad.gradients.evaluating.targets import OutputSelector, Target, target_indices


class GradientSource(Protocol):
    """What captum calls for a gradient; see :class:`approxgrad.FiniteDifference` for the meaning of the arguments."""

    def __call__(
        self,
        forward_fn: Model,
        inputs: Tensor | tuple[Tensor, ...],
        target_ind: Target = None,
        additional_forward_args: Any = None,
    ) -> tuple[Tensor, ...]:
        """Return one gradient per input tensor."""
        ...


class BatchedGradient:
    """Base class of gradient sources that evaluate a model in batches of bounded memory.

    The ``__call__`` of a subclass makes a :class:`Stream` with :meth:`stream`, which checks inputs, target, model and
    outputs, and evaluates the model.

    Parameters
    ----------
    batch_size : int, optional
        Inputs per evaluation; by default :func:`.batching.batch_size`. With 1, rows are evaluated
        one by one, which suits models whose rows are not independent.
    memory_budget : int, optional
        Bytes to occupy besides model, inputs and result; the default is 512 MiB on the CPU and a quarter of a GPU's
        memory.
    check_rows : bool
        Whether to refuse a model whose output for a row depends on chance, on other rows or on their number
        (:func:`approxgrad.gradients.evaluating.rows.check_rows`).

    Attributes
    ----------
    used_batch_size : int or None
        The batch size of the last call; smaller than asked for if a GPU ran out of memory.
    used_tf32 : bool
        Whether the last call let a GPU compute in TF32 (:func:`approxgrad.allow_tf32`).
    check_evaluations : int
        Model evaluations, in all calls, that checked the model.
    lost_steps : int
        Derivatives, in all calls, whose step was lost: x + h is x there, and they are taken as 0.

    Raises
    ------
    ValueError
        If the batch size or the budget is not valid.

    Examples
    --------
    Differences along random directions (Nesterov and Spokoiny, 2017, https://doi.org/10.1007/s10208-015-9296-2):

    >>> import torch
    >>> from approxgrad.gradients.evaluating.evaluated import BatchedGradient
    >>> class RandomDirections(BatchedGradient):
    ...     def __call__(self, forward_fn, inputs, target_ind=None, additional_forward_args=None):
    ...         stream = self.stream(forward_fn, inputs, target_ind, additional_forward_args)
    ...         (points,) = stream.inputs
    ...         directions = torch.randn(100, *points.shape[1:], generator=torch.Generator().manual_seed(0))
    ...         base = stream.outputs(lambda row, copy: [points[row]], copies=1)
    ...         moved = stream.outputs(lambda row, copy: [points[row] + 0.01 * directions[copy]], copies=100)
    ...         slopes = ((moved - base) / 0.01).to(points)
    ...         return ((slopes @ directions.flatten(1) / 100).reshape(points.shape),)
    >>> RandomDirections()(lambda x: x.sum(dim=1), torch.zeros(2, 3))[0].shape
    torch.Size([2, 3])
    """

    records_graphs: ClassVar[bool] = False
    """Whether evaluations record a graph for a backward pass, which needs more memory and plain functions of torch."""

    few_evaluations: bool = False
    """Whether evaluations are so few that it does not pay to make them faster."""

    def __init__(
        self, batch_size: int | None = None, *, memory_budget: int | None = None, check_rows: bool = True
    ) -> None:
        if memory_budget is not None and not (is_number(memory_budget) and memory_budget > 0):
            raise ValueError(f"memory_budget: expected a positive number of bytes, got {memory_budget!r}")
        self.batch_size = checked_batch_size(batch_size)
        self.memory_budget = memory_budget
        self.check_rows = check_rows
        self.used_batch_size: int | None = None
        self.used_tf32 = False
        self.check_evaluations = 0
        self.lost_steps = 0

    def budget(self, device: torch.device) -> int:
        """Return the memory budget on a device, in bytes."""
        return memory_budget(device) if self.memory_budget is None else self.memory_budget

    def prepare(
        self,
        model: Model,
        inputs: tuple[Tensor, ...],
        arguments: tuple[Any, ...] = (),
        indices: Tensor | None = None,
        *,
        check_rows: bool = True,
    ) -> PreparedModel:
        """Return a model that was checked and measured; a source that is given it does neither again.

        Parameters
        ----------
        model, inputs, arguments, indices
            As for :class:`approxgrad.gradients.evaluating.prepared.PreparedModel`.
        check_rows : bool
            Whether to check the rows, if this source does at all.
        """
        made = PreparedModel(
            model,
            inputs,
            arguments,
            indices,
            check_rows=check_rows and self.check_rows,
            batch_size=self.batch_size,
            budget=self.budget(inputs[0].device),
            faster=not (self.records_graphs or self.few_evaluations),
        )
        self.check_evaluations += made.evaluations
        return made

    def stream(
        self,
        model: Model,
        inputs: Tensor | tuple[Tensor, ...],
        target: Target = None,
        additional_arguments: Any = None,
    ) -> Stream:
        """Return the evaluations of one call; arguments as of :meth:`GradientSource.__call__`."""
        return Stream(self, model, inputs, target, additional_arguments)


class Stream:
    """The evaluations of one call of a gradient source.

    The model is checked before its first evaluation, unless it is a prepared one or wraps it.

    Attributes
    ----------
    given : callable
        The model as it was given.
    inputs, rows, device
        The inputs, checked and detached, each of shape (N, ...); their number N and their device.
    arguments, indices
        As for :meth:`BatchedGradient.prepare`.
    """

    def __init__(
        self,
        source: BatchedGradient,
        model: Model,
        inputs: Tensor | tuple[Tensor, ...],
        target: Target,
        additional_arguments: Any,
    ) -> None:
        self.inputs = tuple(point.detach() for point in checked_inputs(inputs))
        if not source.records_graphs:
            check_plain_gradient(model)
        self.arguments = as_tuple(additional_arguments)
        self.rows, self.device = len(self.inputs[0]), self.inputs[0].device
        self.indices = target_indices(target, self.rows, self.device)
        self._source, self.given = source, model
        self._known = self._ready = prepared(model)
        self._size: int | None = None

    # Not cached properties: before Python 3.12 these have one lock for all threads, which would wait for each other.

    @property
    def ready(self) -> PreparedModel:
        """The prepared model."""
        if self._ready is None:
            self._ready = self._source.prepare(self.given, self.inputs, self.arguments, self.indices)
        return self._ready

    @property
    def model(self) -> Model:
        """What is evaluated: the prepared model, or a given one that wraps it."""
        return self.ready if self._known is None else self.given

    @property
    def size(self) -> int:
        """Inputs per evaluation."""
        if self._size is None:
            source, budget = self._source, self._source.budget(self.device)
            self._size = source.batch_size or self.ready.rows_at_once(self.device, budget, source.records_graphs)
        return self._size

    def outputs(self, moved: Callable[[Tensor, Tensor], list[Tensor]], copies: int) -> Tensor:
        """Return the explained outputs at K `copies` of every input: float64 of shape (N, K).

        Parameters
        ----------
        moved : callable
            From numbers of inputs and of copies, two tensors of integers of shape (B,), to B points: a list with a new
            tensor of shape (B, ...) for each input tensor.
        copies : int
            Number K.

        Raises
        ------
        ValueError
            If an output is not finite, the model fails, or its rows are not independent and repeatable.
        """
        points = Copies(moved, copies, torch.arange(self.rows * copies, device=self.device))
        return self.evaluate(points).reshape(self.rows, copies)

    def evaluate(self, points: Points) -> Tensor:
        """Return the explained outputs at all points: float64 of shape (points,); errors as in :meth:`outputs`."""
        select = OutputSelector(self.indices)
        outputs = torch.empty(len(points), dtype=torch.float64, device=points.row.device)

        def evaluate_batch(items: slice) -> None:
            own, copies = points.row[items], points.copies(items)
            try:
                found = self.model(*copies, *rows_of(self.arguments, own, self.rows))
            except (MemoryError, torch.cuda.OutOfMemoryError):
                raise
            except Exception as error:
                raise RowError(failure(copies, error)) from error
            outputs[items] = select(found, own)

        with evaluation():
            self.in_batches(len(points), evaluate_batch)
            if self.size > 1:
                self._check_alone(points, outputs)
        check_finite(outputs, points.place)
        return outputs

    def in_batches(self, total: int, evaluate_batch: Callable[[slice], None]) -> None:
        """Call a function with slices of ``range(total)``, again with smaller ones if a GPU runs out of memory."""
        while True:
            try:
                for items in balanced_slices(total, self.size):
                    evaluate_batch(items)
                break
            except torch.cuda.OutOfMemoryError:
                self._size = halved(self.size)
        self._source.used_batch_size = self.size
        self._source.used_tf32 = uses_tf32(self.device, self.inputs[0].dtype)

    def _check_alone(self, points: Points, outputs: Tensor) -> None:
        """Refuse a model that returns something else for the last point alone.

        A prepared model is checked in its first batch, and in one more than twice as large as those before. A wrapper
        that returns something else than the prepared model does is not checked.
        """
        batch = min(len(points), self.size)
        if batch <= 2 * self.ready.seen_rows or not says_the_same(self.model, self.ready):
            return
        items = torch.tensor([len(points) - 1], device=outputs.device)
        copies, number = tuple(points.copies(items)), points.row[items]
        single = Rows(self.ready, copies, self.arguments, OutputSelector(self.indices), number, self.rows)
        alone, found = single.alone(), outputs[items].unsqueeze(1)
        if not single.agree(alone, found):
            single.refuse(alone, found, "a row alone and the same row in a batch of the engine")
        self.ready.seen_rows = batch
        self._source.check_evaluations += single.evaluations
