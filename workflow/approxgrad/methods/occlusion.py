"""Occlusion and feature ablation: by how much an output falls if parts of the input are replaced."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

import torch
from torch import Tensor

from approxgrad.gradients.checks import Baseline, Model, broadcast_baselines, check_finite, check_inputs
from approxgrad.gradients.evaluated import BatchedGradient, Stream
from approxgrad.gradients.evaluation import evaluation as evaluating
from approxgrad.gradients.propagation.engine import PAYS, plan_of
from approxgrad.gradients.propagation.plan import Patches, Plan
from approxgrad.gradients.propagation.run import Propagator, mask
from approxgrad.gradients.propagation.tracing import UntraceableError
from approxgrad.gradients.targets import OutputSelector, Target

Evaluation = Literal["dense", "propagated", "auto"]


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
    sizes, steps = _numbers("window", window, images.shape[1]), _numbers("stride", stride, images.shape[1])
    if any(size > room for size, room in zip(sizes, images.shape[1:], strict=True)):
        raise ValueError(f"window: {sizes} is larger than one image, of shape {tuple(images.shape[1:])}")
    if any(step > size and room > size for step, size, room in zip(steps, sizes, images.shape[1:], strict=True)):
        raise ValueError(f"stride: {steps} is larger than the window {sizes}, so that pixels would never be occluded")
    patches = Patches(tuple(images.shape[1:]), sizes, steps)
    count = patches.counts[0] * patches.counts[1] * patches.counts[2]
    ablation = _Ablation(model, images, baselines, target, memory_budget)
    plan = ablation.plan(evaluation, patches)
    if plan is not None and plan.windows is not None:
        changes = ablation.propagated(plan, None, count)
    else:
        changes = ablation.changes(plan, [mask(patches, number).to(images.device) for number in range(count)])
    total = torch.zeros(images.shape, dtype=torch.float64, device=images.device)
    weights = torch.zeros_like(total[0])
    for number in range(count):
        own = mask(patches, number).to(total)
        total -= own * changes[:, number, None, None, None]
        weights += own
    return (total / weights).to(images.dtype)


def feature_ablation(
    model: Model,
    inputs: Tensor,
    feature_mask: Tensor,
    baselines: Baseline = 0,
    target: Target = None,
    *,
    evaluation: Evaluation = "auto",
    memory_budget: int | None = None,
) -> Tensor:
    """Replace groups of features, one at a time, and give each feature by how much the output falls.

    As captum's ``FeatureAblation``; arguments, result and errors as of :func:`occlusion`.

    Parameters
    ----------
    model, inputs, baselines, target, evaluation, memory_budget
        As for :func:`occlusion`; inputs of any shape (N, ...).
    feature_mask : Tensor
        Integers that broadcast to one input: features with the same number are replaced together.
    """
    check_inputs(inputs)
    if feature_mask.is_floating_point() or feature_mask.is_complex():
        raise TypeError(f"feature_mask: expected integers, got {feature_mask.dtype}")
    try:
        groups = feature_mask.to(inputs.device).expand(1, *inputs.shape[1:])[0]
    except RuntimeError:
        raise ValueError(
            f"feature_mask: shape {tuple(feature_mask.shape)} does not broadcast to one input, of shape "
            f"{tuple(inputs.shape[1:])}"
        ) from None
    names, number = groups.unique(return_inverse=True)
    ablation = _Ablation(model, inputs, baselines, target, memory_budget)
    plan = ablation.plan(evaluation, None)
    changes = ablation.changes(plan, [groups == name for name in names])
    return -changes[:, number.reshape(-1)].reshape(inputs.shape).to(inputs.dtype)


def _numbers(name: str, value: int | tuple[int, ...], channels: int) -> tuple[int, int, int]:
    """Return three positive integers from one, two or three."""
    given = (value, value) if isinstance(value, int) else tuple(value) if isinstance(value, Sequence) else ()
    own = (channels, *given) if len(given) == 2 else given
    if len(own) != 3 or any(isinstance(one, bool) or not isinstance(one, int) or one < 1 for one in own):
        raise ValueError(f"{name}: expected one, two or three positive integers, got {value!r}")
    return own


class _Ablation:
    """Changes of the output if parts of the inputs are replaced: float64 of shape (N, parts)."""

    def __init__(
        self, model: Model, inputs: Tensor, baselines: Baseline, target: Target, memory_budget: int | None
    ) -> None:
        self._source = BatchedGradient(memory_budget=memory_budget)
        self._stream: Stream = self._source.stream(model, inputs, target)
        (self._points,) = self._stream.inputs
        self._starts = broadcast_baselines(baselines, inputs)
        self._budget = self._source.budget(inputs.device)

    def plan(self, evaluation: str, patches: Patches | None) -> Plan | None:
        """Return how differences are propagated, or None for dense evaluations."""
        if evaluation not in ("dense", "propagated", "auto"):
            raise ValueError(f"evaluation: got {evaluation!r}, expected one of dense, propagated, auto")
        if evaluation == "dense":
            return None
        least = PAYS if evaluation == "auto" else 0
        other = None if patches is None else self._starts[:1]
        try:
            plan = plan_of(
                self._stream,
                self._source,
                least=least,
                patches=patches,
                other=other,
                whole=patches is None,
            )
        except UntraceableError as error:
            if evaluation == "propagated":
                raise ValueError(f"evaluation: {error}; 'dense' takes any model") from error
            return None
        return plan if plan.bound >= least else None

    def changes(self, plan: Plan | None, masks: list[Tensor]) -> Tensor:
        """Return the changes for parts that are given as masks of one input."""
        return self.dense(masks) if plan is None else self.propagated(plan, masks, len(masks))

    def dense(self, masks: list[Tensor]) -> Tensor:
        """Evaluate the model for every part."""
        replaced = torch.stack(masks)
        points, starts = self._points, self._starts

        def moved(row: Tensor, copy: Tensor) -> list[Tensor]:
            return [torch.where(replaced[copy], starts[row], points[row])]

        base = self._stream.outputs(lambda row, copy: [points[row]], copies=1)
        return self._stream.outputs(moved, len(masks)) - base

    def propagated(self, plan: Plan, masks: Iterable[Tensor] | None, count: int) -> Tensor:
        """Propagate the replacement of every part: given as masks, or the patches of a plan."""
        select, rows = OutputSelector(self._stream.indices), self._stream.rows
        changes = torch.empty(rows, count, dtype=torch.float64, device=self._points.device)
        replaced = None if masks is None else torch.stack(list(masks))
        with evaluating():
            for row in range(rows):
                propagator = Propagator(plan, self._points[row : row + 1], self._budget)
                other, number = self._starts[row : row + 1], torch.full((count,), row, device=changes.device)
                check_finite(select(propagator.output, number[:1]), lambda _, row=row: f"input {row}")  # type: ignore[misc]
                found = propagator.replaced(other) if replaced is None else propagator.masked(replaced, other)
                for places, change in found:
                    changes[row, places] = select(change.flatten(0, 1), number[places]).double()
        check_finite(changes.flatten(), lambda item: f"input {item // count} with part {item % count} replaced")
        return changes
