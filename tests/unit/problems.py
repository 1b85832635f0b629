"""Models with known derivatives and the bounds on rounding that the unit tests share.

Inputs come from :func:`points`. Their values, and the weights of the polynomial models, are multiples of 1/16, so
polynomials of degree two are evaluated without any rounding in float32 and float64, and tests may ask for equality.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

WEIGHTS = torch.tensor([1.5, -2.0, 0.5], dtype=torch.float64)
CURVATURES = torch.tensor([0.5, 1.0, -2.0], dtype=torch.float64)


def points(*shape: int, dtype: torch.dtype = torch.float64, seed: int = 0) -> Tensor:
    """Return multiples of 1/16 in (-2, 2) without zeros."""
    generator = np.random.default_rng(seed)
    values = generator.integers(1, 32, shape) * generator.choice([-1, 1], shape) / 16
    return torch.tensor(values, dtype=dtype)


def linear(x: Tensor) -> Tensor:
    """f(x) = sum_i w_i x_i, with gradient w."""
    return (x * WEIGHTS.to(x)).sum(dim=1)


def quadratic(x: Tensor) -> Tensor:
    """f(x) = sum_i a_i x_i^2 + w_i x_i.

    Gradient 2 a x + w; forward difference 2 a x + w + a h, backward 2 a x + w - a h, central 2 a x + w;
    Integrated Gradients from b: a (x^2 - b^2) + w (x - b).
    """
    return (CURVATURES.to(x) * x**2).sum(dim=1) + linear(x)


def quadratic_gradient(x: Tensor) -> Tensor:
    """Return 2 a x + w."""
    return 2 * CURVATURES.to(x) * x + WEIGHTS.to(x)


def relu_kink(x: Tensor) -> Tensor:
    """f(x) = sum_i max(x_i, 0): derivative 0 or 1, forward difference (x_i + h) / h for -h < x_i < 0."""
    return x.clamp(min=0).sum(dim=1)


def two_inputs(x: Tensor, y: Tensor) -> Tensor:
    """f(x, y) = sum_i x_i^2 + sum_i x_i * sum_j y_j: gradients 2 x + sum_j y_j and sum_i x_i."""
    return (x**2).sum(dim=1) + x.sum(dim=1) * y.flatten(1).sum(dim=1)


def numpy_model(x: Tensor) -> np.ndarray:
    """Two outputs as a numpy array: sum_i x_i^2 and 3 sum_i x_i; autograd sees nothing of it."""
    values = x.detach().numpy()
    return np.stack([(values**2).sum(axis=1), 3 * values.sum(axis=1)], axis=1)


def softplus_mlp(features: int = 4, outputs: int = 3) -> nn.Sequential:
    """f(x) = V softplus(W x + c) + e in float64 with 16 hidden units: smooth, all derivatives bounded."""
    return _seeded(nn.Sequential(nn.Linear(features, 16), nn.Softplus(), nn.Linear(16, outputs)).double())


def softplus_third_derivative(model: nn.Sequential) -> float:
    """Return a bound of the third derivatives along a feature: sum_j |V_j W_ji^3| max|softplus'''|, which is 0.0963."""
    inner, outer = model[0].weight.detach(), model[2].weight.detach()
    return 0.0963 * float((outer.abs() @ inner.abs() ** 3).max())


def small_cnn(dtype: torch.dtype = torch.float64) -> nn.Sequential:
    """Convolution, batch normalisation and dropout in eval mode: inputs (N, 2, 4, 4), three outputs."""
    layers = [nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Softplus(), nn.Dropout(0.5), nn.Flatten()]
    return _seeded(nn.Sequential(*layers, nn.Linear(64, 3))).to(dtype).eval()


def _seeded(model: nn.Sequential) -> nn.Sequential:
    generator = np.random.default_rng(1)
    with torch.no_grad():
        for parameter in model.parameters():
            scale = parameter[0].numel() ** -0.5 if parameter.ndim > 1 else 1
            parameter.copy_(torch.from_numpy(generator.normal(size=parameter.shape) * scale))
    return model


class RecordingModel:
    """A callable that stores every batch it is given, then calls the model."""

    def __init__(self, model) -> None:
        self.model = model
        self.batches: list[Tensor] = []

    def __call__(self, x: Tensor) -> Tensor:
        self.batches.append(x.clone())
        return self.model(x)

    @property
    def rows(self) -> list[tuple[float, ...]]:
        """All evaluated points, flattened and sorted."""
        return sorted(tuple(row) for batch in self.batches for row in batch.flatten(1).tolist())


def difference_rounding(scale: float, step: float, dtype: torch.dtype = torch.float64) -> float:
    """Bound the rounding error of a difference quotient.

    A sum of n terms is off by at most n eps / 2 times the sum of their absolute values, here `scale`, and none of these
    models adds up more than n = 64 of them. Two outputs are subtracted and divided: 2 * 64 * eps / 2 * scale / step.
    """
    return 64 * torch.finfo(dtype).eps * scale / step


def magnitude(model, x: Tensor) -> float:
    """Bound the absolute terms that the outputs add up to, at x and at points not far from it (a factor of two)."""
    if isinstance(model, nn.Sequential):
        with torch.no_grad():
            return 2 * float((model[:-1](x).abs() @ model[-1].weight.abs().T + model[-1].bias.abs()).max())
    return 2 * float((CURVATURES.abs() * x**2 + WEIGHTS.abs() * x.abs()).sum(dim=1).max())


def exact_gradient(model, x: Tensor, target: list[int]) -> Tensor:
    """Return the gradient of one output per row by autograd."""
    x = x.detach().clone().requires_grad_()
    outputs = model(x)
    return torch.autograd.grad(outputs[range(len(x)), target].sum(), x)[0]
