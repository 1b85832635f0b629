"""The points at which a model is evaluated: copies of the inputs, moved along one feature or as a function says."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor

from approxgrad.gradients.evaluating.checks import is_number
from approxgrad.gradients.stencils import Stencil

Steps = float | Tensor | tuple[float | Tensor, ...]
"""One step for all features; a tensor that broadcasts to one input; or one of these for each input tensor."""


def checked_step(step: float | Tensor) -> float | Tensor:
    """Return a step as a float, or as a float64 tensor of its own."""
    if isinstance(step, Tensor) and step.ndim > 0:
        if not step.is_floating_point():
            raise TypeError(f"step: expected floating-point numbers, got {step.dtype}")
        values = step.detach().to(torch.float64, copy=True)
        if not (torch.isfinite(values) & (values > 0)).all():
            raise ValueError("step: expected positive finite numbers for all features")
        return values
    value = step.item() if isinstance(step, Tensor) else step
    if not is_number(value):
        raise TypeError(f"step: expected a positive number, got {step!r}; a tensor gives one for each feature")
    if not (math.isfinite(value) and value > 0):
        raise ValueError(f"step: expected a positive finite number, got {step!r}")
    return float(value)


def checked_steps(step: Steps) -> Steps:
    """Return a step, or one for each input tensor, as :func:`checked_step` does."""
    return tuple(map(checked_step, step)) if isinstance(step, tuple) else checked_step(step)


def steps_of_features(step: Steps, inputs: Sequence[Tensor]) -> Tensor:
    """Return the step of every feature of one input, float64 of shape (d,); a ValueError if steps do not fit."""
    each = step if isinstance(step, tuple) else (step,) * len(inputs)
    if len(each) != len(inputs):
        raise ValueError(f"step: got {len(each)} steps for {len(inputs)} input tensors, expected one for each")
    found = []
    for own, tensor in zip(each, inputs, strict=True):
        values = torch.as_tensor(own, dtype=torch.float64, device=tensor.device)
        try:
            found.append(values.expand(tensor.shape[1:]).reshape(-1))
        except RuntimeError:
            raise ValueError(
                f"step: shape {tuple(values.shape)} does not broadcast to one input, of shape {tuple(tensor.shape[1:])}"
            ) from None
    return torch.cat(found)


class Points(Protocol):
    """Points at which a model is evaluated, made when they are wanted, so that only a batch is in memory."""

    row: Tensor
    """Number of the input that each point is a copy of; targets and further arguments are those of the input."""

    def __len__(self) -> int:
        """Return the number of points."""
        ...

    def copies(self, items: slice | Tensor) -> list[Tensor]:
        """Return some of the points, a batch of each input tensor that the model may change."""
        ...

    def place(self, item: int) -> str:
        """Return in words which point this is."""
        ...


class Perturbations:
    """Copies of some rows of the inputs, each with one feature moved by a multiple of its step.

    They are numbered row after row: first the row itself, if the stencil uses it, then its features, each with all
    shifts of the stencil. All are made at once, because many small operations would slow a small model down. A feature
    that overflows its dtype raises a ValueError.

    Parameters
    ----------
    stencil, steps, inputs
        The scheme; the step of every feature, float64 of shape (d,); the inputs, each of shape (N, ...).
    features, part
        Numbers of the features that are moved, counted through the flattened inputs of one row, and the rows.

    Attributes
    ----------
    row, divisors : Tensor
        For each copy the number of its row; and the divisors of the weighted outputs, from the steps that were really
        made: float64 of shape (rows, features), zero where x + h is x.
    """

    def __init__(
        self, stencil: Stencil, steps: Tensor, inputs: tuple[Tensor, ...], features: Tensor, part: slice
    ) -> None:
        self._stencil, self._steps, self._features = stencil, steps, features
        self._shapes = [tensor.shape[1:] for tensor in inputs]
        self._flat = [tensor.reshape(len(tensor), -1) for tensor in inputs]
        device = inputs[0].device
        rows, base, shifts = part.stop - part.start, int(stencil.uses_base), stencil.shifts
        per_row = stencil.evaluations(len(features))
        number = torch.arange(rows * per_row, device=device)
        self.row = number // per_row + part.start
        item = number % per_row - base
        # For the unperturbed copy, and in tensors that do not have the moved feature, feature 0 is moved by nothing.
        perturbed, item = item >= 0, item.clamp_(min=0)
        feature = features[item // len(shifts)]
        multiples = torch.tensor(shifts, dtype=torch.float64, device=device)
        moves = multiples[item % len(shifts)].mul_(steps[feature])
        made = torch.zeros(len(number), dtype=torch.float64, device=device)
        self._moves: list[tuple[Tensor, Tensor]] = []
        start = 0
        for source in self._flat:
            stop = start + source.shape[1]
            own = perturbed & (feature >= start) & (feature < stop)
            column = torch.where(own, feature - start, 0)
            before = source[self.row, column]
            after = before + (moves * own).to(source.dtype)
            self._check_range(after, feature)
            made += after.double() - before.double()
            self._moves.append((column.unsqueeze(1), after.unsqueeze(1)))
            start = stop
        weights = torch.tensor([stencil.weights[shift] for shift in shifts], dtype=torch.float64, device=device)
        self.divisors = (made.reshape(rows, per_row)[:, base:].reshape(rows, -1, len(shifts)) * weights).sum(dim=2)

    def __len__(self) -> int:
        return len(self.row)

    def copies(self, items: slice | Tensor) -> list[Tensor]:
        """Return some of the copies, a batch of each input tensor."""
        own = self.row[items]
        return [
            source.index_select(0, own).scatter_(1, column[items], value[items]).reshape(-1, *shape)
            for source, shape, (column, value) in zip(self._flat, self._shapes, self._moves, strict=True)
        ]

    def place(self, item: int) -> str:
        """Return in words which copy this is."""
        where, shifts = f"input {int(self.row[item])}", self._stencil.shifts
        moved = item % self._stencil.evaluations(len(self._features)) - int(self._stencil.uses_base)
        if moved < 0:
            return where
        feature, shift = int(self._features[moved // len(shifts)]), shifts[moved % len(shifts)]
        return f"{where} with feature {feature} shifted by {shift * float(self._steps[feature]):+g}"

    def _check_range(self, moved: Tensor, feature: Tensor) -> None:
        finite = torch.isfinite(moved)
        if not finite.all():
            place = int((~finite).nonzero()[0])
            raise ValueError(
                f"step: moves feature {int(feature[place])} of input {int(self.row[place])} out of the range of "
                f"{moved.dtype}; a smaller step helps"
            )


class Copies:
    """Points that a function makes from numbers of inputs and of copies: so many copies of every input."""

    def __init__(self, moved: Callable[[Tensor, Tensor], list[Tensor]], copies: int, numbers: Tensor) -> None:
        self._moved = moved
        self.row, self._copy = numbers // copies, numbers % copies

    def __len__(self) -> int:
        return len(self.row)

    def copies(self, items: slice | Tensor) -> list[Tensor]:
        """Return some of the copies, a batch of each input tensor."""
        return self._moved(self.row[items], self._copy[items])

    def place(self, item: int) -> str:
        """Return in words which copy this is."""
        return f"copy {int(self._copy[item])} of input {int(self.row[item])}"
