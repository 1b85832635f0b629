"""The rule of max-pooling: the largest of gap + change over a window, with the gaps to the largest value."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise, product
from typing import Any

import torch
from torch import Tensor, fx

from approxgrad.gradients.propagation.rules import Rule
from approxgrad.gradients.propagation.tracing import Graph

aten = torch.ops.aten
ADAPTIVE = (aten.adaptive_max_pool2d.default, aten.adaptive_max_pool3d.default)
FLAT = (aten.adaptive_max_pool2d.default, aten.max_pool2d_with_indices.default)


class MaxPool(Rule):
    """Max-pooling of any kernel, stride, padding and dilation, and adaptive max-pooling, along the last axes.

    Attributes
    ----------
    kernel, stride, padding, dilation : tuple of int
        One number for each axis; empty for adaptive pooling.
    """

    several = True

    def __init__(self, graph: Graph, node: fx.Node, dtype: torch.dtype) -> None:
        super().__init__(graph, node, dtype)
        sizes, self.outputs = graph.shapes[self.moving[0]], graph.shapes[node]
        self.adaptive = node.target in ADAPTIVE
        self.axes = 2 if node.target in FLAT else 3
        sizes, outputs = sizes[-self.axes :], self.outputs[-self.axes :]
        self.kernel: tuple[int, ...] = ()
        if self.adaptive:
            self._tables = [_adaptive(*own) for own in zip(sizes, outputs, strict=True)]
        else:
            self.kernel = self._numbers(self.argument(1))
            self.stride = self._numbers(self.argument(2, "stride", ()) or self.kernel)
            self.padding = self._numbers(self.argument(3, "padding", 0))
            self.dilation = self._numbers(self.argument(4, "dilation", 1))
            geometry = zip(sizes, outputs, self.kernel, self.stride, self.padding, self.dilation, strict=True)
            self._tables = [_regular(*own) for own in geometry]

    def _numbers(self, value: Any) -> tuple[int, ...]:
        numbers = (value,) if isinstance(value, int) else tuple(value)
        return numbers if len(numbers) == self.axes else numbers * self.axes

    def work(self, numbers: int) -> float:
        """Return the operations of one comparison for each place of a window."""
        return super().work(numbers) * math.prod(map(len, self._tables))

    def taps(self, value: Tensor, fill: float | None = None) -> Iterator[Tensor]:
        """Yield what each place of the windows reads; outside the value `fill`, or without it some number."""
        for taps in product(*self._tables):
            own = value
            for axis, (index, inside) in enumerate(taps, start=-self.axes):
                own = _taken(own, axis, index)
                if fill is not None and not all(inside):
                    mask = torch.tensor(inside, device=own.device).reshape(-1, *[1] * (-axis - 1))
                    own = torch.where(mask, own, fill)
            yield own

    def gaps(self, value: Tensor) -> Tensor:
        """Return how far each place of the windows is below their largest: (places, ...), minus infinity outside."""
        read = torch.stack(list(self.taps(value, -torch.inf)))
        return read - read.amax(dim=0)

    def keep(self, values: Sequence[Any], result: Any) -> Any:
        """Return the gaps."""
        return self.kept(self.gaps(values[0]))

    def change(self, changes: Sequence[Any], kept: Any) -> Any:
        """Apply the formula; the second result, the place of the largest value, has no change."""
        best: Tensor | None = None
        for gap, own in zip(kept[0], self.taps(changes[0]), strict=True):
            moved = own + gap
            best = moved if best is None else torch.maximum(best, moved, out=best)
        return (best, None)


def _regular(
    size: int, outputs: int, kernel: int, stride: int, padding: int, dilation: int
) -> list[tuple[list[int], list[bool]]]:
    """Return for each place of the windows along an axis the places that they read, and whether these are inside."""
    places = [[place * stride - padding + tap * dilation for place in range(outputs)] for tap in range(kernel)]
    return [([min(max(own, 0), size - 1) for own in row], [0 <= own < size for own in row]) for row in places]


def _adaptive(size: int, outputs: int) -> list[tuple[list[int], list[bool]]]:
    """Return the same for windows of different sizes; shorter ones read their last place again."""
    starts = [place * size // outputs for place in range(outputs)]
    stops = [-((place + 1) * size // -outputs) for place in range(outputs)]
    longest = max(stop - start for start, stop in zip(starts, stops, strict=True))
    rows = [[min(start + tap, stop - 1) for start, stop in zip(starts, stops, strict=True)] for tap in range(longest)]
    return [(row, [True] * outputs) for row in rows]


def _taken(value: Tensor, axis: int, index: list[int]) -> Tensor:
    """Return some places along an axis, as a view where they are evenly spaced."""
    step = index[1] - index[0] if len(index) > 1 else 1
    if step > 0 and all(second - first == step for first, second in pairwise(index)):
        own = [slice(None)] * (value.ndim + axis) + [slice(index[0], index[-1] + 1, step)]
        return value[tuple(own)]
    return value.index_select(value.ndim + axis, torch.tensor(index, device=value.device))
