"""Several inputs and further arguments as one input, so that every method takes them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from approxgrad.gradients.evaluating.checks import (
    Model,
    as_tuple,
    broadcast_baselines,
    check_deterministic,
    checked_inputs,
    rows_of,
)
from approxgrad.gradients.evaluating.wrapping import unwrapped


class BoundModel:
    """A model of several inputs, with some arguments, as a function of one tensor.

    It is not a wrapper of the package: what looks behind those for a network of one input must not find this one. One
    row of each input has one of the `shapes`; of several they are the parts of a matrix (N, d), a single one is itself.
    Of the `arguments` those `by_row` are tensors whose first axis is 1, in place of the rows, for any number of them.
    """

    def __init__(
        self, model: Model, shapes: Sequence[tuple[int, ...]], arguments: tuple[Any, ...], by_row: tuple[bool, ...]
    ) -> None:
        self._model, self._shapes = model, list(shapes)
        self._arguments, self._by_row = arguments, by_row

    def __call__(self, rows: Tensor) -> Any:
        """Evaluate the model."""
        inputs = _parts(rows, self._shapes)
        arguments = [
            argument.expand(len(rows), *argument.shape[1:]) if own else argument
            for argument, own in zip(self._arguments, self._by_row, strict=True)
        ]
        return self._model(*inputs, *arguments)


class Bound:
    """Inputs as a caller gives them, one or several, with further arguments, and the groups that share arguments.

    Parameters
    ----------
    model : callable
        A batch of each input, and the arguments, to a batch of outputs.
    inputs : Tensor or tuple of Tensor
        Each of shape (N, ...), all of one type on one device.
    arguments : Any
        Further arguments, a tuple if there are several; a tensor whose first axis has length N is taken row by row.

    Attributes
    ----------
    joined : Tensor
        A single input, or several side by side, of shape (N, d).

    Raises
    ------
    TypeError, ValueError
        If the inputs are something else, or a layer of the model is in training mode.
    """

    def __init__(self, model: Model, inputs: Any, arguments: Any = None) -> None:
        self._several = isinstance(inputs, tuple)
        points = checked_inputs(inputs)
        kinds = {(point.dtype, point.device) for point in points}
        if len(kinds) > 1:
            raise TypeError(f"inputs: expected one type on one device, got {[str(point.dtype) for point in points]}")
        check_deterministic(unwrapped(model))
        self._model, self._arguments = model, as_tuple(arguments)
        self._shapes = [tuple(point.shape[1:]) for point in points]
        self.joined = _joined([point.detach() for point in points])
        self._by_row = tuple(
            isinstance(own, Tensor) and own.ndim > 0 and len(own) == len(self.joined) for own in self._arguments
        )

    def groups(self) -> list[tuple[slice, BoundModel]]:
        """Return the rows that can be attributed together, and the model for them."""
        rows = len(self.joined)
        step = 1 if any(self._by_row) else rows
        made = []
        for start in range(0, rows, step):
            own = rows_of(self._arguments, torch.arange(start, start + step), rows)
            made.append((slice(start, start + step), BoundModel(self._model, self._shapes, tuple(own), self._by_row)))
        return made

    def packed(self, values: Any) -> Tensor:
        """Return baselines, one for all inputs or a tuple of one for each, in the shape of the joined inputs."""
        each = values if isinstance(values, tuple) else (values,) * len(self._shapes)
        if len(each) != len(self._shapes):
            raise ValueError(f"baselines: got {len(each)}, expected one for all inputs or {len(self._shapes)}")
        parts = _parts(self.joined, self._shapes)
        return _joined([broadcast_baselines(own, part) for own, part in zip(each, parts, strict=True)])

    def returned(self, result: Tensor) -> Any:
        """Return a result as the caller gave the inputs: one tensor, or a tuple."""
        parts = _parts(result, self._shapes)
        return tuple(parts) if self._several else parts[0]


def _joined(parts: Sequence[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat([part.reshape(len(part), -1) for part in parts], dim=1)


def _parts(joined: Tensor, shapes: Sequence[tuple[int, ...]]) -> list[Tensor]:
    if len(shapes) == 1:
        return [joined]
    found = joined.split([math.prod(shape) for shape in shapes], dim=1)
    return [part.reshape(len(joined), *shape) for part, shape in zip(found, shapes, strict=True)]
