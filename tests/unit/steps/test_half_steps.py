"""Steps that are chosen for models of 16 bits, whose noise is large beside everything that `auto` looks at."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from approxgrad import FiniteDifference, attribute, choose_step
from approxgrad.steps.noise import FEW, SHORTEST, SPACING, spacings

ROWS = 20


def network(activation):
    torch.manual_seed(1)
    layers = [nn.Linear(12, 64), activation, nn.Linear(64, 64), activation, nn.Linear(64, 3)]
    return nn.Sequential(*layers), torch.randn(ROWS, 12), torch.zeros(ROWS, dtype=torch.long)


def real_noise(model, rows, step=0.1):
    """Return the noise of outputs, from differences along features against the same model in double precision."""
    exact, errors = copy.deepcopy(model).double(), []
    for row in rows:
        moved = row.repeat(12, 1).double()
        moved = (moved + step * torch.eye(12, dtype=torch.float64)).to(row.dtype)
        with torch.no_grad():
            both = torch.cat([moved, row[None]])
            error = (model(both).double() - exact(both.double()))[:, 0]
        errors.append(error[:-1] - error[-1])
    return float(torch.cat(errors).std()) / np.sqrt(2)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("activation", [nn.Softplus(), nn.ReLU()], ids=["softplus", "relu"])
def test_the_noise_is_that_of_the_precision_and_not_of_bends_or_kinks(activation, dtype):
    model, rows, target = network(activation)
    model, rows = model.to(dtype), rows.to(dtype)
    noise = [choose_step(model, rows, target, seed=seed).noise for seed in range(5)]
    # Three lines are few: the median of several choices is within a factor of 1.5.
    assert np.median(noise) == pytest.approx(real_noise(model, rows), rel=0.5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("scheme", ["forward", "central"])
@pytest.mark.parametrize("activation", [nn.Softplus(), nn.ReLU()], ids=["softplus", "relu"])
def test_the_error_at_the_chosen_step_is_near_the_smallest(activation, scheme, dtype):
    model, rows, target = network(activation)
    model, rows = model.to(dtype), rows.to(dtype)
    exact = attribute(copy.deepcopy(model).double(), rows.double(), target=target, signed=True)

    def error(step):
        found = attribute(model, rows, target=target, signed=True, gradient=FiniteDifference(step, scheme))
        return float(((found.double() - exact).norm(dim=1) / exact.norm(dim=1)).median())

    size = float(rows.double().square().mean().sqrt())
    # Steps beyond the size of the inputs are not chosen: the model was not made for what they ask it.
    grid = [step for step in 10.0 ** (np.arange(-6, 1) / 4) if step <= size]
    chosen = choose_step(model, rows, target, scheme=scheme)
    # Forward differences of rectifiers have no step at which both kinks and noise are far: there it is a little more.
    limit = 2.5 if scheme == "forward" and isinstance(activation, nn.ReLU) else 2
    assert error(chosen.step) <= limit * min(map(error, grid))


def test_lines_are_short_in_16_bits_and_what_they_were_in_others():
    for dtype in (torch.float32, torch.float64):
        eps = torch.finfo(dtype).eps
        assert spacings(eps, 2.0)[0] == SPACING * eps * 2
    assert spacings(torch.finfo(torch.float16).eps, 1.0) == [SHORTEST]
    assert spacings(torch.finfo(torch.bfloat16).eps, 1.0) == [FEW * 2**-7]
