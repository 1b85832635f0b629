"""What a gradient source is (captum's ``gradient_func`` signature), and the exact one."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor

from approxgrad.gradients.batching import balanced_slices, memory_budget
from approxgrad.gradients.checks import (
    Model,
    as_tuple,
    check_outputs,
    checked_batch_size,
    checked_inputs,
    halved,
    rows_of,
)
from approxgrad.gradients.prepared import PreparedModel, prepared
from approxgrad.gradients.targets import Target, select_outputs, target_indices

NOT_DIFFERENTIABLE = (
    "gradient: the outputs do not depend on the inputs through autograd, so there is no exact gradient; "
    "use FiniteDifference"
)


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


class ExactGradient:
    """Gradient by automatic differentiation, in batches of bounded memory.

    Parameters
    ----------
    batch_size : int, optional
        Inputs per evaluation; by default :func:`approxgrad.gradients.batching.batch_size`.
    check_rows : bool
        As in :class:`approxgrad.FiniteDifference`.

    Attributes
    ----------
    used_batch_size : int or None
        The batch size of the last call.
    check_evaluations : int
        Model evaluations, in all calls, that served to look at the model.

    Notes
    -----
    Cost: one forward and one backward pass per input; and for each call at most 18 evaluations to look at the model,
    at most 9 without `check_rows`, and more only where outputs differ.
    """

    def __init__(self, batch_size: int | None = None, *, check_rows: bool = True) -> None:
        self.batch_size = checked_batch_size(batch_size)
        self.check_rows = check_rows
        self.used_batch_size: int | None = None
        self.check_evaluations = 0

    def __call__(
        self,
        forward_fn: Model,
        inputs: Tensor | tuple[Tensor, ...],
        target_ind: Target = None,
        additional_forward_args: Any = None,
    ) -> tuple[Tensor, ...]:
        """Return the gradient of the target output; arguments and errors as in :class:`approxgrad.FiniteDifference`.

        Raises
        ------
        ValueError
            Also if the outputs do not depend on the inputs through autograd.
        """
        points = checked_inputs(inputs)
        arguments = as_tuple(additional_forward_args)
        rows, device = len(points[0]), points[0].device
        indices = target_indices(target_ind, rows, device)
        model, ready = forward_fn, prepared(forward_fn)
        if ready is None:
            model = ready = self.prepare(forward_fn, points, arguments, indices)
        size = self.batch_size or ready.rows_at_once(device, memory_budget(device), backward=True)
        gradients = [torch.empty_like(point) for point in points]
        while True:
            try:
                for part in balanced_slices(rows, size):
                    for gradient, values in zip(
                        gradients, _autograd(model, points, indices, arguments, part), strict=True
                    ):
                        gradient[part] = values
                break
            except torch.cuda.OutOfMemoryError:
                size = halved(size)
        self.used_batch_size = size
        return tuple(gradients)

    def prepare(
        self,
        model: Model,
        inputs: tuple[Tensor, ...],
        arguments: tuple[Any, ...] = (),
        indices: Tensor | None = None,
        *,
        check_rows: bool = True,
    ) -> PreparedModel:
        """Return a model as this source evaluates it: as :meth:`approxgrad.FiniteDifference.prepare`."""
        made = PreparedModel(
            model,
            inputs,
            arguments,
            indices,
            check_rows=check_rows and self.check_rows,
            batch_size=self.batch_size,
            budget=memory_budget(inputs[0].device),
            faster=False,
        )
        self.check_evaluations += made.evaluations
        return made


def _autograd(
    model: Model, inputs: tuple[Tensor, ...], indices: Tensor | None, arguments: tuple[Any, ...], part: slice
) -> tuple[Tensor, ...]:
    """Differentiate the target output for the rows of one slice."""
    device = inputs[0].device
    row = torch.arange(part.start, part.stop, device=device)
    with torch.inference_mode(False), torch.enable_grad():
        batch = tuple(tensor[part].detach().clone().requires_grad_() for tensor in inputs)
        try:
            # Given copies, a model may change its inputs in place.
            raw = model(*(tensor.clone() for tensor in batch), *rows_of(arguments, row, len(inputs[0])))
        except RuntimeError as error:
            if "requires grad" in str(error):
                raise ValueError(NOT_DIFFERENTIABLE) from None
            raise
        outputs = select_outputs(raw, None if indices is None else indices[part], len(row))
        check_outputs(outputs.detach().reshape(-1, 1), 1, (), outputs[:0], row[:0], first_row=part.start)
        if not outputs.requires_grad:
            raise ValueError(NOT_DIFFERENTIABLE)
        gradients = torch.autograd.grad(outputs.sum(), batch, allow_unused=True)
    return tuple(
        torch.zeros_like(tensor) if gradient is None else gradient
        for tensor, gradient in zip(batch, gradients, strict=True)
    )
