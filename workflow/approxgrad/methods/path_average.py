"""Gradient x Input of a model that is averaged along a path: what the thesis published as Integrated Gradients."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from approxgrad.gradients.evaluating.checks import Model, rows_of
from approxgrad.gradients.evaluating.evaluated import GradientSource
from approxgrad.gradients.evaluating.wrapping import ModelWrapper
from approxgrad.gradients.exact import ExactGradient
from approxgrad.gradients.finite_differences import FiniteDifference


class PathAverage(ModelWrapper):
    """The mean output of a model along the straight path from a constant baseline to each input.

    ``F(x) = 1/n * sum_k f(b + k/n * (x - b))`` for k = 1..n, with the same number b for all features.

    Parameters
    ----------
    model : callable
        The model f.
    baseline : float
        The number b.
    n_steps : int
        The number n of path points; one call evaluates the model n times.
    """

    same_outputs = False

    def __init__(self, model: Model, baseline: float, n_steps: int) -> None:
        super().__init__(model)
        self.baseline = baseline
        self.n_steps = n_steps

    def __call__(self, inputs: Tensor) -> Tensor:
        """Return the mean outputs, in float64."""
        total: Any = 0
        for k in range(1, self.n_steps + 1):
            outputs = self.__wrapped__(path_point(inputs, self.baseline, k / self.n_steps))
            total = total + torch.as_tensor(outputs).double()
        return total / self.n_steps


def path_point(inputs: Tensor, baseline: float, share: float) -> Tensor:
    """Return the points that lie a share of the way from a constant baseline to the inputs."""
    return baseline + share * (inputs - baseline)


def path_average_attribution(
    model: Model, inputs: Tensor, target: Any, gradient: GradientSource, baselines: Tensor, n_steps: int
) -> Tensor:
    """Return Gradient x Input of the path-averaged model, shaped like the inputs and their baselines.

    For feature i, ``A_i = (x_i - b_i) * D_i F(x)`` with F the :class:`PathAverage` whose constant baseline is b_i, and
    D_i the derivative of F by the gradient source.

    Notes
    -----
    This is not Integrated Gradients. Perturbing x moves the path point k by k/n of the step, so each term tends to
    k/n times the gradient there; and with a baseline that differs between features, every feature follows another
    path, which starts at the constant vector b_i. Cost: n times that of one gradient for each distinct value of the
    baseline, where only the features with that value are differentiated (by finite differences). Exact gradients are
    taken at one path point after the other, by the chain rule, so that memory does not grow with n.
    """
    rows = len(inputs)
    values = baselines.reshape(rows, -1)
    derivatives = torch.zeros_like(inputs).reshape(rows, -1)
    for value in values.unique().tolist():
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
            average = PathAverage(model, value, n_steps)
            partial = gradient.partial_derivatives(average, (points,), feature, own_target, nominal=True)
        elif isinstance(gradient, ExactGradient):
            partial = _averaged(gradient, model, points, value, n_steps, own_target)[:, feature]
        else:
            average = PathAverage(model, value, n_steps)
            partial = gradient(average, points, own_target)[0].reshape(len(row), -1)[:, feature]
        block = derivatives[row[:, None], feature]
        derivatives[row[:, None], feature] = torch.where(own[row[:, None], feature], partial.to(block.dtype), block)
    return (inputs.detach() - baselines) * derivatives.reshape(inputs.shape)


def _averaged(
    gradient: ExactGradient, model: Model, inputs: Tensor, baseline: float, n_steps: int, target: Any
) -> Tensor:
    """Return the gradient of the path average, float64 of shape (N, d)."""
    total = torch.zeros(len(inputs), inputs[0].numel(), dtype=torch.float64, device=inputs.device)
    for k in range(1, n_steps + 1):
        share = k / n_steps
        total += share * gradient(model, path_point(inputs, baseline, share), target)[0].double().flatten(1)
    return total / n_steps
