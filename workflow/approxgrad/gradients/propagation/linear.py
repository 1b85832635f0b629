"""Rules of operations that move, join or add numbers: they act on the changes as they do on the values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, fx

from approxgrad.gradients.propagation.rules import NoRuleError, Rule
from approxgrad.gradients.propagation.tracing import Graph

aten = torch.ops.aten

KEPT: dict[Any, int] = {
    aten.index.Tensor: 1,
    aten.index_put.default: 1,
    aten.index_select.default: 2,
    aten.index_add.default: 2,
    aten.scatter_add.default: 2,
    aten.gather.default: 2,
    aten.where.self: 0,
    aten.masked_fill.Scalar: 1,
    aten.masked_fill.Tensor: 1,
}
"""Which argument says where numbers are taken from; those at other places are added, or written."""


class Linear(Rule):
    """An operation that is linear in what moves: it acts on the changes, constants that are added become zero."""

    linear = True

    numbers: tuple[tuple[int, str], ...] = ()
    """Places and names of numbers that are added."""

    def __init__(self, graph: Graph, node: fx.Node, dtype: torch.dtype) -> None:
        super().__init__(graph, node, dtype)
        args = [
            fx.node.map_arg(own, self._place if KEPT.get(node.target) == number else self._zero)
            for number, own in enumerate(node.args)
        ]
        kwargs = dict(fx.node.map_arg(node.kwargs, self._zero))
        for place, name in self.numbers:
            if len(args) > place and isinstance(args[place], (int, float)):
                args[place] = 0
            elif isinstance(kwargs.get(name), (int, float)):
                kwargs[name] = 0
        self._args, self._kwargs = tuple(args), kwargs

    def _zero(self, node: fx.Node) -> Any:
        if node in self.moving:
            return node
        value = self.constant(self.graph.constants[node])
        return Constant(torch.zeros_like(value) if isinstance(value, Tensor) else value)

    def _place(self, node: fx.Node) -> Any:
        return Constant(self.graph.constants[node])

    def change(self, changes: Sequence[Any], kept: Any) -> Any:
        """Apply the operation to each copy."""

        def apply(*own: Any) -> Any:
            known = dict(zip(self.moving, own, strict=True))
            args, kwargs = _filled(self._args, known), _filled(self._kwargs, known)
            return self.node.target(*args, **kwargs)  # type: ignore[operator]

        return torch.vmap(apply)(*changes)


class Constant:
    """A constant among the arguments of a node."""

    def __init__(self, value: Any) -> None:
        self.value = value


def _filled(value: Any, known: dict[fx.Node, Any]) -> Any:
    if isinstance(value, dict):
        return {key: _filled(own, known) for key, own in value.items()}
    if isinstance(value, (tuple, list)):
        return (
            type(value)(_filled(own, known) for own in value)
            if type(value) in (tuple, list)
            else [_filled(own, known) for own in value]
        )
    if isinstance(value, fx.Node):
        return known[value]
    return value.value if isinstance(value, Constant) else value


class Sum(Linear):
    """Addition or subtraction of numbers, tensors or multiples."""

    numbers = ((1, "other"),)


class Padded(Linear):
    """Constant padding, whose value is added."""

    numbers = ((2, "value"),)


class Interpolation(Rule):
    """An interpolation, in double precision: torch computes its weights in the precision of the values."""

    linear, dearer = True, 150

    def change(self, changes: Sequence[Any], kept: Any) -> Any:
        """Interpolate."""
        (d,) = changes
        made = self.node.target(d.double().flatten(0, 1), *self.node.args[1:], **self.node.kwargs)  # type: ignore[operator]
        return made.to(self.dtype).unflatten(0, d.shape[:2])


class Same(Rule):
    """An operation that returns what it is given."""

    dearer = 0
    linear = True

    def change(self, changes: Sequence[Any], kept: Any) -> Any:
        """Return the change."""
        return changes[0]


class Reshaped(Rule):
    """Another shape of the same numbers, in whatever order of memory they are."""

    dearer = 0
    linear = True

    def change(self, changes: Sequence[Any], kept: Any) -> Any:
        """Reshape."""
        return changes[0].reshape(len(changes[0]), *self.graph.shapes[self.node])


class Converted(Same):
    """Another type or order in memory; everything that is computed here is in double precision."""

    def __init__(self, graph: Graph, node: fx.Node, dtype: torch.dtype) -> None:
        super().__init__(graph, node, dtype)
        if node not in graph.floating:
            raise NoRuleError


class Item(Rule):
    """One of several results."""

    dearer = 0
    linear = True

    def change(self, changes: Sequence[Any], kept: Any) -> Any:
        """Return the change of that result."""
        return changes[0][self.argument(1)]


class Copied(Rule):
    """Values written over others, which are forgotten."""

    linear = True

    def change(self, changes: Sequence[Any], kept: Any) -> Any:
        """Return the change of what is written."""
        known = dict(zip(self.moving, changes, strict=True))
        written, shape = self.argument(1), self.graph.shapes[self.node]
        if not isinstance(written, fx.Node):
            return changes[0].new_zeros(len(changes[0]), *shape)
        return torch.vmap(lambda own: own.expand(shape))(known[written])


class Written(Rule):
    """A slice of values written over; torch's vectorised form of it is wrong for an end that is counted from behind."""

    linear = True

    def change(self, changes: Sequence[Any], kept: Any) -> Any:
        """Write the change of what is written, or zeros, over that of the values."""
        known = dict(zip(self.moving, changes, strict=True))
        place, written = self.argument(0), self.argument(1)
        shape = self.graph.shapes[self.node]
        result = known[place].clone() if isinstance(place, fx.Node) else changes[0].new_zeros(len(changes[0]), *shape)
        axis = self.argument(2, "dim", 0) % len(shape) + 1
        step = self.argument(5, "step", 1)
        own = [slice(None)] * axis + [slice(self.argument(3, "start"), self.argument(4, "end"), step)]
        result[tuple(own)] = known[written] if isinstance(written, fx.Node) else 0
        return result


class Rolled(Rule):
    """Values that roll along axes; torch has no vectorised form of it."""

    linear = True

    def __init__(self, graph: Graph, node: fx.Node, dtype: torch.dtype) -> None:
        super().__init__(graph, node, dtype)
        axes, size = self.argument(2, "dims", ()), len(graph.shapes[node])
        if not axes:
            raise NoRuleError
        self._axes = [axis % size + 1 for axis in axes]

    def change(self, changes: Sequence[Any], kept: Any) -> Any:
        """Roll."""
        return torch.roll(changes[0], self.argument(1), self._axes)
