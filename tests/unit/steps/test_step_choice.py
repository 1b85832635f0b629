import dataclasses
import math

import numpy as np
import pytest
import torch
from torch import nn

import approxgrad
from approxgrad import FiniteDifference, attribute, choose_step
from approxgrad.steps import search
from approxgrad.steps.choice import smooth_step
from approxgrad.steps.kinks import Kinks
from approxgrad.steps.noise import measured_noise, noise_level, spacings
from approxgrad.steps.search import Search, most_evaluations
from problems import RecordingModel, linear, numpy_model, points, softplus_mlp

FLOATS = [torch.float32, torch.float64]
GRID = 1e-6
# Rounding to a grid is uniform noise of this standard deviation.
GRID_NOISE = GRID / math.sqrt(12)


def on_grid(function):
    """Sum of a function over the features, rounded to multiples of GRID."""
    return lambda x: torch.round(function(x).sum(dim=1) / GRID) * GRID


def uniform(*shape, dtype=torch.float64):
    """Return numbers in (0.1, 1.5), where cos and exp and their derivatives are of size one."""
    return torch.tensor(np.random.default_rng(0).uniform(0.1, 1.5, shape), dtype=dtype)


def relu_mlp(features=6, width=64):
    """Two hidden layers of rectifiers and three outputs, in float64."""
    layers = [nn.Linear(features, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 3)]
    model = nn.Sequential(*layers).double()
    generator = np.random.default_rng(2)
    with torch.no_grad():
        for parameter in model.parameters():
            scale = parameter[0].numel() ** -0.5 if parameter.ndim > 1 else 0.5
            parameter.copy_(torch.from_numpy(generator.normal(size=parameter.shape) * scale))
    return model


def normal(*shape, dtype=torch.float64):
    return torch.tensor(np.random.default_rng(3).normal(size=shape), dtype=dtype)


# Noise


@pytest.mark.parametrize("function", [np.cos, np.exp, np.square, np.ones_like])
@pytest.mark.parametrize("level", [1e-9, 1e-5])
def test_the_noise_on_a_smooth_function_is_found(function, level):
    x = np.linspace(0.4, 0.4 + 1e-4, 9)
    for seed in range(20):
        noise = level * np.random.default_rng(seed).normal(size=9)
        assert level / 4 < noise_level(function(x) + noise) < 4 * level


def test_what_no_orders_agree_on_is_the_least_estimate():
    assert noise_level(np.arange(9.0) ** 2) == 0  # from the third order on
    assert noise_level(np.full(9, 3.0)) == 0


def test_lines_are_lengthened_until_values_differ():
    def lines(shifts):
        return np.round(np.cos(np.array([0.3, 0.7, 1.1])[:, None] + np.array(shifts)) / GRID) * GRID

    assert GRID_NOISE / 4 < measured_noise(lines, 2e-16, 1.0) < 4 * GRID_NOISE
    assert measured_noise(lambda shifts: np.zeros((3, len(shifts))), 2e-16, 1.0) == 0
    # A function without noise has at least the rounding of its values.
    assert measured_noise(lambda shifts: 7 + np.zeros((3, len(shifts))), 1e-6, 1.0) == pytest.approx(7e-7)
    assert spacings(1e-16, 2.0)[-1] <= 2e-3 < 1000 * spacings(1e-16, 2.0)[-1]


@pytest.mark.parametrize("function", [torch.cos, torch.exp])
def test_the_rounding_of_shifted_inputs_counts_as_noise(function):
    # The model computes in float64, so the only noise is that of x + h in float32: its spacing is 2^-24 to 2^-23 for x
    # between 0.5 and 1.5, times a slope of 0.5 to 4.5, over sqrt(12).
    x = uniform(30, 3, dtype=torch.float32) * 0.7 + 0.5
    noise = choose_step(lambda x: function(x.double()).sum(dim=1), x).noise
    assert 0.5 * 2**-24 / math.sqrt(12) / 4 < noise < 4.5 * 2**-23 / math.sqrt(12) * 4


# The step for smooth functions


@pytest.mark.parametrize(
    ("function", "second", "third"),
    [
        (torch.cos, lambda x: -torch.cos(x), torch.sin),
        (torch.exp, torch.exp, torch.exp),
        (lambda x: x**3, lambda x: 6 * x, lambda x: torch.full_like(x, 6.0)),
    ],
)
@pytest.mark.parametrize("scheme", ["forward", "backward", "central"])
def test_the_step_is_that_of_the_closed_form(scheme, function, second, third):
    x = uniform(40, 3)
    choice = choose_step(on_grid(function), x, scheme=scheme)
    order = 2 if scheme == "central" else 1
    curvature = float((third if order == 2 else second)(x).square().mean().sqrt())
    assert choice.regime == "smooth"
    assert GRID_NOISE / 4 < choice.noise < 4 * GRID_NOISE
    assert curvature / 2 < choice.curvature < 2 * curvature
    expected = 8**0.25 * math.sqrt(GRID_NOISE / curvature) if order == 1 else (3 * GRID_NOISE / curvature) ** (1 / 3)
    assert expected / 2 < choice.step < 2 * expected


