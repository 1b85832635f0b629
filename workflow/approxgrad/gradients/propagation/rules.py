"""One rule for each basic operation: the change of its result from the changes of what it reads.

A change has the shape of the value behind a first axis of K copies. A rule is bound to a node of a graph once, keeps
what it needs of each base point, and is then called with changes. Which operation has which rule is a table:
:mod:`approxgrad.gradients.propagation.table`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, fx

from approxgrad.gradients.propagation.elementwise import ELEMENTWISE, softplus_change
from approxgrad.gradients.propagation.tracing import Graph

aten = torch.ops.aten


class NoRuleError(Exception):
    """Raised when a rule is made for options that it does not cover."""


NUMBER = 4  # multiplications that take as long as to read, compute and write a number of a map


class Rule:
    """The rule of one node; a subclass defines :meth:`change`, and :meth:`keep` if it depends on the base point.

    Parameters
    ----------
    graph : Graph
        The network.
    node : fx.Node
        The operation.
    dtype : torch.dtype
        Precision of the changes.
    """

    dearer: float = 1
    """How many times the operations of an evaluation a change takes."""

    several = False
    """Whether there are several results."""

    exact = True
    """Whether no digits are lost by subtracting two values."""

    def __init__(self, graph: Graph, node: fx.Node, dtype: torch.dtype) -> None:
        self.graph, self.node, self.dtype = graph, node, dtype
        self.moving = graph.moving(node)

    def keep(self, values: Sequence[Any], result: Any) -> Any:
        """Return what :meth:`change` needs of a base point, from the values of the moving nodes and the result."""
        return None

    def change(self, changes: Sequence[Any], kept: Any) -> Any:
        """Return the change of the result, from those of the moving nodes; of several results, a tuple."""
        raise NotImplementedError

    def work(self, numbers: int) -> float:
        """Return the multiplications of an evaluation with so many numbers as its result, or what takes as long."""
        return NUMBER * numbers

    def argument(self, place: int, name: str = "", default: Any = None) -> Any:
        """Return an argument: a node that moves as it is, a constant with its value."""
        args, kwargs = self.node.args, self.node.kwargs
        value = args[place] if len(args) > place else kwargs.get(name, default)
        return self.graph.constants[value] if isinstance(value, fx.Node) and value not in self.moving else value

    def constant(self, value: Any) -> Any:
        """Return a constant in the precision of the changes."""
        return value.to(self.dtype) if isinstance(value, Tensor) and value.is_floating_point() else value

    def kept(self, *maps: Tensor) -> tuple[Tensor, ...]:
        """Return maps in the precision of the changes."""
        return tuple(own.to(self.dtype) for own in maps)


class Pointwise(Rule):
    """An elementwise function of one tensor, from the table of formulas."""

    dearer = 2

    def __init__(self, graph: Graph, node: fx.Node, dtype: torch.dtype) -> None:
        super().__init__(graph, node, dtype)
        options = [self.constant(self.argument(place)) for place in range(1, len(node.args))]
        entry = ELEMENTWISE[node.target](*options, **node.kwargs) if node.args[0] in self.moving else None
        if entry is None or len(self.moving) != 1:
            raise NoRuleError
        self.entry = entry

    def keep(self, values: Sequence[Any], result: Any) -> Any:
        """Return the maps of the formula."""
        return self.kept(*self.entry.maps(values[0]))

    def change(self, changes: Sequence[Any], kept: Any) -> Any:
        """Apply the formula."""
        return self.entry.change(changes[0], *kept)


class LogSigmoid(Rule):
    """log s(x) = -log(1 + e^-x); the second result is for a backward pass."""

    several = True

    def keep(self, values: Sequence[Any], result: Any) -> Any:
        """Return the value."""
        return self.kept(values[0])

    def change(self, changes: Sequence[Any], kept: Any) -> Any:
        """Apply the formula."""
        return (-softplus_change(-changes[0], -kept[0]), None)


class Whole(Rule):
    """No rule: the operation on the changed values, minus its result, in double precision.

    A value that is no floating-point number, such as a mask, has no change: it is the new values themselves.
    """

    exact = False

    def keep(self, values: Sequence[Any], result: Any) -> Any:
        """Return the values and the result."""
        return values, result

    def change(self, changes: Sequence[Any], kept: Any) -> Any:
        """Subtract."""
        values, result = kept
        own = [_moved(value, change) for value, change in zip(values, changes, strict=True)]

        def apply(*moved: Any) -> Any:
            return self.graph.call(self.node, dict(zip(self.moving, moved, strict=True)))

        return _subtracted(torch.vmap(apply)(*own), result, self.dtype)


def _moved(value: Any, change: Any) -> Any:
    if isinstance(value, (tuple, list)):
        return tuple(map(_moved, value, change))
    return value + change if value.is_floating_point() else change


def _subtracted(moved: Any, value: Any, dtype: torch.dtype) -> Any:
    if isinstance(value, (tuple, list)):
        return tuple(_subtracted(own, base, dtype) for own, base in zip(moved, value, strict=True))
    return (moved - value).to(dtype) if value.is_floating_point() else moved
