"""Every method agrees with itself in float64 on the CPU, with exact gradients and with differences."""

import pytest
import torch

from approxgrad import FiniteDifference, attribute, explain, group_totals
from approxgrad.methods.method import METHODS
from devices import CPU, EPS32, STEP, TARGET, images, on_devices, rounding, smooth_network

OPTIONS = {
    "integrated_gradients": {"n_steps": 6, "baselines": 0.1},
    "integrated_gradients_published": {"n_steps": 6},
    "smoothgrad": {"sigma": 0.2, "n_samples": 3},
    "occlusion": {"window": 2},
    "feature_ablation": {"mask": [number // 4 for number in range(108)]},
}
LARGEST = 4.0  # of the features, by which a gradient is multiplied


@pytest.mark.parametrize("gradient", ["exact", "differences"])
@pytest.mark.parametrize("name", METHODS)
@on_devices
def test_a_method_in_float32_is_that_in_float64_on_the_cpu(device, name, gradient):
    takes = METHODS[name].takes_gradients
    if not takes and gradient == "exact":
        pytest.skip("takes no gradients")
    source = {"gradient": FiniteDifference(STEP) if gradient == "differences" else "exact"} if takes else {}
    common = {"target": TARGET, "method": name, **OPTIONS.get(name, {}), **source}
    network = smooth_network(torch.float32, device)
    found = attribute(network, images().float().to(device), **common)
    wanted = attribute(smooth_network(), images(), **common)
    assert found.device.type == device.type
    assert (found.double().to(CPU) - wanted).abs().max() <= LARGEST * rounding(EPS32, STEP)


@on_devices
def test_a_residual_is_that_of_the_cpu(device):
    common = {"target": TARGET, "method": "integrated_gradients", "return_residual": True, "n_steps": 8}
    _, found = attribute(smooth_network(torch.float32, device), images().float().to(device), **common)
    _, wanted = attribute(smooth_network(), images(), **common)
    assert (found.cpu().double() - wanted).abs().max() <= images()[0].numel() * rounding(EPS32)


@on_devices
def test_totals_of_groups_are_those_of_the_cpu(device):
    groups = torch.arange(108).reshape(3, 6, 6) // 9
    common = {"target": TARGET, "gradient": FiniteDifference(STEP)}
    found = group_totals(smooth_network(torch.float32, device), images().float().to(device), groups, **common)
    wanted = group_totals(smooth_network(), images(), groups, **common)
    assert found.device.type == device.type
    # A group is moved by its nine inputs times the step.
    assert (found.double().to(CPU) - wanted).abs().max() <= 9 * LARGEST * rounding(EPS32, STEP)


@on_devices
def test_an_explanation_is_that_of_the_cpu(device):
    found = explain(smooth_network(torch.float32, device), images(1).float().to(device), target=TARGET, budget=400)
    wanted = explain(smooth_network(torch.float32), images(1).float(), target=TARGET, budget=400)
    assert found.evaluations == wanted.evaluations
    size = wanted.attribution.abs().max()
    assert (found.attribution.cpu() - wanted.attribution).abs().max() <= 1e-2 * size
