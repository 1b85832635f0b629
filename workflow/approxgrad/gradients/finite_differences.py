"""Gradients from model evaluations: the finite-difference engine."""

from __future__ import annotations

import math
from collections.abc import Iterator
from numbers import Real
from typing import Any

import torch
from torch import Tensor

from approxgrad.gradients.acceleration import accelerated
from approxgrad.gradients.batching import OUTPUT_SHARE, balanced_slices, batch_size, memory_budget
from approxgrad.gradients.checks import (
    Model,
    as_tuple,
    check_deterministic,
    check_outputs,
    check_resolved,
    checked_batch_size,
    checked_inputs,
    halved,
    rows_of,
)
from approxgrad.gradients.stencils import stencil
from approxgrad.gradients.targets import OutputSelector, Target, target_indices

OUTPUT_BUFFERS = 12
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
    step : float
        Step h, positive, in units of the features.
    scheme : str
        ``forward``, ``backward`` or ``central``.
    batch_size : int, optional
        Perturbed copies per evaluation; by default :func:`approxgrad.gradients.batching.batch_size`.
    memory_budget : int, optional
        Bytes to occupy besides model, inputs and result; the default is 512 MiB on the CPU and a quarter of a GPU's
        memory.

    Attributes
    ----------
    used_batch_size : int or None
        The batch size of the last call: smaller than asked for if a GPU ran out of memory.

    Raises
    ------
    TypeError
        If the step is not a number.
    ValueError
        If the step is not positive and finite, or the scheme, batch size or budget is not valid.

    Notes
    -----
    Cost with d features: d + 1 evaluations per input for ``forward`` and ``backward`` (the unperturbed output is
    evaluated once per input), 2 d for ``central``. The truncation error falls like h (central: h squared); the
    rounding error grows like eps |f_t| / h. Differences are taken in float64, so that the only rounding is that
    of x + h and the model's own; a step below the resolution of x is lost in it, and refused where it is lost in all
    features.
    """

    def __init__(
        self,
        step: float,
        scheme: str = "forward",
        *,
        batch_size: int | None = None,
        memory_budget: int | None = None,
    ) -> None:
        if not _is_number(step):
            raise TypeError(f"step: expected a positive number, got {step!r}")
        if not (math.isfinite(step) and step > 0):
            raise ValueError(f"step: expected a positive finite number, got {step!r}")
        if memory_budget is not None and not (_is_number(memory_budget) and memory_budget > 0):
            raise ValueError(f"memory_budget: expected a positive number of bytes, got {memory_budget!r}")
        self.stencil = stencil(scheme)
        self.step = float(step)
        self.scheme = scheme
        self.batch_size = checked_batch_size(batch_size)
        self.memory_budget = memory_budget
        self.used_batch_size: int | None = None
        self.lost_steps = 0

    def __repr__(self) -> str:
        return f"FiniteDifference(step={self.step:g}, scheme={self.scheme!r})"

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
            If an input is not a floating-point tensor.
        ValueError
            If an input or an output is not finite, a target is out of range, the outputs do not fit the inputs, or
            a dropout or batch-normalisation layer of the model is in training mode, or the step is lost in every
            feature.
        """
        points = checked_inputs(inputs)
        check_resolved(points, self.step, self.stencil.shifts)
        widths = [point[0].numel() for point in points]
        columns = torch.arange(sum(widths), device=points[0].device)
        gradients = tuple(torch.empty_like(point, memory_format=torch.contiguous_format) for point in points)
        for part, derivatives in self._groups(forward_fn, points, columns, target_ind, additional_forward_args):
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
    ) -> Tensor:
        """Return derivatives along chosen features only.

        Parameters
        ----------
        forward_fn, inputs, target, additional_forward_args
            As in :meth:`__call__`.
        features : Tensor
            K feature numbers, counted through the flattened inputs of one row.

        Returns
        -------
        Tensor
            Float64 of shape (N, K).
        """
        groups = self._groups(forward_fn, inputs, features, target, additional_forward_args)
        return torch.cat([derivatives for _, derivatives in groups])

    def _groups(
        self, model: Model, inputs: tuple[Tensor, ...], features: Tensor, target: Target, additional_arguments: Any
    ) -> Iterator[tuple[slice, Tensor]]:
        """Yield the derivatives of groups of rows, so many that their outputs fill a small share of the budget."""
        check_deterministic(model)
        arguments = as_tuple(additional_arguments)
        rows, device = len(inputs[0]), inputs[0].device
        indices = target_indices(target, rows, device)
        budget = memory_budget(device) if self.memory_budget is None else self.memory_budget
        size = self.batch_size or batch_size(model, inputs, budget)
        bytes_per_row = OUTPUT_BUFFERS * 8 * self.stencil.evaluations(len(features))
        with accelerated(model, device):
            for part in balanced_slices(rows, max(1, int(OUTPUT_SHARE * budget) // bytes_per_row)):
                while True:
                    try:
                        outputs = self._evaluate(model, inputs, features, indices, arguments, part, size)
                        break
                    except torch.cuda.OutOfMemoryError:
                        size = halved(size)
                self.used_batch_size = size
                yield part, self._combine(outputs)

    def _evaluate(
        self,
        model: Model,
        inputs: tuple[Tensor, ...],
        features: Tensor,
        indices: Tensor | None,
        arguments: tuple[Any, ...],
        part: slice,
        size: int,
    ) -> Tensor:
        """Evaluate the model at all points of the stencil for some rows: float64, (rows, evaluations per input)."""
        rows, device = len(inputs[0]), inputs[0].device
        flat = [tensor.detach().reshape(rows, -1) for tensor in inputs]
        per_row = self.stencil.evaluations(len(features))
        number = torch.arange((part.stop - part.start) * per_row, device=device)
        row = number // per_row + part.start
        moves = self._moves(flat, features, row, number % per_row)
        select = OutputSelector(indices)
        outputs = torch.empty(len(number), dtype=torch.float64, device=device)
        with torch.inference_mode():
            for items in balanced_slices(len(number), size):
                own = row[items]
                copies = [
                    source.index_select(0, own).scatter_(1, column[items], value[items]).reshape(-1, *tensor.shape[1:])
                    for tensor, source, (column, value) in zip(inputs, flat, moves, strict=True)
                ]
                outputs[items] = select(model(*copies, *rows_of(arguments, own, rows)), own)
        outputs = outputs.reshape(-1, per_row)
        base = int(self.stencil.uses_base)
        check_outputs(outputs, base, self.stencil.shifts, self.step, features, first_row=part.start)
        return outputs

    def _moves(self, flat: list[Tensor], features: Tensor, row: Tensor, item: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Return, for every input tensor, the column that each copy has shifted and the value it gets there: (B, 1).

        All of them at once, because a batch that takes many small operations to build slows a small model down.
        """
        steps = self.step * torch.tensor(self.stencil.shifts, dtype=torch.float64, device=row.device)
        item = item - int(self.stencil.uses_base)
        # The unperturbed copy, and a copy with a feature of another tensor, has its first feature shifted by nothing.
        perturbed, item = item >= 0, item.clamp_(min=0)
        feature, shift = features[item // len(steps)], steps[item % len(steps)]
        moves, start = [], 0
        for source in flat:
            stop = start + source.shape[1]
            own = perturbed & (feature >= start) & (feature < stop)
            column = torch.where(own, feature - start, 0)
            value = source[row, column] + (shift * own).to(source.dtype)
            moves.append((column.unsqueeze(1), value.unsqueeze(1)))
            start = stop
        return moves

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
        return total.div_(self.step)


def _is_number(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)
