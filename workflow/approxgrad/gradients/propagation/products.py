"""Rules of products and quotients, of matrix products and convolutions with constant weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, fx

from approxgrad.gradients.evaluating import small_images
from approxgrad.gradients.propagation.rules import NoRuleError, Rule
from approxgrad.gradients.propagation.tracing import Graph

aten = torch.ops.aten
LOST = 1e-3
"""Ratio of a divisor to what it was, below which it is not known from its change in single precision."""

MATRICES = (aten.mm.default, aten.bmm.default, aten.mv.default)


class Product(Rule):
    """A product u v, of numbers or matrices: du (v + dv) + u dv; with a constant factor the change times that."""

    def __init__(self, graph: Graph, node: fx.Node, dtype: torch.dtype) -> None:
        super().__init__(graph, node, dtype)
        self._factors = [self.argument(0), self.argument(1)]
        if len(node.args) != 2 or node.kwargs:
            raise NoRuleError
        self.dearer = sum(isinstance(own, fx.Node) for own in self._factors)
        self.linear = self.dearer == 1

    def work(self, numbers: int) -> float:
        """Return the operations of one product."""
        if self.node.target not in MATRICES:
            return super().work(numbers)
        shape = self.graph.shapes[self.moving[0]]
        return numbers * shape[-2 if self.moving[0] is not self._factors[0] and len(shape) > 1 else -1]

    def keep(self, values: Sequence[Any], result: Any) -> Any:
        """Return both factors."""
        known = dict(zip(self.moving, values, strict=True))
        return [self.constant(known[own] if isinstance(own, fx.Node) else own) for own in self._factors]

    def change(self, changes: Sequence[Any], kept: Any) -> Any:
        """Apply the product rule."""
        known = dict(zip(self.moving, changes, strict=True))
        du, dv = (known.get(own) if isinstance(own, fx.Node) else None for own in self._factors)
        u, v = kept
        times = torch.vmap(self.node.target, in_dims=(0, None))  # type: ignore[arg-type]
        if dv is None:
            return times(du, v)
        after = torch.vmap(self.node.target, in_dims=(None, 0))(u, dv)  # type: ignore[arg-type]
        if du is None:
            return after
        return after + torch.vmap(self.node.target)(du, dv + v)  # type: ignore[arg-type]


class Quotient(Rule):
    """A quotient u / v: (du - (u / v) dv) / (v + dv); no number where v + dv is so small that its digits are lost."""

    def __init__(self, graph: Graph, node: fx.Node, dtype: torch.dtype) -> None:
        super().__init__(graph, node, dtype)
        self._parts = [self.argument(0), self.argument(1)]
        if len(node.args) != 2 or node.kwargs:
            raise NoRuleError
        self.linear = not isinstance(self._parts[1], fx.Node)

    def keep(self, values: Sequence[Any], result: Any) -> Any:
        """Return the quotient and the divisor."""
        known = dict(zip(self.moving, values, strict=True))
        divisor = self._parts[1]
        return [self.constant(result), self.constant(known[divisor] if isinstance(divisor, fx.Node) else divisor)]

    def change(self, changes: Sequence[Any], kept: Any) -> Any:
        """Apply the quotient rule."""
        known = dict(zip(self.moving, changes, strict=True))
        du, dv = (known.get(own) if isinstance(own, fx.Node) else None for own in self._parts)
        quotient, v = kept
        if dv is None:
            return torch.vmap(torch.div, in_dims=(0, None))(changes[0], v)

        def divide(dv: Tensor, *du: Tensor) -> Tensor:
            after = v + dv
            return torch.where(after.abs() < LOST * v.abs(), torch.nan, ((du[0] if du else 0) - quotient * dv) / after)

        return torch.vmap(divide)(dv, *([] if du is None else [du]))


class Affine(Rule):
    """A matrix product with a constant matrix and an added vector: the product acts on the change."""

    linear = True

    def __init__(self, graph: Graph, node: fx.Node, dtype: torch.dtype) -> None:
        super().__init__(graph, node, dtype)
        if node.args[1] not in self.moving or len(self.moving) != 1 or node.kwargs or len(node.args) != 3:
            raise NoRuleError
        self.matrix = self.constant(self.argument(2))

    def work(self, numbers: int) -> float:
        """Return the operations of the product."""
        return numbers * self.matrix.shape[0]

    def change(self, changes: Sequence[Any], kept: Any) -> Any:
        """Multiply."""
        return changes[0] @ self.matrix


class Convolution(Rule):
    """A convolution without bias acts on the change, whose copies join the batch; `scale` is a folded batch norm."""

    linear = True

    def __init__(self, graph: Graph, node: fx.Node, dtype: torch.dtype) -> None:
        super().__init__(graph, node, dtype)
        if len(self.moving) != 1 or node.args[0] is not self.moving[0] or len(node.args) != 9:
            raise NoRuleError
        self._weight = self.argument(1)
        self.transposed = bool(node.args[6])
        self.settings: tuple[Any, ...] = node.args[3:]
        self._fast: small_images.Product | None = None
        self._use(self._weight)

    def scale(self, factors: Tensor) -> None:
        """Multiply the outputs by one factor for each channel, in double precision."""
        if self.transposed:
            raise ValueError("a transposed convolution is not folded")
        self._use(self._weight * factors.reshape(-1, *[1] * (self._weight.ndim - 1)))

    def _use(self, weight: Tensor) -> None:
        """Take a weight in the precision of the changes; as one product where images are no larger than the kernel."""
        own = weight.to(self.dtype)
        self.weight, self._fast = own, None
        if own.ndim == 4:
            self.weight = own.contiguous(memory_format=torch.channels_last)
        if own.ndim == 4 and not self.transposed and own.device.type == "cpu":
            stride, padding, dilation, _, _, groups = self.settings
            geometry = small_images.Geometry.of(own, stride, padding, dilation, groups)
            self._fast = small_images.product(own, geometry, self.graph.shapes[self.moving[0]][2:])

    def work(self, numbers: int) -> float:
        """Return the operations of the convolution."""
        shape = self.graph.shapes[self.moving[0]]
        places = shape.numel() // shape[1] if self.transposed else numbers // self.weight.shape[0]
        return places * self.weight.numel()

    def change(self, changes: Sequence[Any], kept: Any) -> Any:
        """Convolve."""
        (d,) = changes
        if self._fast is not None:
            return self._fast(d.flatten(0, 1), None).unflatten(0, d.shape[:2])
        return aten.convolution.default(d.flatten(0, 1), self.weight, None, *self.settings).unflatten(0, d.shape[:2])
