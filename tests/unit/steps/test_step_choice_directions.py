"""Steps along orthonormal directions, which move all features at once."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from approxgrad import DirectionalDifference, FiniteDifference, attribute, choose_step
from approxgrad.steps.search import most_evaluations

SHARED = Path(os.environ.get("APPROXGRAD_SHARED") or Path(__file__).resolve().parents[4] / "shared")
FEATURES = 64
WEIGHTS = torch.linspace(0.5, 1.5, FEATURES, dtype=torch.float64)
ROWS = torch.from_numpy(np.random.default_rng(0).uniform(-1, 1, (20, FEATURES)))
SCHEMES = ["forward", "backward", "central"]


def waves(x):
    """f(x) = sum_i a_i sin(x_i), with gradient a_i cos(x_i)."""
    return torch.sin(x.double()) @ WEIGHTS


def rectifiers():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(FEATURES, 64), nn.ReLU(), nn.Linear(64, 1), nn.Flatten(0)).eval()


def gradient(model, rows, step, scheme):
    return attribute(model, rows, method="gradient", gradient=DirectionalDifference(step, scheme, seed=7)).double()


def errors(model, rows, exact, steps, scheme):
    """Median relative error, and root mean square error, at some steps."""
    found = [gradient(model, rows, float(step), scheme) - exact for step in steps]
    relative = [float((own.norm(dim=1) / exact.norm(dim=1)).median()) for own in found]
    return np.array(relative), np.array([float(own.square().mean().sqrt()) for own in found])


def checked(model, rows, exact, scheme, grid, regime):
    """Compare the error at the chosen step with the best of a grid; return how far the prediction is off."""
    choice = choose_step(model, rows, scheme=scheme, directions="orthogonal")
    assert choice.regime == regime
    assert choice.evaluations <= most_evaluations(rows.dtype, scheme, FEATURES, len(rows))
    (own,), (mean_square,) = errors(model, rows, exact, [choice.step], scheme)
    assert own <= 2 * errors(model, rows, exact, grid, scheme)[0].min()
    return choice.error / mean_square


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("quantum", [1e-3, 0.05, 0.5])
def test_a_rounded_function_has_a_step_near_the_best_and_an_honest_prediction(quantum, scheme):
    def model(x):
        return torch.round(waves(x) / quantum) * quantum

    exact = WEIGHTS * torch.cos(ROWS)
    ratio = checked(model, ROWS, exact, scheme, np.geomspace(0.01, 30, 18), "staircase")
    assert 0.5 < ratio < 2


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_smooth_function_has_a_step_near_the_best(scheme, dtype):
    rows = ROWS.to(dtype)
    exact = WEIGHTS * torch.cos(rows.double())
    finest = 1e-4 if dtype == torch.float32 else 1e-9
    checked(lambda x: waves(x).to(dtype), rows, exact, scheme, np.geomspace(finest, 3, 30), "smooth")


@pytest.mark.parametrize("scheme", ["forward", "central"])
def test_a_network_of_rectifiers_has_a_step_before_its_kinks(scheme):
    network = rectifiers().double()
    exact = attribute(network, ROWS, method="gradient")
    checked(network, ROWS, exact, scheme, np.geomspace(1e-9, 1, 28), "kinks")


def test_a_linear_function_takes_a_step_as_long_as_the_inputs():
    choice = choose_step(lambda x: x.double() @ WEIGHTS, ROWS, directions="orthogonal")
    assert choice.regime == "linear"
    assert choice.step == pytest.approx(float(ROWS.norm(dim=1).square().mean().sqrt()), rel=0.05)


def test_paths_have_steps_too():
    quantum = 0.05

    def model(x):
        return torch.round(waves(x) / quantum) * quantum

    path = {"baselines": 0.0, "n_steps": 8}
    choice = choose_step(model, ROWS, scheme="central", directions="orthogonal", **path)
    exact = WEIGHTS * torch.sin(ROWS)

    def error(step):
        found = attribute(model, ROWS, method="integrated_gradients", gradient=DirectionalDifference(step), **path)
        return float(((found - exact).norm(dim=1) / exact.norm(dim=1)).median())

    assert error(choice.step) <= 2 * min(map(error, np.geomspace(0.1, 30, 12).tolist()))


def test_directions_that_there_are_not():
    with pytest.raises(ValueError, match="directions: got 'diagonal', expected features or orthogonal"):
        choose_step(waves, ROWS, directions="diagonal")


@pytest.fixture(scope="module")
def digits_in_int8(tmp_path_factory):
    """A trained network of digits, its static int8 form in an ONNX file, and some rows with their targets."""
    for name in ("onnxscript", "onnxruntime"):
        pytest.importorskip(name)
    from sklearn.datasets import load_digits

    from approxgrad.models.onnx_model import OnnxModel
    from approxgrad.models.quantising import write_static

    data = load_digits()
    rows, labels = torch.tensor(data.data / 8 - 1, dtype=torch.float32), torch.tensor(data.target)
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
    optimiser = torch.optim.Adam(network.parameters(), 0.01)
    for _ in range(100):
        optimiser.zero_grad()
        nn.functional.cross_entropy(network(rows), labels).backward()
        optimiser.step()
    path = tmp_path_factory.mktemp("int8") / "model.onnx"
    # Twice the range of the rows, so that steps do not leave it.
    write_static(path, network.eval(), 2 * rows[:200].numpy(), wide=False, method="minmax", per_channel=True)
    return network, OnnxModel(path), rows[:8], labels[:8]


@pytest.mark.parametrize("directions", ["features", "orthogonal"])
@pytest.mark.parametrize("scheme", ["forward", "central"])
def test_the_step_of_a_small_int8_network_is_near_the_best(scheme, directions, digits_in_int8):
    network, model, rows, labels = digits_in_int8
    source = FiniteDifference if directions == "features" else DirectionalDifference
    exact = attribute(network, rows, target=labels)

    def error(step):
        found = attribute(model, rows, target=labels, gradient=source(step, scheme))
        return float(((found - exact).norm(dim=1) / exact.norm(dim=1)).median())

    choice = choose_step(model, rows, labels, scheme, directions=directions)
    assert choice.regime == "staircase"
    assert error(choice.step) <= 2 * min(map(error, np.geomspace(0.05, 8, 9).tolist()))


@pytest.mark.soak
@pytest.mark.parametrize("directions", ["features", "orthogonal"])
@pytest.mark.parametrize("scheme", ["forward", "central"])
def test_the_step_of_a_static_int8_network_is_near_the_best(scheme, directions, tmp_path):
    from quantised_cnn import exact_saliency, quantised

    if not (SHARED / "models" / "cifar10_cnn.safetensors").exists():
        pytest.skip("needs the trained CNN and the images of the shared folder")
    network, model, images, labels = quantised(SHARED, tmp_path)
    source = FiniteDifference if directions == "features" else DirectionalDifference
    choice = choose_step(model, images, labels, scheme, directions=directions)
    images, labels = images[:2], labels[:2]
    exact = exact_saliency(network, images, labels).flatten(1)

    def error(step):
        found = attribute(model, images, target=labels, gradient=source(step, scheme, check_rows=False)).flatten(1)
        return float(((found - exact).norm(dim=1) / exact.norm(dim=1)).median())

    assert choice.regime == "staircase"
    assert error(choice.step) <= 2 * min(map(error, np.geomspace(0.5, 8, 5).tolist()))
