import math
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from captum.attr import IntegratedGradients
from torch import nn

from approxgrad import DirectionalDifference, FiniteDifference, attribute
from approxgrad.gradients.directional.bases import RandomCosines
from approxgrad.gradients.evaluating.rows import RowError
from approxgrad.gradients.stencils import SCHEMES
from problems import (
    CURVATURES,
    WEIGHTS,
    RecordingModel,
    exact_gradient,
    linear,
    points,
    quadratic,
    quadratic_gradient,
    softplus_mlp,
    two_inputs,
)

ONE_SIDED = {"forward": 1, "backward": -1, "central": 0}


def directions(features, seed=0):
    return RandomCosines(features, seed, torch.device("cpu")).directions(slice(0, features))


def difference(model, x, step=0.5, scheme="central", *, target=None, **arguments):
    return DirectionalDifference(step, scheme, **arguments)(model, x, target)[0]


# Exactness


@pytest.mark.parametrize("step", [0.01, 1.0, 30.0])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_linear_functions_are_differentiated_exactly(scheme, step):
    found = difference(linear, points(5, 3), step, scheme)
    # Outputs of size 4 are rounded to 2^-52, and divided by the step.
    torch.testing.assert_close(found, WEIGHTS.expand(5, 3), rtol=0, atol=2**-48 * (1 + 1 / step))


@pytest.mark.parametrize("seed", [0, 3])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_quadratic_function_has_the_error_of_the_scheme_along_each_direction(scheme, seed):
    x, step = points(5, 3), 0.25
    rows = directions(3, seed)
    # Along u the second derivative is sum_i 2 a_i u_i^2.
    error = ONE_SIDED[scheme] * step * (rows**2 @ CURVATURES) @ rows
    found = difference(quadratic, x, step, scheme, seed=seed)
    torch.testing.assert_close(found, quadratic_gradient(x) + error, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("scheme", "order"), [("forward", 1), ("backward", 1), ("central", 2)])
def test_the_error_falls_with_the_order_of_the_scheme(scheme, order):
    model, x = softplus_mlp(), points(6, 4)
    exact = exact_gradient(model, x, 1)
    coarse, fine = ((difference(model, x, step, scheme, target=1) - exact).norm() for step in (0.2, 0.02))
    assert 10**order / 1.3 < coarse / fine < 10**order * 1.3


@pytest.mark.parametrize(
    ("dtype", "step", "tolerance"),
    [(torch.float32, 0.1, 4e-7), (torch.float16, 2.0, 2e-3), (torch.bfloat16, 20.0, 2e-2), (torch.float64, 1e-6, 1e-6)],
)
@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_steps_that_the_dtype_makes_are_what_counts(scheme, dtype, step, tolerance):
    """Far from zero, x + h u is rounded by up to a hundredth of the step; the model itself computes in float64."""
    weights = torch.linspace(-1, 2, 30, dtype=torch.float64)
    x = (100 + torch.arange(60.0).reshape(2, 30) / 7).to(dtype)
    found = difference(lambda x: x.double() @ weights, x, step, scheme)
    assert found.dtype == dtype
    torch.testing.assert_close(found.double(), weights.expand(2, 30), rtol=0, atol=tolerance * float(weights.norm()))


def test_a_rounded_function_is_differentiated_to_its_noise_where_steps_along_features_leave_the_data():
    """f = q round(sum_i a_i tanh(x_i) / q): the noise of one evaluation is q / sqrt(12)."""
    quantum, features, step = 0.25, 256, 3.0
    weights = torch.linspace(0.5, 1.5, features, dtype=torch.float64)
    x = torch.from_numpy(np.random.default_rng(0).uniform(-1, 1, (4, features)))

    def model(x):
        return torch.round((torch.tanh(x) @ weights) / quantum) * quantum

    exact = weights * (1 - torch.tanh(x) ** 2)

    def error(source):
        return float(((source(model, x)[0] - exact).norm(dim=1) / exact.norm(dim=1)).mean())

    noise = quantum / math.sqrt(12) / (math.sqrt(2) * step) * math.sqrt(features) / float(exact.norm(dim=1).mean())
    found = error(DirectionalDifference(step))
    assert noise / 1.2 < found < 1.2 * noise
    best = min(error(FiniteDifference(float(own), "central")) for own in np.geomspace(0.1, 10, 13))
    assert found < best / 3


