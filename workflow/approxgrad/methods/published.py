"""The variant of Integrated Gradients that the thesis published, kept only for comparison with it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from approxgrad.gradients.checks import Model, rows_of
from approxgrad.gradients.exact import GradientSource
from approxgrad.gradients.finite_differences import FiniteDifference


class PathAverage:
    """The mean output of a model along the straight path from a constant baseline to each input.

    ``F(x) = 1/n * sum_k f(b + k/n * (x - b))`` for k = 1..n, with the same number b for all features.

    Parameters
    ----------
    model : callable
        The model f.
    baseline : float
        The number b.
    n_steps : int
        The number n of path points; one call evaluates the model n times, and autograd keeps n graphs.
    """

    def __init__(self, model: Model, baseline: float, n_steps: int) -> None:
        self.__wrapped__ = model
        self.baseline = baseline
        self.n_steps = n_steps

    def __call__(self, inputs: Tensor) -> Tensor:
        """Return the mean outputs, in float64."""
        total: Any = 0
        for k in range(1, self.n_steps + 1):
            outputs = self.__wrapped__(self.baseline + (k / self.n_steps) * (inputs - self.baseline))
            total = total + torch.as_tensor(outputs).double()
        return total / self.n_steps


def integrated_gradients_published(
    model: Model, inputs: Tensor, target: Any, gradient: GradientSource, baselines: Tensor, n_steps: int
) -> Tensor:
    """Return Gradient x Input of the path-averaged model.

    For feature i, ``A_i = (x_i - b_i) * D_i F(x)`` with F the :class:`PathAverage` whose constant baseline is b_i.

    Parameters
    ----------
    model : callable
        The model f.
    inputs : Tensor
        Shape (N, ...).
    target : Any
        One target per input, or None.
    gradient : GradientSource
        What differentiates F.
    baselines : Tensor
        Of the inputs' shape.
    n_steps : int
        Path points n of the right Riemann sum.

    Returns
    -------
    Tensor
        Of the inputs' shape.

    Notes
    -----
    This is not Integrated Gradients. Perturbing x moves the path point k by k/n of the step, so each term tends to
    k/n times the gradient there; and with a baseline that differs between features, every feature follows another
    path, which starts at the constant vector b_i. Cost: n times that of one gradient for each distinct value of the
    baseline, where only the features with that value are differentiated (by finite differences).
    """
    rows = len(inputs)
    values = baselines.reshape(rows, -1)
    derivatives = torch.zeros_like(inputs).reshape(rows, -1)
    for value in values.unique().tolist():
        average = PathAverage(model, value, n_steps)
        own = values == value
        row = own.any(dim=1).nonzero().squeeze(1)
        feature = own.any(dim=0).nonzero().squeeze(1)
        points = inputs.detach().index_select(0, row)
        own_target = target
        if isinstance(target, Tensor):
            (own_target,) = rows_of((target,), row, rows)
        elif target is not None:
            own_target = [target[index] for index in row.tolist()]
        if isinstance(gradient, FiniteDifference):
            partial = gradient.partial_derivatives(average, (points,), feature, own_target)
        else:
            partial = gradient(average, points, own_target)[0].reshape(len(row), -1)[:, feature]
        block = derivatives[row[:, None], feature]
        derivatives[row[:, None], feature] = torch.where(own[row[:, None], feature], partial.to(block.dtype), block)
    return (inputs.detach() - baselines) * derivatives.reshape(inputs.shape)
