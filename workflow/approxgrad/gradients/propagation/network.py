"""A network whose differences are propagated: its rules in order, and what they keep of a point."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx

from approxgrad.gradients.propagation.normalising import BatchNorm
from approxgrad.gradients.propagation.products import Convolution
from approxgrad.gradients.propagation.rules import Rule, Whole
from approxgrad.gradients.propagation.table import rule_of
from approxgrad.gradients.propagation.tracing import Graph


@dataclass
class Base:
    """What is known of a point: the output in double precision, and what each rule keeps."""

    output: Tensor
    kept: dict[fx.Node, Any]


class Network:
    """The rules of a graph.

    Parameters
    ----------
    graph : Graph
        The network.
    dtype : torch.dtype
        Precision of the changes.
    unit : float
        What changes in short numbers, of 16 bits, are multiples of: they would underflow, or overflow, by themselves.

    Attributes
    ----------
    rules : dict
        The rule of each node, in order.
    """

    def __init__(self, graph: Graph, dtype: torch.dtype, unit: float = 1.0) -> None:
        self.graph, self.dtype, self.unit = graph, dtype, unit
        self.rules: dict[fx.Node, Rule] = {node: rule_of(graph, node, dtype, unit) for node in graph.nodes}
        self._fold()
        order = {node: place for place, node in enumerate(graph.nodes)}
        self._last = {
            own: node for node in sorted(graph.nodes, key=order.__getitem__) for own in self.rules[node].moving
        }

    @property
    def without_rule(self) -> list[str]:
        """Names of the operations that have no rule, in order."""
        return [str(node.target) for node, rule in self.rules.items() if isinstance(getattr(rule, "rule", rule), Whole)]

    def _fold(self) -> None:
        """Let convolutions do the work of batch norms with fixed statistics that alone read them."""
        for node, rule in self.rules.items():
            if isinstance(rule, BatchNorm) and rule.fixed is not None:
                before = rule.moving[0]
                own = self.rules.get(before)
                if isinstance(own, Convolution) and not own.transposed and len(before.users) == 1:
                    own.scale(rule.fixed)
                    self.rules[node] = Folded(self.graph, node, self.dtype)

    def base(self, row: Tensor) -> Base:
        """Evaluate the network at a point, of shape (1, ...), in double precision."""
        kept: dict[fx.Node, Any] = {}
        output = row
        for node, values, result in self.graph.values(row.double()):
            if node in self.rules:
                kept[node] = self.rules[node].keep(values, result)
            if node is self.graph.result:
                output = result
        return Base(output, kept)

    def change(self, base: Base, changes: Mapping[fx.Node, Any]) -> Tensor:
        """Return the change of the output, of shape (K, *output), from the changes of some nodes.

        Nodes before these are not asked for, so all ways from the input to the output must pass them.
        """
        known = dict(changes)
        for node in self._needed(changes):
            rule = self.rules[node]
            known[node] = rule.change([known[own] for own in rule.moving], base.kept[node])
            for own in rule.moving:
                if self._last[own] is node:
                    known.pop(own, None)
        return known[self.graph.result]

    def _needed(self, changes: Mapping[fx.Node, Any]) -> Iterator[fx.Node]:
        """Return the nodes between some nodes and the output."""
        wanted, waiting = set(), [self.graph.result]
        while waiting:
            node = waiting.pop()
            if node not in changes and node not in wanted:
                wanted.add(node)
                waiting += self.rules[node].moving
        return (node for node in self.graph.nodes if node in wanted)


class Folded(Rule):
    """A batch norm whose factors are in the convolution before it."""

    dearer, several, linear = 0, True, True

    def change(self, changes: Sequence[Any], kept: Any) -> Any:
        """Return the change."""
        return (changes[0], None, None)


def unit_moves(shape: torch.Size, features: Tensor, moves: Tensor, dtype: torch.dtype) -> Tensor:
    """Return changes of the input, of shape (K, *shape): copy k moves feature `features[k]` by `moves[k]`."""
    flat = torch.zeros(len(features), shape.numel(), dtype=dtype, device=moves.device)
    return flat.scatter_(1, features.unsqueeze(1), moves.to(dtype).unsqueeze(1)).reshape(len(features), *shape)
