"""Rules of operations that reduce or normalise along axes: norms, softmax, extremes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, fx

from approxgrad.gradients.propagation.elementwise import risen
from approxgrad.gradients.propagation.rules import NoRuleError, Rule
from approxgrad.gradients.propagation.tracing import Graph

aten = torch.ops.aten
NEAR = 1.0  # change of the logarithm of a sum below which it is computed from the changes of the terms


class Standardised(Rule):
    """(x - mean) / s with s = sqrt(variance + eps), times a weight, plus a bias.

    With centred x and d, s' the new s and dv = mean(d (2 x + d)) the change of the variance, the change is
    ``d / s' - x dv / (s s' (s + s'))``, times the weight. A subclass says which axes and which shape.
    """

    several = True
    dearer = 100
    weight: Tensor | None
    eps: float

    def shaped(self, value: Tensor) -> Tensor:
        """Return a value in a shape whose last axis is what is normalised over."""
        raise NotImplementedError

    def keep(self, values: Sequence[Any], result: Any) -> Any:
        """Return the centred value and s."""
        x = self.shaped(values[0])
        x = x - x.mean(dim=-1, keepdim=True)
        return self.kept(x, torch.sqrt(x.square().mean(dim=-1, keepdim=True) + self.eps))

    def change(self, changes: Sequence[Any], kept: Any) -> Any:
        """Apply the formula; the further results are for a backward pass."""
        x, s = kept
        d = torch.vmap(self.shaped)(changes[0])
        d = d - d.mean(dim=-1, keepdim=True)
        after = torch.sqrt((x + d).square().mean(dim=-1, keepdim=True) + self.eps)
        variance = (d * (2 * x + d)).mean(dim=-1, keepdim=True)
        standardised = d / after - x * (variance / (s * after * (s + after)))
        result = self.restored(standardised, changes[0].shape)
        return (result if self.weight is None else result * self.weight, None, None)

    def restored(self, value: Tensor, shape: torch.Size) -> Tensor:
        """Return a result in the shape of the change."""
        return value.reshape(shape)


class LayerNorm(Standardised):
    """Layer norm over the last axes."""

    def __init__(self, graph: Graph, node: fx.Node, dtype: torch.dtype) -> None:
        super().__init__(graph, node, dtype)
        if len(self.moving) != 1:
            raise NoRuleError
        self._axes = len(self.argument(1))
        self.weight, self.eps = self.constant(self.argument(2)), self.argument(4)

    def shaped(self, value: Tensor) -> Tensor:
        """Join the last axes."""
        return value.flatten(-self._axes)


class GroupNorm(Standardised):
    """Group norm over the channels of a group and the axes behind them."""

    def __init__(self, graph: Graph, node: fx.Node, dtype: torch.dtype) -> None:
        super().__init__(graph, node, dtype)
        if len(self.moving) != 1:
            raise NoRuleError
        self._groups, self.eps = self.argument(6), self.argument(7)
        self.weight = per_channel(self.constant(self.argument(1)), len(graph.shapes[self.moving[0]]))

    def shaped(self, value: Tensor) -> Tensor:
        """Join each group."""
        return value.reshape(len(value), self._groups, -1)


class BatchNorm(Standardised):
    """Batch norm: a factor for each channel with fixed statistics, else standardised over all axes but the channels."""

    def __init__(self, graph: Graph, node: fx.Node, dtype: torch.dtype) -> None:
        super().__init__(graph, node, dtype)
        if len(self.moving) != 1 or node.args[0] is not self.moving[0]:
            raise NoRuleError
        axes = len(graph.shapes[self.moving[0]])
        weight = self.argument(1)
        self.fixed: Tensor | None = None
        self.eps = self.argument(7)
        if self.argument(5):
            self.weight = per_channel(self.constant(weight), axes)
        else:
            variance = self.argument(4)
            self.fixed = (torch.ones_like(variance) if weight is None else weight) / torch.sqrt(variance + self.eps)
            self._factors = per_channel(self.constant(self.fixed), axes)
            self.linear, self.dearer = True, 1

    def keep(self, values: Sequence[Any], result: Any) -> Any:
        """Return nothing where the statistics are fixed."""
        return super().keep(values, result) if self.fixed is None else None

    def change(self, changes: Sequence[Any], kept: Any) -> Any:
        """Scale or standardise."""
        if self.fixed is None:
            return super().change(changes, kept)
        return (changes[0] * self._factors, None, None)

    def shaped(self, value: Tensor) -> Tensor:
        """Put the channels first and join the rest."""
        return value.transpose(0, 1).flatten(1)

    def restored(self, value: Tensor, shape: torch.Size) -> Tensor:
        """Put the channels back."""
        return value.reshape(shape[0], shape[2], shape[1], *shape[3:]).transpose(1, 2)


def per_channel(factors: Tensor | None, axes: int) -> Tensor | None:
    """Return one factor for each channel, the second of so many axes."""
    return None if factors is None else factors.reshape(-1, *[1] * (axes - 2))


class LogSumExp(Rule):
    """log sum e^x: log(1 + sum p (e^d - 1)) with p the softmax if that is small, else log sum e^(log p + d)."""

    dearer = 150

    def __init__(self, graph: Graph, node: fx.Node, dtype: torch.dtype) -> None:
        super().__init__(graph, node, dtype)
        axes = self.argument(1, "dim")
        axes = [axes] if isinstance(axes, int) else list(axes)
        size = len(graph.shapes[self.moving[0]])
        if len(self.moving) != 1 or size == 0 or len(axes) != 1:
            raise NoRuleError
        self.axis = axes[0] % size - size
        self._keeps = bool(self.argument(2, "keepdim", False))

    def keep(self, values: Sequence[Any], result: Any) -> Any:
        """Return the logarithm of the softmax."""
        return self.kept(torch.log_softmax(values[0], self.axis))

    def change(self, changes: Sequence[Any], kept: Any) -> Any:
        """Apply the formula."""
        change = self.total(changes[0], kept[0])
        return change if self._keeps else change.squeeze(self.axis)

    def total(self, d: Tensor, log_p: Tensor) -> Tensor:
        """Return the change of the logarithm of the sum, with its axis kept."""
        # Entries whose share is zero may be minus infinity, whose change is not a number.
        d = torch.where(log_p == -torch.inf, 0, d)
        far = torch.logsumexp(log_p + d, dim=self.axis, keepdim=True)
        p = log_p.exp()
        growth = torch.where(d > 1, torch.exp(log_p + d) - p, p * torch.expm1(d.clamp_max(1)))
        close = torch.log1p(growth.sum(dim=self.axis, keepdim=True))
        return torch.where(far.abs() < NEAR, close, far)


class Softmax(LogSumExp):
    """p = e^(x - L) with L = log sum e^x: max(p, p') (1 - e^-|t|) sign t with t = d - dL.

    All d are counted from that of the largest p. If it is nearly 1, its d and dL are nearly equal.
    """

    def __init__(self, graph: Graph, node: fx.Node, dtype: torch.dtype) -> None:
        super().__init__(graph, node, dtype)
        self._keeps = True

    def keep(self, values: Sequence[Any], result: Any) -> Any:
        """Return the logarithm of the softmax, and where it is largest."""
        return *super().keep(values, result), values[0].argmax(self.axis, keepdim=True).unsqueeze(0)

    def change(self, changes: Sequence[Any], kept: Any) -> Any:
        """Apply the formula."""
        log_p, largest = kept
        t = self.moved(changes[0], log_p, largest)
        return torch.exp(torch.maximum(log_p, log_p + t)) * risen(t.abs()) * t.sign()

    def moved(self, d: Tensor, log_p: Tensor, largest: Tensor) -> Tensor:
        """Return the change of log p."""
        d = d - torch.take_along_dim(d, largest, self.axis)
        d = torch.where(log_p == -torch.inf, 0, d)
        return d - self.total(d, log_p)


class LogSoftmax(Softmax):
    """log p = x - L: its change is d - dL."""

    def change(self, changes: Sequence[Any], kept: Any) -> Any:
        """Apply the formula."""
        return self.moved(changes[0], *kept)


class VectorNorm(Rule):
    """The Euclidean norm r: sum d (2 x + d) / (r + r')."""

    dearer = 50

    def __init__(self, graph: Graph, node: fx.Node, dtype: torch.dtype) -> None:
        super().__init__(graph, node, dtype)
        self._axes, self._keeps = self.argument(2, "dim"), bool(self.argument(3, "keepdim", False))
        size = len(graph.shapes[self.moving[0]])
        if self.argument(1, "ord", 2) != 2 or self.argument(4, "dtype") is not None or size == 0:
            raise NoRuleError
        self._axes = [axis % size - size for axis in (range(size) if self._axes is None else self._axes)]

    def keep(self, values: Sequence[Any], result: Any) -> Any:
        """Return the value and its norm."""
        return self.kept(values[0], torch.linalg.vector_norm(values[0], dim=self._axes, keepdim=True))

    def change(self, changes: Sequence[Any], kept: Any) -> Any:
        """Apply the formula."""
        (d,), (x, r) = changes, kept
        total = r + torch.linalg.vector_norm(x + d, dim=self._axes, keepdim=True)
        change = (d * (2 * x + d)).sum(dim=self._axes, keepdim=True)
        change = torch.where(total == 0, 0, change / total)
        return change if self._keeps else change.squeeze(self._axes)


class Largest(Rule):
    """The largest of some values, m: the largest of gap + change, with the gaps x - m; the smallest likewise."""

    def __init__(self, graph: Graph, node: fx.Node, dtype: torch.dtype) -> None:
        super().__init__(graph, node, dtype)
        self._smallest = node.target in (aten.amin.default, aten.minimum.default)
        self._pairs = node.target in (aten.maximum.default, aten.minimum.default)
        if self._pairs:
            self._operands = [self.argument(0), self.argument(1)]
            return
        size = len(graph.shapes[self.moving[0]])
        if size == 0:
            raise NoRuleError
        self._axes = [axis % size - size for axis in self.argument(1, "dim", ()) or range(size)]
        self._keeps = bool(self.argument(2, "keepdim", False))

    def keep(self, values: Sequence[Any], result: Any) -> Any:
        """Return the gaps."""
        if self._pairs:
            known = dict(zip(self.moving, values, strict=True))
            return self.kept(*((known[own] if isinstance(own, fx.Node) else own) - result for own in self._operands))
        extreme = values[0].amin if self._smallest else values[0].amax
        return self.kept(values[0] - extreme(dim=self._axes, keepdim=True))

    def change(self, changes: Sequence[Any], kept: Any) -> Any:
        """Apply the formula."""
        if self._pairs:
            known = dict(zip(self.moving, changes, strict=True))

            def pair(*own: Tensor) -> Tensor:
                moved = dict(zip(known, own, strict=True))
                first, second = (
                    gap + moved[operand] if isinstance(operand, fx.Node) else gap
                    for gap, operand in zip(kept, self._operands, strict=True)
                )
                return torch.minimum(first, second) if self._smallest else torch.maximum(first, second)

            return torch.vmap(pair)(*known.values())
        moved = kept[0] + changes[0]
        return (moved.amin if self._smallest else moved.amax)(dim=self._axes, keepdim=self._keeps)
