"""Tests that run on the CPU and, with the mark `gpu`, on a GPU: only the device is new there."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

CPU = torch.device("cpu")
DEVICES = [pytest.param(CPU, id="cpu"), pytest.param(torch.device("cuda"), id="cuda", marks=pytest.mark.gpu)]
on_devices = pytest.mark.parametrize("device", DEVICES)

EPS32 = torch.finfo(torch.float32).eps
STEP, TARGET = 0.05, 3
ROUNDINGS = 64  # of the outputs by a few layers of float32, as the check of rows takes it


def smooth_network(dtype: torch.dtype = torch.float64, device: torch.device = CPU) -> nn.Sequential:
    """Return a small network without kinks, the same on every device up to rounding of its weights."""
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        layers = [nn.Conv2d(3, 4, 3, padding=1), nn.Tanh(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(36, 5)]
        network = nn.Sequential(*layers)
    return network.eval().requires_grad_(requires_grad=False).to(device=device, dtype=dtype)


def images(rows: int = 2) -> Tensor:
    """Return small images in double precision, whose numbers float16 holds as well."""
    return torch.randn(rows, 3, 6, 6, generator=torch.Generator().manual_seed(1)).half().double()


def rounding(eps: float, step: float = 1.0) -> float:
    """Return how far differences of outputs of size 1 may be off, divided by a step."""
    return ROUNDINGS * eps / step