def test_the_closed_form_minimises_the_error():
    steps = np.geomspace(1e-6, 1e-1, 4001)
    for order, error in [
        (1, 2 * 1e-14 / steps**2 + (3 * steps / 2) ** 2),
        (2, 1e-14 / (2 * steps**2) + (3 * steps**2 / 6) ** 2),
    ]:
        assert smooth_step(1e-7, 3, order) == pytest.approx(steps[error.argmin()], rel=0.005)


@pytest.mark.filterwarnings("ignore:step. lost")
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("scheme", ["forward", "backward", "central"])
def test_the_error_of_a_smooth_network_is_near_the_best_of_all_steps(scheme, dtype):
    model, x, target = softplus_mlp(), normal(40, 4), [0, 1, 2, 1] * 10
    choice = choose_step(model.to(dtype), x.to(dtype), target, scheme)
    assert choice.regime == "smooth"
    errors = gradient_errors(model, x, target, scheme, dtype, [*grid(), choice.step])
    assert errors[-1] < 2 * errors[:-1].min()


@pytest.mark.parametrize("scheme", ["forward", "backward", "central"])
def test_the_error_is_predicted(scheme):
    # Features are alike, so the prediction is the root mean square error over rows and features.
    model, x = on_grid(torch.exp), uniform(400, 3)
    choice = choose_step(model, x, scheme=scheme)
    error = FiniteDifference(choice.step, scheme)(model, x)[0] - torch.exp(x)
    assert choice.error == pytest.approx(float(error.square().mean().sqrt()), rel=0.5)


# The step for piecewise linear functions


@pytest.mark.filterwarnings("ignore:step. lost")
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("scheme", ["forward", "backward", "central"])
def test_the_error_of_a_network_of_rectifiers_is_near_the_best_of_all_steps(scheme, dtype):
    model, x, target = relu_mlp(), normal(60, 6), [0, 1, 2] * 20
    choice = choose_step(model.to(dtype), x.to(dtype), target, scheme)
    assert choice.regime == "kinks"
    errors = gradient_errors(model, x, target, scheme, dtype, [*grid(), choice.step])
    assert errors[-1] < 2 * errors[:-1].min()


def path_errors(model, x, scheme, steps, points):
    """Return the median over the rows of the relative error of Integrated Gradients, for every step."""
    path = {"target": 0, "method": "integrated_gradients", "baselines": 0.0, "n_steps": points}
    exact = attribute(model, x, gradient="exact", **path)
    found = [attribute(model, x, gradient=FiniteDifference(step, scheme), **path) for step in steps]
    return np.array([float(((one - exact).norm(dim=1) / exact.norm(dim=1)).median()) for one in found])


@pytest.mark.parametrize("scheme", ["forward", "central"])
@pytest.mark.parametrize(
    ("countable", "loss"),
    [
        (2**16, 2),  # every pair is counted
        (20 * 10 * 6, 4),  # 20 of 60 inputs: a factor of 1.9 on purpose, and a median that is good to two
        (0, 7),  # none: a factor of 3.1 on purpose, and an estimate that is good to a factor of two
    ],
)
def test_the_step_of_a_path_stays_before_the_kinks_of_the_median_input(monkeypatch, scheme, countable, loss):
    monkeypatch.setattr(search, "COUNTABLE", countable)
    model, x = relu_mlp(), normal(60, 6)
    choice = choose_step(model, x, 0, scheme, baselines=0.0, n_steps=10)
    assert choice.evaluations <= most_evaluations(torch.float64, scheme, 6, 60 * 10)
    errors = path_errors(model, x, scheme, [*np.geomspace(1e-6, 1e-1, 21), choice.step], 10)
    assert errors[-1] < loss * errors[:-1].min()


@pytest.mark.parametrize(("distance", "is_counted"), [(1e-4, True), (1e-18, False)])
def test_pairs_are_counted_only_if_the_step_is_to_stay_before_the_first_kink(monkeypatch, distance, is_counted):
    # Rounding of about 1e-16 / h is more than any kink at the smaller one of these distances.
    asked = []
    monkeypatch.setattr(Search, "kinks", lambda *_: Kinks(np.array([1.0, 2.0]) * distance, np.array([0.5, 1.0])))
    monkeypatch.setattr(Search, "counted_kinks", lambda _, first: asked.append(first))
    choose_step(relu_mlp(), normal(60, 6), 0)
    assert asked == pytest.approx([2 * distance * math.log(2)] if is_counted else [])


