"""The call that captum makes for a gradient, which all sources that have one answer in the same way."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from approxgrad.gradients.evaluating.checks import Model
from approxgrad.gradients.evaluating.evaluated import BatchedGradient, Stream
from approxgrad.gradients.evaluating.evaluation import evaluation
from approxgrad.gradients.evaluating.targets import Target


class CaptumCall(BatchedGradient):
    """Base class of gradient sources with captum's ``gradient_func`` signature; a subclass says :meth:`differentiated`.

    Parameters, attributes and errors are those of :class:`approxgrad.gradients.evaluating.evaluated.BatchedGradient`.
    """

    def __call__(
        self,
        forward_fn: Model,
        inputs: Tensor | tuple[Tensor, ...],
        target_ind: Target = None,
        additional_forward_args: Any = None,
    ) -> tuple[Tensor, ...]:
        """Return the gradient of the target output with respect to every input.

        Parameters
        ----------
        forward_fn : callable
            Model: a batch of inputs to a batch of outputs.
        inputs : Tensor or tuple of Tensor
            Floating-point, each of shape (N, ...); a model with several inputs takes a tuple.
        target_ind : Target
            Output to differentiate, in any form of :data:`approxgrad.gradients.evaluating.targets.Target`.
        additional_forward_args : Any
            Passed to the model after the inputs; a tensor whose first axis has length N is taken row by row.

        Returns
        -------
        tuple of Tensor
            One gradient per input tensor, of its shape, dtype and device.

        Raises
        ------
        TypeError
            If inputs or outputs are not real floating-point numbers.
        ValueError
            If an input, a moved input or an output is not finite, a target is out of range, or the outputs do not fit
            the inputs. If a layer of the model is in training mode, the model fails, or its rows are not independent
            and repeatable (:class:`approxgrad.gradients.evaluating.rows.RowError`). If a step is lost in every feature
            or a budget does not pay for a single direction. If there is no exact gradient, because the outputs do not
            depend on the inputs through autograd.
        """
        with evaluation():
            return self.differentiated(self.stream(forward_fn, inputs, target_ind, additional_forward_args))

    def differentiated(self, stream: Stream) -> tuple[Tensor, ...]:
        """Return one gradient per input tensor of a stream, of its shape, dtype and device."""
        raise NotImplementedError


def like_inputs(derivatives: Tensor, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Return derivatives by all features, of shape (N, d), as a tensor like each of the inputs."""
    parts = derivatives.split([point[0].numel() for point in inputs], dim=1)
    return tuple(own.to(point.dtype).reshape(point.shape) for own, point in zip(parts, inputs, strict=True))
