"""Elementwise functions: f(a + d) - f(a) without subtracting two close numbers, as a table of formulas.

Every formula is a function of the change d, with K copies on its first axis, and of maps of the value a, which
broadcast to it and are made once in double precision.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

Formula = Callable[..., Tensor]
"""From d and the maps to the change of the function."""

NODES = 6  # of the quadrature that the normal distribution needs for small changes
LARGEST_POWER = 8  # up to which powers are sums of products
LARGE = 30.0  # change above which exponentials may overflow in single precision
FAR = 4.0  # logarithm of the ratio of two powers above which their difference loses no digits

aten = torch.ops.aten


@dataclass(frozen=True)
class Elementwise:
    """One function with its options.

    Attributes
    ----------
    maps : callable
        From a to the maps that the formula needs.
    change : callable
        The formula.
    outside : tuple of float
        Values of the maps outside an image, which make the change zero there; empty if no values do.
    into : callable, optional
        The formula with a further argument, a tensor that the change is written into; it may be d.
    distances : bool
        Whether the maps are distances between values, so that in another unit of all of them the formula is the same.
    passes : float
        How many times as long as the sum of two maps it takes, as measured on one core.
    """

    maps: Callable[[Tensor], tuple[Tensor, ...]]
    change: Formula
    outside: tuple[float, ...] = ()
    into: Callable[..., None] | None = None
    distances: bool = False
    passes: float = 70


def plain(formula: Callable[[Tensor, Tensor], Tensor], passes: float = 70) -> Elementwise:
    """Return the entry of a formula that needs a itself."""
    return Elementwise(lambda a: (a,), formula, passes=passes)


def clamp(low: float | None, high: float | None) -> Elementwise:
    """Return clamp(a + d) - clamp(a): with c = clamp(a), it is clamp(d + (a - c), low - c, high - c)."""
    if high is None and low is not None:

        def maps(a: Tensor) -> tuple[Tensor, ...]:
            c = a.clamp_min(low)
            return a - c, low - c

        return Elementwise(maps, _at_least, (-math.inf, 0.0), _at_least_into, distances=True, passes=3)
    if low is None and high is not None:

        def maps(a: Tensor) -> tuple[Tensor, ...]:
            c = a.clamp_max(high)
            return a - c, high - c

        change = lambda d, rest, upper: -_at_least(-d, -rest, -upper)  # noqa: E731 - a formula as below
        return Elementwise(maps, change, (math.inf, 0.0), distances=True, passes=3)

    lower, upper = -math.inf if low is None else low, math.inf if high is None else high

    def both(a: Tensor) -> tuple[Tensor, ...]:
        c = a.clamp(low, high)
        return a - c, lower - c, upper - c

    limited = lambda d, rest, lower, upper: (d + rest).clamp_(lower, upper)  # noqa: E731
    return Elementwise(both, limited, (0.0, 0.0, 0.0), distances=True, passes=3)


def _at_least(d: Tensor, rest: Tensor, lower: Tensor) -> Tensor:
    total = d + rest
    return torch.maximum(total, lower, out=total)


def _at_least_into(d: Tensor, rest: Tensor, lower: Tensor, target: Tensor) -> None:
    torch.maximum(torch.add(d, rest, out=target), lower, out=target)


def risen(y: Tensor) -> Tensor:
    """Return 1 - e^-y for y that is not negative, as 2 t / (1 + t) with t = tanh(y / 2): expm1 takes thrice as long."""
    t = torch.tanh(0.5 * y)
    return 2 * t / (1 + t)


def _relu(d: Tensor, a: Tensor) -> Tensor:
    return torch.maximum(d + a.clamp_max(0), -a.clamp_min(0))


def _exponential(d: Tensor, a: Tensor) -> Tensor:
    """e^max (1 - e^-|d|) sign d: the larger of both exponents cannot overflow unless the function does."""
    return torch.exp(torch.maximum(a, a + d)) * risen(d.abs()) * d.sign()


def _sigmoid(d: Tensor, a: Tensor) -> Tensor:
    """s(max) s(-min) (1 - e^-|d|) sign d."""
    b = a + d
    both = torch.sigmoid(torch.maximum(a, b)) * torch.sigmoid(-torch.minimum(a, b))
    return both * risen(d.abs()) * d.sign()


def _tanh(d: Tensor, a: Tensor) -> Tensor:
    """Tanh x = 2 s(2 x) - 1."""
    return 2 * _sigmoid(2 * d, 2 * a)


def _silu(d: Tensor, a: Tensor) -> Tensor:
    """Return the change of x s(x), by the product rule."""
    return d * torch.sigmoid(a + d) + a * _sigmoid(d, a)


def softplus_change(d: Tensor, a: Tensor) -> Tensor:
    """Return log(1 + s(min) (e^|d| - 1)) sign d; for large d the changes of max(x, 0) and of log(1 + e^-|x|)."""
    small = d.abs() <= LARGE
    near = torch.where(small, d, 0)
    lower, size = torch.minimum(a, a + near), near.abs()
    close = torch.log1p(torch.sigmoid(lower) * torch.exp(size) * risen(size)) * near.sign()
    far = _relu(d, a) + torch.log1p(torch.exp(-(a + d).abs())) - torch.log1p(torch.exp(-a.abs()))
    return torch.where(small, close, far)


def _thresholded_softplus(d: Tensor, a: Tensor, threshold: float) -> Tensor:
    """Above a threshold torch computes x itself, which is less by r(x) = log(1 + e^-x)."""
    b = a + d
    left, right = torch.where(a > threshold, a, torch.inf), torch.where(b > threshold, b, torch.inf)
    change = softplus_change(d, a) + torch.log1p(torch.exp(-left)) - torch.log1p(torch.exp(-right))
    return torch.where((a > threshold) & (b > threshold), d, change)


def softplus(beta: float = 1, threshold: float = 20) -> Elementwise:
    """Return log(1 + e^(beta x)) / beta."""
    return plain(lambda d, a: _thresholded_softplus(beta * d, beta * a, threshold) / beta)


def _elu(alpha: float = 1, scale: float = 1, input_scale: float = 1) -> Elementwise:
    """Return scale (max(x, 0) + alpha (e^min(input_scale x, 0) - 1))."""

    def change(d: Tensor, a: Tensor) -> Tensor:
        positive = _relu(d, a)
        return scale * (positive + alpha * _exponential(input_scale * (-_relu(-d, -a)), input_scale * a.clamp_max(0)))

    return plain(change)


def _leaky(slope: float = 0.01) -> Elementwise:
    """Return max(x, 0) + slope min(x, 0)."""
    return plain(lambda d, a: _relu(d, a) - slope * _relu(-d, -a), passes=13)


def _prelu(slopes: Any) -> Elementwise | None:
    """Return the same with slopes that may be a tensor, which is kept as a map."""
    if not isinstance(slopes, Tensor):
        return None
    change = lambda d, a, slope: _relu(d, a) - slope * _relu(-d, -a)  # noqa: E731 - a formula as above
    return Elementwise(lambda a: (a, slopes.expand_as(a)), change, passes=13)


def _normal(d: Tensor, a: Tensor) -> Tensor:
    """Change of the normal distribution function.

    Where the density changes little, d times its mean by Gauss-Legendre quadrature. Elsewhere two values on the side of
    its small tail, which differ by much there.
    """
    b = a + d
    few = d.abs() * torch.maximum(a.abs(), b.abs()).clamp_min(1) <= 1
    points, weights = _legendre(NODES)
    mean = sum(w * torch.exp(-0.5 * (a + t * d).square()) for t, w in zip(points, weights, strict=True))
    # Reflected, so that the middle of both is not positive: the larger one of the reflected pair is minus the smaller.
    turned = a + 0.5 * d > 0
    first, second = torch.where(turned, -b, a), torch.where(turned, -a, b)
    distant = torch.special.ndtr(second) - torch.special.ndtr(first)
    return torch.where(few, d * mean * (1 / math.sqrt(2 * math.pi)), distant)


def _legendre(count: int) -> tuple[list[float], list[float]]:
    """Nodes and weights on [0, 1]."""
    import numpy as np

    nodes, weights = np.polynomial.legendre.leggauss(count)
    return ((nodes + 1) / 2).tolist(), (weights / 2).tolist()


def _gelu(approximate: str = "none") -> Elementwise:
    """Return x P(x) by the product rule: P is the normal distribution function, or s(2 k (x + 0.044715 x^3))."""
    if approximate == "none":
        exact = lambda d, a: d * torch.special.ndtr(a + d) + a * _normal(d, a)  # noqa: E731
        return plain(exact, passes=40 * NODES)
    k, c = math.sqrt(2 / math.pi), 0.044715

    def u(x: Tensor) -> Tensor:
        return k * x * (1 + c * x * x)

    def change(d: Tensor, a: Tensor) -> Tensor:
        du = k * d * (1 + c * (3 * a * a + 3 * a * d + d * d))
        return d * torch.sigmoid(2 * u(a + d)) + a * _sigmoid(2 * du, 2 * u(a))

    return plain(change)


def _mish(d: Tensor, a: Tensor) -> Tensor:
    """Return the change of x tanh(softplus(x)), by the product rule."""
    softened = torch.nn.functional.softplus(a)
    tanh = _tanh(softplus_change(d, a), softened)
    return d * torch.tanh(torch.nn.functional.softplus(a + d)) + a * tanh


def _hardsigmoid(d: Tensor, a: Tensor) -> Tensor:
    """clamp(x + 3, 0, 6) / 6, with c = clamp(x, -3, 3)."""
    c = a.clamp(-3, 3)
    return torch.clamp(d + (a - c), -3 - c, 3 - c) / 6


def _hardswish(d: Tensor, a: Tensor) -> Tensor:
    """Return the change of x times the hard sigmoid, by the product rule."""
    return d * torch.nn.functional.hardsigmoid(a + d) + a * _hardsigmoid(d, a)


def _root(d: Tensor, a: Tensor) -> Tensor:
    total = torch.sqrt(a + d) + torch.sqrt(a)
    return torch.where(total == 0, 0, d / total)


def _inverse_root(d: Tensor, a: Tensor) -> Tensor:
    first, second = torch.sqrt(a), torch.sqrt(a + d)
    return -d / (first * second * (first + second))


def _power(exponent: float) -> Elementwise:
    """Return a power: for few exponents d times a sum, else a^p (e^(p log(1 + d / a)) - 1) unless b is far from a."""
    if exponent == -1:
        return plain(lambda d, a: -d / (a * (a + d)))
    if exponent in (0.5, -0.5):
        return plain(_root if exponent > 0 else _inverse_root)
    if exponent in range(1, LARGEST_POWER + 1):
        count = int(exponent)
        return plain(lambda d, a: d * sum((a + d) ** own * a ** (count - 1 - own) for own in range(count)))

    def change(d: Tensor, a: Tensor) -> Tensor:
        logarithm = exponent * torch.log1p(d / a)
        near = logarithm.abs() <= FAR
        return torch.where(near, a**exponent * torch.expm1(logarithm), (a + d) ** exponent - a**exponent)

    return plain(change)


def _hardtanh(low: float = -1, high: float = 1) -> Elementwise:
    return clamp(low, high)


def _limits(low: Any = None, high: Any = None) -> Elementwise | None:
    return None if isinstance(low, Tensor) or isinstance(high, Tensor) else clamp(low, high)


ELEMENTWISE: dict[Any, Callable[..., Elementwise | None]] = {
    aten.relu.default: lambda: clamp(0.0, None),
    aten.hardtanh.default: _hardtanh,
    aten.clamp.default: _limits,
    aten.clamp_min.default: lambda low: _limits(low, None),
    aten.clamp_max.default: lambda high: _limits(None, high),
    aten.leaky_relu.default: _leaky,
    aten._prelu_kernel.default: _prelu,
    aten.elu.default: _elu,
    aten.celu.default: lambda alpha=1: _elu(alpha, 1, 1 / alpha),
    aten.sigmoid.default: lambda: plain(_sigmoid),
    aten.tanh.default: lambda: plain(_tanh),
    aten.silu.default: lambda: plain(_silu),
    aten.gelu.default: lambda approximate="none": _gelu(approximate),
    aten.mish.default: lambda: plain(_mish),
    aten.hardsigmoid.default: lambda: plain(_hardsigmoid, passes=7),
    aten.hardswish.default: lambda: plain(_hardswish, passes=20),
    aten.softplus.default: softplus,
    aten.exp.default: lambda: plain(_exponential),
    aten.expm1.default: lambda: plain(_exponential),
    aten.log.default: lambda: plain(lambda d, a: torch.log1p(d / a)),
    aten.log1p.default: lambda: plain(lambda d, a: torch.log1p(d / (1 + a))),
    aten.sqrt.default: lambda: plain(_root),
    aten.rsqrt.default: lambda: plain(_inverse_root),
    aten.reciprocal.default: lambda: _power(-1),
    aten.pow.Tensor_Scalar: _power,
    aten.abs.default: lambda: plain(lambda d, a: _relu(d, a) + _relu(-d, -a), passes=13),
    aten.sin.default: lambda: plain(lambda d, a: 2 * torch.cos(a + d / 2) * torch.sin(d / 2)),
    aten.cos.default: lambda: plain(lambda d, a: -2 * torch.sin(a + d / 2) * torch.sin(d / 2)),
    aten.erf.default: lambda: plain(lambda d, a: 2 * _normal(math.sqrt(2) * d, math.sqrt(2) * a)),
}
"""From the options of an operation to its entry; None where the options have no formula."""