# Models, inputs and targets


def test_several_inputs_of_different_shapes_and_dtypes():
    x, y = points(4, 3), points(4, 2, 2, seed=1).float()
    found = DirectionalDifference(0.5)(two_inputs, (x, y))
    expected = 2 * x + y.double().flatten(1).sum(dim=1, keepdim=True), x.sum(dim=1)[:, None, None].expand(4, 2, 2)
    assert [own.dtype for own in found] == [torch.float64, torch.float32]
    torch.testing.assert_close(found[0], expected[0], rtol=0, atol=1e-6)
    torch.testing.assert_close(found[1], expected[1].float(), rtol=0, atol=1e-6)


def test_targets_and_further_arguments_go_with_their_rows():
    x, factors = points(4, 3), torch.tensor([1.0, 2.0, 3.0, 4.0]).double()

    def model(x, factors, power):
        return factors[:, None] ** power * torch.stack([x[:, 0], x[:, 1], x.sum(dim=1)], dim=1)

    found = DirectionalDifference(0.5, memory_budget=1)(model, x, torch.tensor([0, 1, 2, 2]), (factors, 2))[0]
    expected = torch.tensor([[1.0, 0, 0], [0, 4, 0], [9, 9, 9], [16, 16, 16]]).double()
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_a_step_for_each_feature_scales_what_directions_do():
    x, steps = points(2, 3), torch.tensor([0.001, 1.0, 100.0]).double()
    model = RecordingModel(linear)
    found = difference(model, x, steps, check_rows=False, batch_size=1000)
    torch.testing.assert_close(found, WEIGHTS.expand(2, 3), rtol=0, atol=1e-11)
    made = (model.batches[-1].reshape(2, 3, 2, 3) - x[:, None, None]) / steps
    torch.testing.assert_close(made[:, :, 1], directions(3).expand(2, 3, 3), rtol=0, atol=1e-12)
    torch.testing.assert_close(made[:, :, 0], -made[:, :, 1], rtol=0, atol=1e-12)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("budget", [1, 3000, None])
def test_the_cost_is_that_of_differences_along_features_whatever_the_memory(scheme, budget):
    model, x = RecordingModel(lambda x: (x**3).sum(dim=1)), points(5, 7)
    source = DirectionalDifference(0.5, scheme, memory_budget=budget)
    found = source(model, x)[0]
    assert sum(map(len, model.batches)) == 5 * SCHEMES[scheme].evaluations(7) + source.check_evaluations
    whole = difference(lambda x: (x**3).sum(dim=1), x, 0.5, scheme)
    torch.testing.assert_close(found, whole, rtol=1e-12, atol=1e-12)


def test_a_row_has_the_same_gradient_alone_and_among_others():
    model, x = softplus_mlp(), points(9, 4)
    together = difference(model, x, target=0)
    alone = torch.cat([difference(model, row, target=0) for row in x.split(1)])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-12)


def test_images_in_other_orders_of_memory():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Softplus(), nn.Flatten(), nn.Linear(36, 2)).double().eval()
    x = points(2, 3, 5, 5)
    expected = difference(model, x, target=0)
    found = difference(model, x.to(memory_format=torch.channels_last), target=0)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)


def test_a_model_may_change_what_it_is_given():
    x = points(3, 3)
    before = x.clone()
    found = difference(lambda x: linear(x.mul_(2)), x)
    assert torch.equal(x, before)
    torch.testing.assert_close(found, 2 * WEIGHTS.expand(3, 3), rtol=0, atol=1e-12)


def test_inputs_of_a_single_feature():
    torch.testing.assert_close(difference(lambda x: 3 * x[:, 0], points(4, 1)), torch.full((4, 1), 3.0).double())


