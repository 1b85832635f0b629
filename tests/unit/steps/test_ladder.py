import numpy as np
import pytest
import torch

from approxgrad.gradients.stencils import stencil
from approxgrad.steps.ladder import Ladder, most_ladder_evaluations
from approxgrad.steps.probing import Probe

QUANTUM = 0.02
NOISE = QUANTUM / np.sqrt(12)
WEIGHTS = torch.linspace(0.5, 1.5, 6, dtype=torch.float64)


def ladder(function, points, scheme, nodes=1, noise=NOISE):
    probe = Probe(lambda x: torch.round(function(x) / QUANTUM) * QUANTUM, points, None, 1000)
    inputs = len(points) // nodes
    found = Ladder(probe, stencil(scheme), inputs, nodes, nodes, noise, 1.0, np.random.default_rng(0))
    assert probe.evaluations <= most_ladder_evaluations()
    return found


def clipped(x):
    return x.clamp(0, 1) @ WEIGHTS


def normal(*shape, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape))


SLOPE = float(WEIGHTS.square().mean().sqrt())


@pytest.mark.parametrize(("scheme", "loss"), [("forward", 0.0), ("central", 0.5), ("backward", 1.0)])
def test_features_at_the_end_of_their_range_lose_what_the_scheme_takes_from_outside(scheme, loss):
    found = ladder(clipped, torch.zeros(40, 6, dtype=torch.float64), scheme)
    assert found.clips
    step = 0.5
    rounding = NOISE / step * (0.5**0.5 if scheme == "central" else 2**0.5)
    assert found.error(step) == pytest.approx(np.hypot(loss * SLOPE, rounding), rel=0.15)


@pytest.mark.parametrize("scheme", ["forward", "central"])
def test_a_step_out_of_the_range_on_both_sides_is_seen_to_be_too_large(scheme):
    # The two one-sided differences agree at every step, and are too small from 0.5 on.
    found = ladder(clipped, 0.5 + normal(40, 6) / 50, scheme)
    assert not found.clips
    assert 0.25 <= found.best() <= 0.75
    assert found.error(2.0) > 0.4 * SLOPE
    assert found.error(8.0) > 0.6 * SLOPE


@pytest.mark.parametrize("scheme", ["forward", "backward", "central"])
@pytest.mark.parametrize("step", [0.05, 0.2, 1.0])
def test_the_error_of_a_smooth_function_is_predicted(scheme, step):
    x = normal(60, 6)
    found = ladder(lambda x: torch.sin(x).sum(dim=1), x, scheme)
    shifts = {"forward": (0, 1), "backward": (-1, 0), "central": (-1, 1)}[scheme]
    low, high = (torch.sin(x + shift * step) for shift in shifts)
    truncation = float(((high - low) / (shifts[1] - shifts[0]) / step - torch.cos(x)).square().mean().sqrt())
    rounding = NOISE / step * (0.5**0.5 if scheme == "central" else 2**0.5)
    assert found.error(step) == pytest.approx(np.hypot(truncation, rounding), rel=0.3)


def test_what_all_points_of_a_path_have_in_common_does_not_average_out():
    points = torch.cat([share * normal(64, 6) for share in np.arange(1, 9) / 8])
    found = ladder(lambda x: 2 * (x**2).sum(dim=1), points, "forward", nodes=8)
    assert found.error(0.5) == pytest.approx(1.0, rel=0.1)


def kinks(x):
    """Absolute values with kinks of random sizes at 0.01, 0.02 ... of each feature."""
    sizes = torch.from_numpy(np.random.default_rng(4).normal(size=200))
    return ((x[:, :, None] - torch.arange(200) / 100).abs() * sizes).sum(dim=(1, 2))


@pytest.mark.parametrize("scheme", ["forward", "central"])
@pytest.mark.parametrize("nodes", [1, 8])
def test_the_error_of_kinks_is_predicted_and_averages_over_a_path(scheme, nodes):
    ends = torch.from_numpy(np.random.default_rng(1).uniform(0.5, 1.5, (64, 6)))
    shares = (torch.arange(nodes, dtype=torch.float64) + 0.5) / nodes
    points = torch.cat([share * ends + 0.1 for share in shares])
    found = ladder(kinks, points, scheme, nodes)
    step = 0.08
    axes = torch.eye(6, dtype=torch.float64) * step
    shifts = (0, 1) if scheme == "forward" else (-1, 1)
    errors = []
    for axis in axes:
        low, high = (kinks(points + shift * axis) for shift in shifts)
        where = points.clone().requires_grad_()
        exact = torch.autograd.grad(kinks(where).sum(), where)[0][:, axis > 0][:, 0]
        errors.append(((high - low) / (shifts[1] - shifts[0]) / step - exact).reshape(nodes, -1).mean(dim=0))
    real = float(torch.stack(errors).square().mean().sqrt())
    assert found.error(step) == pytest.approx(real, rel=0.3)


def test_noise_that_is_larger_than_the_stairs_is_noticed():
    # In two roundings, of which only one was measured.
    def function(x):
        return torch.round((x @ WEIGHTS + 0.3 * QUANTUM) / (2 * QUANTUM)) * 2 * QUANTUM + x @ WEIGHTS

    found = ladder(function, normal(60, 6), "forward")
    step = 1.0
    twice = np.hypot(2 * NOISE, NOISE)
    assert found.error(step) == pytest.approx(twice / step * 2**0.5, rel=0.3)


def test_steps_end_where_the_function_does():
    points = 2 + normal(40, 6).abs()
    found = ladder(lambda x: torch.where(x > -0.5, x, torch.nan).sum(dim=1), points, "central")
    assert found.largest == 2.0
    assert found.best() <= 2.0
