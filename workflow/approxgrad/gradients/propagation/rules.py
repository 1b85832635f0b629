"""One rule for each basic operation: the change of its result from the changes of what it reads.

A change has the shape of the value behind a first axis of K copies. A rule is bound to a node of a graph once, keeps
what it needs of each base point, and is then called with changes. Which operation has which rule is a table:
:mod:`approxgrad.gradients.propagation.table`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
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

    linear = False
    """Whether the change of the result is linear in those that it is made of, whatever their size."""

    unit = 1.0
    """What changes are multiples of; :meth:`kept` maps are, too."""

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
        """Return maps in the precision and the unit of the changes."""
        return tuple((own / self.unit if self.unit != 1 else own).to(self.dtype) for own in maps)


class Pointwise(Rule):
    """An elementwise function of one tensor, from the table of formulas."""

    def __init__(self, graph: Graph, node: fx.Node, dtype: torch.dtype) -> None:
        super().__init__(graph, node, dtype)
        options = [self.constant(self.argument(place)) for place in range(1, len(node.args))]
        entry = ELEMENTWISE[node.target](*options, **node.kwargs) if node.args[0] in self.moving else None
        if entry is None or len(self.moving) != 1:
            raise NoRuleError
        self.entry, self.dearer = entry, entry.passes

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

    dearer = 90

    def keep(self, values: Sequence[Any], result: Any) -> Any:
        """Return the values and the result."""
        return values, result

    def change(self, changes: Sequence[Any], kept: Any) -> Any:
        """Subtract."""
        values, result = kept
        own = [_moved(value, change) for value, change in zip(values, changes, strict=True)]

        def apply(*moved: Any) -> list[Tensor]:
            made = self.graph.call(self.node, dict(zip(self.moving, moved, strict=True)))
            # Of some operations of backward passes, a part of the results is left out.
            return [own for own in _several(made) if own is not None]

        together = _is_batched(self.node.target) and self.node.target is not aten.index_put.default
        made = iter(torch.vmap(apply)(*own) if together else _one_by_one(apply, own))
        changes = [None if base is None else _subtracted(next(made), base, self.dtype) for base in _several(result)]
        return changes if isinstance(result, (tuple, list)) else changes[0]


def _moved(value: Any, change: Any) -> Any:
    if isinstance(value, (tuple, list)):
        return tuple(map(_moved, value, change))
    # The change is converted before: torch adds a single number in the precision of the copies.
    return value + change.to(value.dtype) if value.is_floating_point() else change


def _several(value: Any) -> Sequence[Any]:
    return value if isinstance(value, (tuple, list)) else [value]


def _subtracted(moved: Tensor, value: Tensor, dtype: torch.dtype) -> Tensor:
    return (moved - value).to(dtype) if value.is_floating_point() else moved


def _is_batched(operation: Any) -> bool:
    """Return whether torch has a vectorised form; without one it would go through the copies as well, but warn."""
    keys = ("FuncTorchBatched", "FuncTorchBatchedDecomposition", "CompositeImplicitAutograd")
    return any(torch._C._dispatch_has_kernel_for_dispatch_key(operation.name(), key) for key in keys)


def _one_by_one(apply: Callable[..., list[Tensor]], changed: Sequence[Any]) -> list[Tensor]:
    copies = len(next(own for value in changed for own in _several(value)))
    made = [apply(*(_copy(own, number) for own in changed)) for number in range(copies)]
    return [torch.stack(own) for own in zip(*made, strict=True)]


def _copy(value: Any, number: int) -> Any:
    return [own[number] for own in value] if isinstance(value, (tuple, list)) else value[number]


class Wide(Rule):
    """A rule that is computed in single precision, because changes in short numbers have a unit of their own."""

    def __init__(self, rule: Rule, dtype: torch.dtype, unit: float) -> None:
        super().__init__(rule.graph, rule.node, dtype)
        self.rule, self.unit = rule, unit
        self.dearer, self.several = rule.dearer, rule.several

    def keep(self, values: Sequence[Any], result: Any) -> Any:
        """Return what the rule keeps."""
        return self.rule.keep(values, result)

    def work(self, numbers: int) -> float:
        """Return the operations of the rule."""
        return self.rule.work(numbers)

    def change(self, changes: Sequence[Any], kept: Any) -> Any:
        """Apply the rule."""
        own = [_converted(change, torch.float32, self.unit) for change in changes]
        return _converted(self.rule.change(own, kept), self.dtype, 1 / self.unit)


def _converted(change: Any, dtype: torch.dtype, factor: float) -> Any:
    """Return a change in another precision, times a factor taken in single precision; masks as they are."""
    if isinstance(change, (tuple, list)):
        return tuple(_converted(own, dtype, factor) for own in change)
    if change is None or not change.is_floating_point():
        return change
    return (change.float() * factor).to(dtype)


def shortened(rule: Rule, dtype: torch.dtype, unit: float) -> Rule:
    """Return a rule in single precision as one of changes in short numbers with a unit, unless it is linear.

    What compares changes with distances between values stays short: these distances have the same unit.
    """
    if isinstance(rule, Pointwise):
        entry, change = rule.entry, rule.entry.change
        if entry.distances:
            rule.dtype, rule.unit = dtype, unit
        else:

            def apply(d: Tensor, *maps: Tensor) -> Tensor:
                converted: Tensor = _converted(change(d.float() * unit, *maps), dtype, 1 / unit)
                return converted

            rule.entry = replace(entry, change=apply, into=None)
        return rule
    return Wide(rule, dtype, unit)
