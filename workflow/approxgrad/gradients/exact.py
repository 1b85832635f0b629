"""The exact gradient, by automatic differentiation."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from approxgrad.gradients.evaluating.captum_call import CaptumCall
from approxgrad.gradients.evaluating.checks import check_finite, rows_of
from approxgrad.gradients.evaluating.evaluated import Stream
from approxgrad.gradients.evaluating.targets import select_outputs

NOT_DIFFERENTIABLE = (
    "gradient: the outputs do not depend on the inputs through autograd, so there is no exact gradient; "
    "use FiniteDifference"
)


class ExactGradient(CaptumCall):
    """Gradient by automatic differentiation, in batches of bounded memory.

    Parameters, attributes and errors are those of :class:`approxgrad.gradients.evaluating.evaluated.BatchedGradient`.

    Notes
    -----
    Cost: one forward and one backward pass per input. The checks of a call take at most 18 evaluations, at most 9
    without `check_rows`, and more only if outputs differ.
    """

    records_graphs: ClassVar[bool] = True

    def differentiated(self, stream: Stream) -> tuple[Tensor, ...]:
        """Return the gradients by automatic differentiation."""
        gradients = tuple(torch.empty_like(point) for point in stream.inputs)

        def differentiate(part: slice) -> None:
            for gradient, values in zip(gradients, _autograd(stream, part), strict=True):
                gradient[part] = values

        stream.in_batches(stream.rows, differentiate)
        return gradients


def _autograd(stream: Stream, part: slice) -> tuple[Tensor, ...]:
    """Differentiate the target output for the rows of one slice."""
    row = torch.arange(part.start, part.stop, device=stream.device)
    with torch.inference_mode(False), torch.enable_grad():
        batch = tuple(tensor[part].clone().requires_grad_() for tensor in stream.inputs)
        try:
            # The model is given copies, because it may change its inputs in place.
            raw = stream.model(*(tensor.clone() for tensor in batch), *rows_of(stream.arguments, row, stream.rows))
        except RuntimeError as error:
            if "requires grad" in str(error):
                raise ValueError(NOT_DIFFERENTIABLE) from None
            raise
        outputs = select_outputs(raw, None if stream.indices is None else stream.indices[part], len(row))
        check_finite(outputs.detach(), lambda item: f"input {part.start + item}")
        if not outputs.requires_grad:
            raise ValueError(NOT_DIFFERENTIABLE)
        gradients = torch.autograd.grad(outputs.sum(), batch, allow_unused=True)
    return tuple(
        torch.zeros_like(tensor) if gradient is None else gradient
        for tensor, gradient in zip(batch, gradients, strict=True)
    )
