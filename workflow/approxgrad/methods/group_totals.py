"""Attributions of groups of features, each of which costs as much as one feature does otherwise."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from approxgrad.gradients.directional.groups import checked_groups, numbered_groups
from approxgrad.gradients.evaluating.arrays import Given
from approxgrad.gradients.evaluating.checks import Model, broadcast_baselines, check_inputs
from approxgrad.gradients.evaluating.evaluated import GradientSource
from approxgrad.gradients.evaluating.targets import target_indices
from approxgrad.gradients.evaluating.wrapping import ModelWrapper
from approxgrad.methods.attribution import check_points, configured_method, prepared_model
from approxgrad.methods.method import METHODS


class _Grouped(ModelWrapper):
    """A model around one input as a function of how far each group is moved along its weights."""

    same_outputs = False

    def __init__(self, model: Model, point: Tensor, weights: Tensor, group: Tensor, start: Tensor) -> None:
        super().__init__(model)
        self._point, self._weights, self._group, self._start = point, weights, group, start

    def __call__(self, moves: Tensor) -> Any:
        """Return the outputs for some moves of the groups, of shape (B, G)."""
        way = ((moves - self._start)[:, self._group] * self._weights).reshape(-1, *self._point.shape)
        return self.__wrapped__((self._point.double() + way).to(self._point.dtype))


def group_totals(
    model: Model,
    inputs: Any,
    feature_mask: Any,
    *,
    target: Any = None,
    method: str = "input_x_gradient",
    gradient: GradientSource,
    check_rows: bool = True,
    **options: Any,
) -> Any:
    """Attribute an output of a model to groups of features, such as patches of pixels or columns of one variable.

    The total of a group is the sum of its features' attributions, found at once: the derivative along all of its
    features, in proportion to what the method multiplies a gradient with, which are the inputs for Gradient x Input,
    and the way from the baselines for Integrated Gradients. For methods without such a factor the gradient is summed
    up, and Saliency is the absolute value of that sum. Other methods have no such totals and are refused.

    Parameters
    ----------
    model, inputs, target, method, check_rows, **options
        As for :func:`approxgrad.attribute`.
    feature_mask : Tensor or array
        Integers that broadcast to one input: features with the same number are a group.
    gradient : GradientSource
        What differentiates along the groups, as if they were features; its step is the length of a move of a group.

    Returns
    -------
    Tensor, array or DataFrame
        Of the shape of the inputs; each feature has the total of its group, as with captum's feature masks.

    Raises
    ------
    TypeError, ValueError
        As of :func:`approxgrad.attribute`, and if the mask is not made of integers or does not fit the inputs.

    Notes
    -----
    Cost per input with G groups: that of the method for G features, such as G + 1 evaluations for forward differences,
    and the checks of the model. Totals of Integrated Gradients are complete.
    """
    given = Given(model, inputs)
    check_inputs(given.inputs)
    if not isinstance(method, str) or method not in METHODS:
        raise ValueError(f"method: got {method!r}, expected one of {', '.join(METHODS)}")
    if not callable(gradient):
        raise TypeError(f"gradient: expected a gradient source such as FiniteDifference, got {gradient!r}")
    check_points(options, gradient)
    own, points = configured_method(method, options), given.inputs.detach()
    if not (own.derived or own.path):
        raise ValueError(
            f"method: {method} gives no totals of groups; expected a function of the gradient, such as "
            "input_x_gradient, or a method with a path, such as integrated_gradients"
        )
    starts = broadcast_baselines(given.baselines(options.get("baselines", 0)), points)
    mask = feature_mask if isinstance(feature_mask, Tensor) else torch.from_numpy(np.array(feature_mask))
    checked_groups(mask)
    group = numbered_groups(mask, [points.shape[1:]], points.device)
    indices = target_indices(given.target(target), len(points), points.device)
    weights = own.factor(points.double(), starts.double()).reshape(len(points), -1)
    squares = torch.zeros(len(points), int(group.max()) + 1, dtype=torch.float64, device=points.device)
    sizes = squares.index_add_(1, group, weights.square()).sqrt()
    # Moves of length 1 for a move of 1, so that steps have the same meaning as for features.
    weights = (weights / sizes[:, group]).nan_to_num(0)
    totals = []
    with torch.inference_mode(mode=False):
        ready = prepared_model(gradient, given.model, points, indices, check_rows=check_rows)
        for row, size in enumerate(sizes.split(1)):
            moved = _Grouped(ready, points[row], weights[row], group, size)
            one = None if indices is None else [tuple(indices[row].tolist())]
            found = own.attribute(moved, size.clone().requires_grad_(), one, gradient, torch.zeros_like(size))
            # What the method has not multiplied with itself.
            totals.append(found.detach() * (size / own.factor(size, torch.zeros_like(size))).nan_to_num(0))
    every = torch.cat(totals)[:, group].reshape(points.shape)
    return given.returned(every.to(points.dtype))
