"""Gradients from model evaluations: the finite-difference engine."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from approxgrad.gradients.batching import OUTPUT_SHARE, balanced_slices, memory_budget
from approxgrad.gradients.checks import (
    Model,
    as_tuple,
    check_outputs,
    check_plain_gradient,
    check_resolved,
    checked_batch_size,
    checked_inputs,
    halved,
    is_number,
)
from approxgrad.gradients.evaluation import evaluation
from approxgrad.gradients.perturbations import Perturbations, Steps, checked_step, steps_of_features
from approxgrad.gradients.prepared import PreparedModel, prepared
from approxgrad.gradients.stencils import stencil
from approxgrad.gradients.stream import Stream
from approxgrad.gradients.targets import Target, target_indices

OUTPUT_BUFFERS = 14
"""Arrays of 8-byte numbers, one for each evaluation of the rows that are differentiated together, held at once."""


class FiniteDifference:
    """Gradient from model evaluations only: no weights, no autograd and no ``nn.Module`` needed.

    The derivative along feature i of the target output f_t at x is, for the forward scheme,
    ``(f_t(x + h e_i) - f_t(x)) / h``; :data:`approxgrad.gradients.stencils.SCHEMES` lists the schemes. An instance has
    the signature of captum's ``gradient_func``, so it serves every gradient method of captum::

        integrated_gradients = captum.attr.IntegratedGradients(model)
        integrated_gradients.gradient_func = FiniteDifference(step=0.01)

    Parameters
    ----------
    step : float or Tensor
        Step h, positive, in units of the features. A tensor that broadcasts to one input gives every feature a step of
        its own; several inputs may have a tuple with a step for each.
    scheme : str
        ``forward``, ``backward`` or ``central``.
    batch_size : int, optional
        Perturbed copies per evaluation; by default :func:`approxgrad.gradients.batching.batch_size`. With 1, rows are
        evaluated one by one, which suits models whose rows are not independent.
    memory_budget : int, optional
        Bytes to occupy besides model, inputs and result; the default is 512 MiB on the CPU and a quarter of a GPU's
        memory.
    check_rows : bool
        Whether to refuse a model whose output for a row depends on chance, on other rows or on their number
        (:func:`approxgrad.gradients.rows.check_rows`).
    nominal : bool
        Whether to divide by h as it was given, as the original study did, and not by the step that was really made.

    Attributes
    ----------
    used_batch_size : int or None
        The batch size of the last call: smaller than asked for if a GPU ran out of memory.
    lost_steps : int
        Derivatives, in all calls, whose step was lost: x + h is x there. They are taken as 0.
    check_evaluations : int
        Model evaluations, in all calls, that served to look at the model.

    Raises
    ------
    TypeError
        If the step is not a number or a tensor of numbers.
    ValueError
        If a step is not positive and finite, or the scheme, batch size or budget is not valid.

    Notes
    -----
    Cost with d features: d + 1 evaluations per input for ``forward`` and ``backward`` (the unperturbed output is
    evaluated once per input), 2 d for ``central``; and for each call at most 31 to look at the model, at most 15
    without `check_rows`, and more only where outputs differ. The truncation error falls like h
    (central: h squared); the rounding error grows like eps |f_t| / h. Differences are taken in float64 and divided by
    ``(x + h e_i) - x`` as the dtype made it, so that the only rounding is the model's own. A step that is lost in
    some features gives a warning, one that is lost in all is refused.
    """

    def __init__(
        self,
        step: Steps,
        scheme: str = "forward",
        *,
        batch_size: int | None = None,
        memory_budget: int | None = None,
        check_rows: bool = True,
        nominal: bool = False,
    ) -> None:
        self.step: Steps = tuple(map(checked_step, step)) if isinstance(step, tuple) else checked_step(step)
        if memory_budget is not None and not (is_number(memory_budget) and memory_budget > 0):
            raise ValueError(f"memory_budget: expected a positive number of bytes, got {memory_budget!r}")
        self.stencil = stencil(scheme)
        self.scheme = scheme
        self.batch_size = checked_batch_size(batch_size)
        self.memory_budget = memory_budget
        self.check_rows = check_rows
        self.nominal = nominal
        self.used_batch_size: int | None = None
        self.lost_steps = 0
        self.check_evaluations = 0

    def __repr__(self) -> str:
        step = f"{self.step:g}" if isinstance(self.step, float) else "one for each feature"
        return f"FiniteDifference(step={step}, scheme={self.scheme!r})"

    def __call__(
        self,
        forward_fn: Model,
        inputs: Tensor | tuple[Tensor, ...],
        target_ind: Target = None,
        additional_forward_args: Any = None,
    ) -> tuple[Tensor, ...]:
        """Return the approximated gradient of the target output with respect to every input.

        Parameters
        ----------
        forward_fn : callable
            Model: a batch of inputs to a batch of outputs.
        inputs : Tensor or tuple of Tensor
            Floating-point, each of shape (N, ...); a model with several inputs takes a tuple.
        target_ind : Target
            Output to differentiate, in any form of :data:`approxgrad.gradients.targets.Target`.
        additional_forward_args : Any
            Passed to the model after the inputs; a tensor whose first axis has length N is taken row by row.

        Returns
        -------
        tuple of Tensor
            One gradient per input tensor, of its shape, dtype and device.

        Raises
        ------
        TypeError
            If an input is not a floating-point tensor, or the outputs are not real floating-point numbers.
        ValueError
            If an input, a moved input or an output is not finite, a target is out of range, the outputs do not fit the
            inputs, a layer of the model is in training mode, the model fails or its rows are not independent and
            repeatable (:class:`approxgrad.gradients.rows.RowError`), or the step is lost in every feature.
        """
        points = checked_inputs(inputs)
        check_plain_gradient(forward_fn)
        widths = [point[0].numel() for point in points]
        with evaluation():
            columns = torch.arange(sum(widths), device=points[0].device)
            gradients = tuple(torch.empty_like(point, memory_format=torch.contiguous_format) for point in points)
            groups = self._groups(forward_fn, points, columns, target_ind, additional_forward_args, self.nominal)
            for part, derivatives in groups:
                for gradient, own in zip(gradients, derivatives.split(widths, dim=1), strict=True):
                    gradient[part] = own.to(gradient.dtype).reshape(gradient[part].shape)
        return gradients

    def partial_derivatives(
        self,
        forward_fn: Model,
        inputs: tuple[Tensor, ...],
        features: Tensor,
        target: Target = None,
        additional_forward_args: Any = None,
        *,
        nominal: bool | None = None,
    ) -> Tensor:
        """Return derivatives along chosen features only.

        Parameters
        ----------
        forward_fn, inputs, target, additional_forward_args
            As in :meth:`__call__`.
        features : Tensor
            K feature numbers, counted through the flattened inputs of one row.
        nominal : bool, optional
            In place of the instance's own.

        Returns
        -------
        Tensor
            Float64 of shape (N, K).
        """
        divide = self.nominal if nominal is None else nominal
        with evaluation():
            groups = self._groups(forward_fn, inputs, features, target, additional_forward_args, divide)
            return torch.cat([derivatives for _, derivatives in groups])

    def prepare(
        self,
        model: Model,
        inputs: tuple[Tensor, ...],
        arguments: tuple[Any, ...] = (),
        indices: Tensor | None = None,
        *,
        check_rows: bool = True,
    ) -> PreparedModel:
        """Return a model as this source evaluates it; given instead of the model, it is not looked at again.

        Parameters
        ----------
        model, inputs, arguments
            As in :meth:`__call__`, the last two as tuples.
        indices : Tensor or None
            Targets: :func:`approxgrad.gradients.targets.target_indices`.
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
            budget=self._budget(inputs[0].device),
        )
        self.check_evaluations += made.evaluations
        return made

    def _groups(
        self,
        model: Model,
        inputs: tuple[Tensor, ...],
        features: Tensor,
        target: Target,
        additional_arguments: Any,
        nominal: bool,
    ) -> Iterator[tuple[slice, Tensor]]:
        """Yield the derivatives of groups of rows, so many that their outputs fill a small share of the budget."""
        arguments = as_tuple(additional_arguments)
        rows, device = len(inputs[0]), inputs[0].device
        indices = target_indices(target, rows, device)
        steps = steps_of_features(self.step, inputs)
        check_resolved(inputs, steps, self.stencil.shifts)
        ready = prepared(model)
        if ready is None:
            model = ready = self.prepare(model, inputs, arguments, indices)
        budget = self._budget(device)
        size = self.batch_size or ready.rows_at_once(device, budget)
        bytes_per_row = OUTPUT_BUFFERS * 8 * self.stencil.evaluations(len(features))
        stream, lost = Stream(model, ready, arguments, indices, rows), 0
        for part in balanced_slices(rows, max(1, int(OUTPUT_SHARE * budget) // bytes_per_row)):
            moved = Perturbations(self.stencil, steps, inputs, features, part)
            while True:
                try:
                    outputs = stream.evaluate(moved, size)
                    break
                except torch.cuda.OutOfMemoryError:
                    size = halved(size)
            self.used_batch_size = size
            if size > 1:
                self.check_evaluations += stream.check(moved, outputs)
            outputs = outputs.reshape(part.stop - part.start, -1)
            base = int(self.stencil.uses_base)
            check_outputs(outputs, base, self.stencil.shifts, steps, features, first_row=part.start)
            lost += int((moved.divisors == 0).sum())
            divisors = steps[features].expand_as(moved.divisors) if nominal else moved.divisors
            yield part, self._combine(outputs).div_(divisors).masked_fill_(moved.divisors == 0, 0)
        self._note_lost(lost, rows * len(features), inputs[0].dtype)

    def _budget(self, device: torch.device) -> int:
        return memory_budget(device) if self.memory_budget is None else self.memory_budget

    def _combine(self, outputs: Tensor) -> Tensor:
        """Weigh the outputs of each row by the stencil."""
        weights = dict(zip(self.stencil.offsets, self.stencil.coefficients, strict=True))
        base = int(self.stencil.uses_base)
        shifted = outputs[:, base:].reshape(len(outputs), -1, len(self.stencil.shifts))
        total = shifted[:, :, 0] * weights[self.stencil.shifts[0]]
        for position, offset in enumerate(self.stencil.shifts[1:], start=1):
            total += weights[offset] * shifted[:, :, position]
        if base:
            total += weights[0] * outputs[:, :1]
        return total

    def _note_lost(self, lost: int, derivatives: int, kind: torch.dtype) -> None:
        self.lost_steps += lost
        if lost:
            warnings.warn(
                f"step: lost in {str(kind).removeprefix('torch.')} for {lost:,} of {derivatives:,} derivatives, where "
                "x + h is x; they are taken as 0. A larger step, one step for each feature, or float64 helps",
                stacklevel=4,
            )
