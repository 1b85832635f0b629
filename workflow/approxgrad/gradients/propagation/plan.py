"""Which part of a network works on windows and which on whole maps: the choice with the fewest operations."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from math import lcm

from torch import fx

from approxgrad.gradients.propagation.ends import End, end_of
from approxgrad.gradients.propagation.form import Axes, Form
from approxgrad.gradients.propagation.forms import form_of
from approxgrad.gradients.propagation.network import Network
from approxgrad.gradients.propagation.patches import Patches
from approxgrad.gradients.propagation.windows import Axis

BASES = 4  # evaluations that the base in double precision, and the maps made of it, take as long as


@dataclass
class Windows:
    """What works on windows.

    Attributes
    ----------
    period : tuple of int
        Product of the strides along both axes.
    source : tuple of Axis
        The perturbed parts of the input as windows.
    forms : dict
        The form of each node that works on windows, in order.
    axes : dict
        Where the windows of these nodes and of the input lie.
    ends : dict
        For nodes whose windows are read by operations with whole maps as result, these operations.
    passed : set of fx.Node
        Nodes that these do the work of.
    read_whole : set of fx.Node
        Nodes whose windows are made whole maps, because others read these.
    freed : dict
        For each node, those whose windows nothing reads after it.
    """

    period: tuple[int, int]
    source: Axes
    forms: dict[fx.Node, Form]
    axes: dict[fx.Node, Axes]
    ends: dict[fx.Node, list[End]]

    def __post_init__(self) -> None:
        nodes = (*list(self.axes)[:1], *self.forms)
        ended = {end.node for own in self.ends.values() for end in own}
        self.passed = {user for own in self.ends for user in own.users if ended & {user, *user.users}}
        self.read_whole = {node for node in nodes if not set(node.users) <= {*self.forms, *self.passed}}
        readers = {node: [user for user in node.users if user in self.forms] for node in nodes}
        order = {node: place for place, node in enumerate(nodes)}
        self.freed: dict[fx.Node, list[fx.Node]] = {node: [] for node in nodes}
        for node, own in readers.items():
            self.freed[max(own, key=order.__getitem__, default=node)].append(node)


class Plan:
    """How differences are propagated through a network.

    Parameters
    ----------
    network : Network
        The network.
    patches : Patches, optional
        What is perturbed; by default single features. An input without height and width has none.

    Attributes
    ----------
    windows : Windows or None
        What works on windows; None if all works on whole maps.
    dense, propagated : float
        Operations of one evaluation, and of one propagated difference.
    """

    def __init__(self, network: Network, patches: Patches | None = None) -> None:
        self.network = network
        self.shape = network.graph.shapes[network.graph.source]
        rules = network.rules.items()
        self._whole = {node: rule.dearer * rule.work(network.graph.shapes[node].numel()) for node, rule in rules}
        self.dense = sum(rule.work(network.graph.shapes[node].numel()) for node, rule in rules if rule.dearer)
        self.windows: Windows | None = None
        self.propagated = sum(self._whole.values())
        self.patches = patches
        if len(self.shape) == 4 and self.shape[0] == 1:
            self.patches = patches or Patches(tuple(self.shape[1:]))
            self._choose(self.patches)

    @property
    def bound(self) -> float:
        """Operations of dense differences over those of propagated ones, the base point included."""
        features = self.shape.numel() if self.patches is None else self.patches.count
        return (features + 1) * self.dense / (features * self.propagated + BASES * self.dense)

    def on_whole_maps(self) -> Plan:
        """Return the plan that uses no windows."""
        other = copy.copy(self)
        other.windows, other.propagated = None, sum(self._whole.values())
        return other

    def _choose(self, patches: Patches) -> None:
        """Choose the period, and how many nodes work on windows."""
        waiting, tried = [(1, 1)], set()
        while waiting:
            period = waiting.pop()
            tried.add(period)
            reached, longer = reached_windows(self.network, period, patches)
            waiting += {own for own in longer if own not in tried and own not in waiting}
            count, total = self._best(reached, patches)
            if total < self.propagated:
                self.windows, self.propagated = first_windows(reached, count), total

    def _best(self, reached: Windows, patches: Patches) -> tuple[int, float]:
        """Return how many of the nodes that may work on windows should, and the operations of the network then."""
        rules = self.network.rules
        each = zip(reached.source, patches.counts[1:], strict=True)
        positions = math.prod(axis.positions * len(axis.starts) / count for axis, count in each)
        total = sum(self._whole.values())
        best, least = 0, total
        for count, node in enumerate(reached.forms, start=1):
            y, x = reached.axes[node]
            numbers = self.network.graph.shapes[node][1] * y.width * x.width
            total += positions * rules[node].dearer * rules[node].work(numbers) - self._whole[node]
            for end in reached.ends.get(node, ()):
                total += positions * end.work - self._whole[end.node]
            if total < least and not rules[node].several:
                best, least = count, total
        return best, least


def axes_of(patches: Patches, period: tuple[int, int]) -> Axes:
    """Return boxes as windows of the input, for phases that repeat with a period in pixels."""

    def along(axis: int, length: int) -> Axis:
        stride = patches.stride[axis]
        phases = lcm(length, stride) // stride
        starts = tuple(phase * stride for phase in range(phases))
        positions = -(-patches.counts[axis] // phases)
        return Axis(patches.shape[axis], starts, patches.window[axis], phases * stride, positions)

    return along(1, period[0]), along(2, period[1])


def reached_windows(
    network: Network, period: tuple[int, int], patches: Patches
) -> tuple[Windows, set[tuple[int, int]]]:
    """Return all that can work on windows with a period, and the longer periods with which more could."""
    graph = network.graph
    source = axes_of(patches, period)
    axes: dict[fx.Node, Axes] = {graph.source: source}
    forms: dict[fx.Node, Form] = {}
    ends: dict[fx.Node, list[End]] = {}
    longer: set[tuple[int, int]] = set()
    for node, rule in network.rules.items():
        if not all(own in axes for own in rule.moving):
            continue
        form = form_of(rule)
        if form is None:
            end = end_of(network, node, axes[rule.moving[0]]) if len(rule.moving) == 1 else None
            if end is not None:
                ends.setdefault(rule.moving[0], []).append(end)
            continue
        inputs = [axes[own] for own in rule.moving]
        over = [spacing % stride for (spacing, stride) in zip(_spacings(inputs[0]), form.strides, strict=True)]
        if any(over):
            longer.add(
                tuple(  # type: ignore[arg-type]
                    own * stride for own, stride in zip(period, form.strides, strict=True)
                )
            )
            continue
        if len({_spacings(own) for own in inputs}) == 1:
            forms[node], axes[node] = form, form.axes(inputs)
    return Windows(period, source, forms, axes, ends), longer


def _spacings(axes: Axes) -> tuple[int, int]:
    return axes[0].spacing, axes[1].spacing


def first_windows(reached: Windows, count: int) -> Windows:
    """Return the first of what can work on windows."""
    nodes = list(reached.forms)[:count]
    forms = {node: reached.forms[node] for node in nodes}
    ends = {node: own for node, own in reached.ends.items() if node in forms}
    return Windows(reached.period, reached.source, forms, reached.axes, ends)