def test_captum_takes_it_as_its_gradient():
    model, x = softplus_mlp(), points(3, 4)
    method = IntegratedGradients(model)
    method.gradient_func = source = DirectionalDifference(0.01)
    own = attribute(model, x, target=0, method="integrated_gradients", gradient=source, n_steps=8)
    # captum's weights of the path are float32.
    atol = 4 * torch.finfo(torch.float32).eps * float(own.abs().max())
    torch.testing.assert_close(own, method.attribute(x, target=0, n_steps=8), rtol=0, atol=atol)


# Refusals


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"step": 0.0}, ValueError, "step: expected a positive finite number, got 0.0"),
        ({"step": "path"}, TypeError, "step: expected a positive number"),
        ({"step": 1.0, "scheme": "sideways"}, ValueError, "scheme: got 'sideways'"),
        ({"step": 1.0, "seed": -1}, ValueError, "seed: expected an integer of at least 0, got -1"),
        ({"step": 1.0, "seed": True}, ValueError, "seed: expected an integer of at least 0, got True"),
        ({"step": 1.0, "seed": 0.5}, ValueError, "seed: expected an integer of at least 0, got 0.5"),
    ],
)
def test_arguments_that_are_not_valid(arguments, error, message):
    with pytest.raises(error, match=message):
        DirectionalDifference(**arguments)


def test_features_whose_moves_are_lost_have_a_derivative_of_0_and_leave_the_others_exact():
    x = torch.full((2, 16), 1e4)
    x[1, 5] = 1e6
    source = DirectionalDifference(0.1)
    with pytest.warns(UserWarning, match="step: lost in float32 for 1 of 32 derivatives"):
        found = source(lambda x: x.double().sum(dim=1), x)[0]
    expected = torch.ones(2, 16)
    expected[1, 5] = 0
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    assert source.lost_steps == 1


def test_a_step_that_is_lost_in_every_feature_is_refused_with_one_that_is_not():
    x = torch.full((2, 16), 1e6)
    with pytest.raises(ValueError, match=r"step: 0\.01 is lost in float32, x \+ h u is x for every feature") as error:
        difference(lambda x: x.double().sum(dim=1), x, 0.01)
    step = float(str(error.value).rpartition(" ")[2])
    found = difference(lambda x: x.double().sum(dim=1), x, 1.1 * step)
    torch.testing.assert_close(found, torch.ones(2, 16), rtol=0, atol=1e-6)


def test_moves_beyond_the_range_of_the_dtype_are_refused():
    with pytest.raises(ValueError, match=r"moves feature 0 of input 0 out of the range of torch\.float16"):
        difference(lambda x: x.double().sum(dim=1), torch.full((1, 4), 6e4, dtype=torch.float16), 3e4)


def test_outputs_that_are_not_finite_are_refused_with_their_place():
    def model(x):
        return torch.where(x.sum(dim=1) > 0, torch.nan, x.sum(dim=1))

    with pytest.raises(ValueError, match=r"model: output is nan for input 1 shifted by [+-]1 step along direction \d"):
        difference(model, torch.tensor([[-9.0, -9.0], [-0.01, -0.01]]), 1.0)


def test_rows_that_see_each_other_are_refused():
    with pytest.raises(RowError):
        difference(lambda x: (x - x.mean(dim=0)).sum(dim=1), points(4, 3))


# A quantised network


SHARED = Path(os.environ.get("APPROXGRAD_SHARED") or Path(__file__).resolve().parents[5] / "shared")


@pytest.mark.slow
def test_a_static_int8_network_is_explained_as_well_as_was_measured(tmp_path):
    from quantised_cnn import exact_saliency, quantised

    if not (SHARED / "models" / "cifar10_cnn.safetensors").exists():
        pytest.skip("needs the trained CNN and the images of the shared folder")
    network, model, images, labels = quantised(SHARED, tmp_path)
    exact = exact_saliency(network, images, labels).flatten(1)
    source = DirectionalDifference(3.0)
    found = attribute(model, images, target=labels, gradient=source).flatten(1)
    pearson = [float(torch.corrcoef(torch.stack(pair))[0, 1]) for pair in zip(found, exact, strict=True)]
    relative = (found - exact).norm(dim=1) / exact.norm(dim=1)
    assert np.median(pearson) >= 0.82
    assert float(relative.median()) <= 0.40
