"""What a gradient source is (captum's ``gradient_func`` signature), and the exact one."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor

from approxgrad.gradients.batching import balanced_slices, batch_size
from approxgrad.gradients.checks import (
    Model,
    as_tuple,
    check_deterministic,
    check_outputs,
    checked_batch_size,
    checked_inputs,
    halved,
    rows_of,
)
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

    Attributes
    ----------
    used_batch_size : int or None
        The batch size of the last call.

    Notes
    -----
    Cost: one forward and one backward pass per input.
    """

    def __init__(self, batch_size: int | None = None) -> None:
        self.batch_size = checked_batch_size(batch_size)
        self.used_batch_size: int | None = None

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
        check_deterministic(forward_fn)
        arguments = as_tuple(additional_forward_args)
        rows = len(points[0])
        indices = target_indices(target_ind, rows, points[0].device)
        # A path average keeps the graph of every path point.
        graphs = getattr(forward_fn, "n_steps", 1)
        size = self.batch_size or max(1, batch_size(forward_fn, points, backward=True) // graphs)
        gradients = [torch.empty_like(point) for point in points]
        while True:
            try:
                for part in balanced_slices(rows, size):
                    for gradient, values in zip(
                        gradients, _autograd(forward_fn, points, indices, arguments, part), strict=True
                    ):
                        gradient[part] = values
                break
            except torch.cuda.OutOfMemoryError:
                size = halved(size)
        self.used_batch_size = size
        return tuple(gradients)


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
        check_outputs(outputs.detach().reshape(-1, 1), 1, (), 0.0, row[:0], first_row=part.start)
        if not outputs.requires_grad:
            raise ValueError(NOT_DIFFERENTIABLE)
        gradients = torch.autograd.grad(outputs.sum(), batch, allow_unused=True)
    return tuple(
        torch.zeros_like(tensor) if gradient is None else gradient
        for tensor, gradient in zip(batch, gradients, strict=True)
    )
