"""Kinds of models: a GPU gives what float64 gives on the CPU, also where a model computes on the CPU itself."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from approxgrad import ExactGradient, FiniteDifference
from approxgrad.models.kind import MODELS
from devices import CPU, EPS32, STEP, TARGET, images, on_devices, rounding, smooth_network
from pretended_gpu import OnGpu, pretended_gpu

BUILT = {"cnn": {}, "mlp": {"hidden": (8,)}, "resnet18": {"stem": "cifar"}, "resnet50": {"stem": "cifar"}}
FEW = torch.arange(0, 192, 24)


def built(name):
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        return MODELS[name](**BUILT[name]).build((3, 8, 8), 10).eval().requires_grad_(requires_grad=False)


@pytest.mark.parametrize("name", BUILT)
@on_devices
def test_networks_that_are_built_agree_with_float64_on_the_cpu(device, name):
    network = built(name)
    points = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(2))
    wide, own = copy.deepcopy(network).double(), network.to(device)
    (wanted,) = ExactGradient()(wide, points.double(), TARGET)
    (found,) = ExactGradient()(own, points.to(device), TARGET)
    # Rounding grows with depth: to a share of the gradient, with kinks that nothing rounds across.
    assert (found.double().to(CPU) - wanted).norm() <= 1e-4 * wanted.norm()
    wanted = FiniteDifference(STEP).partial_derivatives(wide, (points.double(),), FEW, TARGET)
    found = FiniteDifference(STEP).partial_derivatives(own, (points.to(device),), FEW.to(device), TARGET)
    size = wide(points.double()).abs().max()
    assert (found.to(CPU) - wanted).abs().max() <= max(1, size) * rounding(EPS32, STEP)


def scripted(network):
    return torch.jit.trace(network, torch.zeros(1, 3, 6, 6).to(next(network.parameters())))


def plain_function(network):
    return lambda rows: network(rows)


def on_arrays(network):
    """A model of a library that computes on the CPU."""
    here = copy.deepcopy(network).to(CPU)

    def model(rows):
        return np.asarray(here(rows.detach().to(CPU)))

    return model


def frozen_sequence(network):
    return nn.Sequential(network, nn.Softmax(dim=1)).eval()


@pytest.mark.parametrize("wrap", [scripted, plain_function, on_arrays, frozen_sequence])
@on_devices
def test_models_in_other_forms_agree_with_float64_on_the_cpu(device, wrap):
    (wanted,) = FiniteDifference(STEP)(wrap(smooth_network()), images(), TARGET)
    model, points = wrap(smooth_network(torch.float32, device)), images().float().to(device)
    (found,) = FiniteDifference(STEP)(model, points, TARGET)
    assert found.device.type == device.type
    assert (found.double().to(CPU) - wanted).abs().max() <= rounding(EPS32, STEP)


@pytest.mark.parametrize("wrap", [plain_function, frozen_sequence])
def test_models_in_other_forms_on_a_pretended_gpu(monkeypatch, wrap):
    network, points = smooth_network(torch.float32), images().float()
    (wanted,) = FiniteDifference(STEP)(wrap(network), points, TARGET)
    with pretended_gpu(monkeypatch):
        (found,) = FiniteDifference(STEP)(wrap(copy.deepcopy(network).to("cuda")), points.to("cuda"), TARGET)
        assert isinstance(found, OnGpu)
        assert (found.cpu() - wanted).abs().max() <= rounding(EPS32, STEP)


def test_a_model_that_computes_on_the_cpu_on_a_pretended_gpu(monkeypatch):
    network, points = smooth_network(torch.float32), images().float()
    (wanted,) = FiniteDifference(STEP)(network, points, TARGET)
    with pretended_gpu(monkeypatch):
        (found,) = FiniteDifference(STEP)(lambda rows: network(rows.cpu()).numpy(), points.to("cuda"), TARGET)
        assert isinstance(found, OnGpu)
        assert (found.cpu() - wanted).abs().max() <= rounding(EPS32, STEP)


@on_devices
def test_a_model_that_is_elsewhere_is_one_line(device):
    if device == CPU:
        pytest.skip("the model is there")
    with pytest.raises(ValueError, match=r"^model: fails for 1 torch.float32 row of shape .*cuda"):
        FiniteDifference(STEP)(smooth_network(torch.float32), images().float().to(device), TARGET)