def test_a_path_with_more_points_needs_a_smaller_step_before_kinks():
    model, x = relu_mlp(), normal(60, 6)
    steps = [choose_step(model, x, 0).step]
    steps += [choose_step(model, x, 0, baselines=0.0, n_steps=count).step for count in (10, 100)]
    assert steps[0] > 3 * steps[1] > 9 * steps[2]


def test_noise_averages_over_the_path_of_a_smooth_model():
    model, x = on_grid(torch.exp), uniform(60, 3)
    one, many = (choose_step(model, x, baselines=0.0, n_steps=count) for count in (1, 16))
    assert many.noise == pytest.approx(one.noise, rel=0.5)
    # 16^(1/4), at points whose curvature differs: exp((a + 1.5) / 2) is between 2 and 4.
    assert many.step == pytest.approx(one.step / 2, rel=0.2)


def test_points_lie_on_the_paths():
    model = RecordingModel(lambda x: torch.exp(x).sum(dim=1))
    x = torch.tensor([[2.0, 1.0]], dtype=torch.float64)
    choose_step(model, x, baselines=torch.tensor([[1.0, 3.0]], dtype=torch.float64))
    look = 1 + 1 + 4 + 4
    first = torch.cat(model.batches)[look:][::9][:6]  # where the lines of the noise begin
    share = first[:, 0] - 1
    assert ((share >= 0) & (share <= 1)).all()
    torch.testing.assert_close(first[:, 1], 3 - 2 * share)
    assert len(share.unique()) == 6


def gradient_errors(model, x, target, scheme, dtype, steps):
    """Return the median over the rows of the relative error of the gradient, for every step."""
    x = x.to(dtype).double().requires_grad_()  # differentiated at the rounded inputs
    model = model.double()
    exact = torch.autograd.grad(model(x)[range(len(x)), target].sum(), x)[0]
    x, model = x.detach().to(dtype), model.to(dtype)
    errors = []
    for step in steps:
        found = FiniteDifference(step, scheme)(model, x, target)[0].double()
        errors.append(float(((found - exact).norm(dim=1) / exact.norm(dim=1)).median()))
    return np.array(errors)


def grid():
    return np.geomspace(1e-9, 1, 37)


# Functions without curvature


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("scheme", ["forward", "central"])
@pytest.mark.parametrize("model", [linear, lambda x: torch.full_like(x[:, 0], 7.0), lambda x: 0 * x[:, 0]])
def test_a_linear_function_takes_a_step_of_the_size_of_the_inputs(model, scheme, dtype):
    x = normal(50, 3, dtype=dtype)
    choice = choose_step(model, x, scheme=scheme)
    assert (choice.regime, choice.curvature, choice.kink_distance) == ("linear", None, None)
    assert choice.step == pytest.approx(float(x.square().mean().sqrt()), rel=0.2)


def test_inputs_of_zero_are_taken_to_have_size_one():
    assert choose_step(linear, torch.zeros(4, 3)).step == 1


def test_a_quadratic_function_has_no_error_for_the_central_scheme():
    model, x = on_grid(lambda x: x**2), uniform(40, 3)
    assert choose_step(model, x, scheme="central").regime == "linear"
    assert choose_step(model, x, scheme="forward").curvature == pytest.approx(2, rel=0.2)


# What is evaluated


@pytest.mark.parametrize("scheme", ["forward", "central"])
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("model", [softplus_mlp(), relu_mlp(4)])
def test_evaluations_are_counted_and_bounded(model, dtype, scheme):
    recorded = RecordingModel(model.to(dtype))
    choice = choose_step(recorded, normal(20, 4, dtype=dtype), 1, scheme, batch_size=37)
    sizes = [len(batch) for batch in recorded.batches]
    assert choice.evaluations == sum(sizes) <= most_evaluations(dtype, scheme, features=4)
    assert max(sizes) <= 37


def test_the_same_seed_gives_the_same_choice():
    model, x = relu_mlp(), normal(100, 6)
    assert choose_step(model, x, 1) == choose_step(model, x, 1)
    assert choose_step(model, x, 1) != choose_step(model, x, 1, seed=1)


def test_the_choice_does_not_depend_on_the_batch_size():
    def model(x):  # the same operations for every row, whatever the batch
        return torch.relu(3 * x - 1)[:, 0] + torch.sin(5 * x[:, 1])

    x = normal(30, 2)
    assert choose_step(model, x, batch_size=7) == choose_step(model, x, batch_size=1000)


