"""Occlusion and feature ablation: by how much an output falls if parts of the input are replaced."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from approxgrad.gradients.evaluating.checks import Baseline, Model, broadcast_baselines, check_finite, check_inputs
from approxgrad.gradients.evaluating.evaluation import evaluation as evaluating
from approxgrad.gradients.evaluating.targets import OutputSelector, Target
from approxgrad.gradients.evaluating.wrapping import wrappers
from approxgrad.gradients.propagation.following import Evaluation, Following, checked_evaluation
from approxgrad.gradients.propagation.patches import Patches, boxes
from approxgrad.gradients.propagation.plan import Plan
from approxgrad.gradients.propagation.run import Propagator, box_masks

Masks = Callable[[Tensor], Tensor]
"""From numbers of parts, of shape (K,), to masks of one input: Boolean, (K, ...)."""


def occlusion(
    model: Model,
    images: Tensor,
    window: int | tuple[int, ...],
    stride: int | tuple[int, ...] = 1,
    baselines: Baseline = 0,
    target: Target = None,
    *,
    evaluation: Evaluation = "auto",
    memory_budget: int | None = None,
    source: Following | None = None,
) -> Tensor:
    """Occlude boxes of images, one at a time, and share out by how much the output falls.

    A pixel's attribution is the mean, over the boxes that hold it, of the output minus that of the occluded image
    (Zeiler and Fergus, 2014, https://arxiv.org/abs/1311.2901), as in captum's ``Occlusion``.

    Parameters
    ----------
    model : callable
        A batch of images to a batch of outputs.
    images : Tensor
        Shape (N, channels, height, width).
    window : int or tuple of int
        Channels, height and width of a box; two numbers, or one for both, are for all channels.
    stride : int or tuple of int
        By how much boxes are moved along the same axes; the last ones may hang over the border.
    baselines : float or Tensor
        What boxes are replaced by.
    target : Target
        The output that is explained.
    evaluation : str
        ``propagated`` follows the differences through the layers of a ``torch.nn.Module``, ``dense`` evaluates the
        model, ``auto`` takes what has fewer operations.
    memory_budget : int, optional
        Bytes to occupy.
    source : Following, optional
        What evaluates the model, with a memory budget of its own, and takes note of how.

    Returns
    -------
    Tensor
        Of the shape and dtype of the images.

    Raises
    ------
    TypeError, ValueError
        If an argument is not valid, or the model cannot be followed.

    Notes
    -----
    Cost: one evaluation for each box, and one. The checks of the model are those of finite differences.
    """
    check_inputs(images)
    if images.ndim != 4:
        raise ValueError(f"images: expected shape (N, channels, height, width), got {tuple(images.shape)}")
    patches = boxes(tuple(images.shape[1:]), window, stride)
    ablation = _Ablation(model, images, baselines, target, source or Following(memory_budget=memory_budget))
    changes = ablation.of_boxes(patches, evaluation)
    total = torch.zeros(images.shape, dtype=torch.float64, device=images.device)
    weights = torch.zeros_like(total[0])
    for number in range(patches.count):
        box = patches.box(number)
        total[:, *box] -= changes[:, number, None, None, None]
        weights[box] += 1
    return (total / weights).to(images.dtype)


def feature_ablation(
    model: Model,
    inputs: Tensor,
    feature_mask: Tensor | None = None,
    baselines: Baseline = 0,
    target: Target = None,
    *,
    evaluation: Evaluation = "auto",
    memory_budget: int | None = None,
    source: Following | None = None,
) -> Tensor:
    """Replace groups of features, one at a time, and give each feature by how much the output falls.

    As captum's ``FeatureAblation``; arguments, result and errors as of :func:`occlusion`.

    Parameters
    ----------
    model, inputs, baselines, target, evaluation, memory_budget, source
        As for :func:`occlusion`; inputs of any shape (N, ...).
    feature_mask : Tensor, optional
        Integers that broadcast to one input: features with the same number are replaced together. By default each is
        replaced alone.
    """
    check_inputs(inputs)
    ablation = _Ablation(model, inputs, baselines, target, source or Following(memory_budget=memory_budget))
    shape = inputs.shape[1:]
    if feature_mask is None and len(shape) == 3:
        return -ablation.of_boxes(Patches(tuple(shape)), evaluation).reshape(inputs.shape).to(inputs.dtype)
    if feature_mask is None:
        feature_mask = torch.arange(shape.numel()).reshape(shape)
    if feature_mask.is_floating_point() or feature_mask.is_complex():
        raise TypeError(f"feature_mask: expected integers, got {feature_mask.dtype}")
    try:
        groups = feature_mask.to(inputs.device).expand(1, *shape)[0]
    except RuntimeError:
        raise ValueError(
            f"feature_mask: shape {tuple(feature_mask.shape)} does not broadcast to one input, of shape {tuple(shape)}"
        ) from None
    names, number = groups.unique(return_inverse=True)

    def masks(own: Tensor) -> Tensor:
        return number == own.reshape(-1, *[1] * len(shape))

    changes = ablation.of_masks(masks, len(names), evaluation)
    return -changes[:, number.reshape(-1)].reshape(inputs.shape).to(inputs.dtype)


class _Ablation:
    """Changes of the output if parts of the inputs are replaced: float64 of shape (N, parts)."""

    def __init__(self, model: Model, inputs: Tensor, baselines: Baseline, target: Target, source: Following) -> None:
        self._source, self._stream = source, source.stream(model, inputs, target)
        (self._points,) = self._stream.inputs
        self._starts = broadcast_baselines(baselines, inputs)

    def of_boxes(self, patches: Patches, evaluation: str) -> Tensor:
        """Return the changes for boxes."""
        checked_evaluation(evaluation)
        plan = self._source.plan(self._stream, evaluation, patches=patches, other=self._starts[:1])
        if plan is None or plan.windows is None:
            return self._changes(plan, box_masks(patches, self._stream.device), patches.count)
        return self._propagated(plan, None, patches.count)

    def of_masks(self, masks: Masks, count: int, evaluation: str) -> Tensor:
        """Return the changes for parts that are given as masks."""
        plan = self._source.plan(self._stream, checked_evaluation(evaluation), whole=True)
        return self._changes(plan, masks, count)

    def _changes(self, plan: Plan | None, masks: Masks, count: int) -> Tensor:
        if plan is not None:
            return self._propagated(plan, masks, count)
        points, starts = self._points, self._starts

        def moved(row: Tensor, copy: Tensor) -> list[Tensor]:
            return [torch.where(masks(copy), starts[row], points[row])]

        base = self._stream.outputs(lambda row, copy: [points[row]], copies=1)
        return self._stream.outputs(moved, count) - base

    def _propagated(self, plan: Plan, masks: Masks | None, count: int) -> Tensor:
        """Propagate the replacement of every part: given as masks, or the boxes of a plan."""
        select, rows, device = OutputSelector(self._stream.indices), self._stream.rows, self._stream.device
        changes = torch.empty(rows, count, dtype=torch.float64, device=device)
        budget = self._source.budget(device)
        with evaluating():
            for row in range(rows):
                propagator = Propagator(plan, self._points[row : row + 1], budget)
                other, number = self._starts[row : row + 1], torch.full((count,), row, device=device)
                check_finite(select(propagator.output, number[:1]), lambda _, row=row: f"input {row}")  # type: ignore[misc]
                found = propagator.replaced(other) if masks is None else propagator.masked(masks, count, other)
                for places, change in found:
                    changes[row, places] = select(change.flatten(0, 1), number[places]).double()
                for wrapper in wrappers(self._stream.given):
                    wrapper.advance(count + 1)
        check_finite(changes.flatten(), lambda item: f"input {item // count} with part {item % count} replaced")
        return changes