@pytest.mark.parametrize("model", [softplus_mlp(4), relu_mlp(4)])
@pytest.mark.parametrize("factor", [2.0**10, 1000.0])
def test_the_step_does_not_depend_on_the_unit_of_the_output(model, factor):
    model, x = model.double(), normal(30, 4)
    one = choose_step(model, x, 1)
    scaled = choose_step(lambda x: factor * model(x), x, 1)
    if factor == 1024:  # exact, so the same differences in other units
        assert scaled.step == one.step
    assert scaled.step == pytest.approx(one.step, rel=0.3)  # 1,000 rounds anew
    assert scaled.noise == pytest.approx(factor * one.noise, rel=0.5)


def test_the_step_has_the_unit_of_the_inputs():
    model, x = softplus_mlp(4).double(), normal(30, 4)
    assert choose_step(lambda y: model(1024 * y), x / 1024, 1).step == pytest.approx(
        choose_step(model, x, 1).step / 1024, rel=0.1
    )


@pytest.mark.parametrize("target", [1, [1] * 30, torch.ones(30, dtype=torch.long), (1,), [(1,)] * 30])
def test_targets_come_in_every_form(target):
    model, x = softplus_mlp(), normal(30, 4)
    assert choose_step(model, x, target) == choose_step(model, x, 1)


def test_each_row_has_its_own_target():
    # Only the rows of target 0 bend, so only they give curvature.
    def model(x):
        return torch.stack([torch.exp(x).sum(dim=1), linear(x)], dim=1)

    x = uniform(60, 3)
    half = choose_step(model, x, [0, 1] * 30).curvature
    assert half == pytest.approx(choose_step(model, x, 0).curvature / math.sqrt(2), rel=0.3)


def test_any_callable_will_do():
    choice = choose_step(numpy_model, points(20, 3), 0)
    assert choice.regime == "smooth"
    assert choice.curvature == pytest.approx(2, rel=0.1)


def test_images_are_inputs():
    model = nn.Sequential(nn.Conv2d(2, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(16, 3)).eval()
    choice = choose_step(model, normal(10, 2, 4, 4, dtype=torch.float32), [0, 1] * 5)
    assert choice.regime == "smooth"
    assert 1e-4 < choice.step < 1e-1


def test_inputs_stay_as_they_are():
    x = normal(5, 4).requires_grad_()
    before = x.detach().clone()
    choose_step(softplus_mlp(), x, 1)
    assert torch.equal(x.detach(), before)
    assert x.grad is None


def test_the_choice_is_a_frozen_record_of_the_package():
    assert {"choose_step", "StepChoice"} <= set(approxgrad.__all__)
    choice = approxgrad.choose_step(linear, normal(5, 3))
    assert isinstance(choice, approxgrad.StepChoice)
    with pytest.raises(dataclasses.FrozenInstanceError):
        choice.step = 1
    assert choice.step == float(f"{choice.step:.2g}")


# What is refused


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"inputs": torch.ones(3, 4, dtype=torch.int64)}, TypeError, "inputs: expected floating-point"),
        ({"inputs": torch.full((3, 4), math.nan)}, ValueError, "inputs: row 0 holds NaN"),
        ({"scheme": "sideways"}, ValueError, "scheme: got 'sideways'"),
        ({"target": 5}, ValueError, "target: .* out of range"),
        ({"target": None}, ValueError, "target: .* a target is needed"),
        ({"seed": 0.5}, TypeError, "seed: expected an integer, got 0.5"),
        ({"seed": -1}, ValueError, "seed: expected an integer of at least 0"),
        ({"n_steps": 0}, ValueError, "n_steps: expected an integer of at least 1"),
        ({"batch_size": 0}, ValueError, "batch_size: expected a positive integer"),
        ({"baselines": "zero"}, TypeError, "baselines: expected a number or a tensor"),
        ({"baselines": math.inf}, ValueError, "baselines: expected finite values"),
        ({"baselines": torch.zeros(7)}, ValueError, "baselines: shape .* does not broadcast"),
        ({"model": nn.Sequential(nn.Linear(4, 3), nn.Dropout())}, ValueError, "Dropout.* is in training mode"),
        ({"model": lambda x: torch.log(x)}, ValueError, "model: output is nan near an input"),
    ],
)
def test_mistakes_are_named(arguments, error, message):
    defaults = {"model": softplus_mlp(), "inputs": normal(5, 4), "target": 1}
    with pytest.raises(error, match=message):
        choose_step(**{**defaults, **arguments})
