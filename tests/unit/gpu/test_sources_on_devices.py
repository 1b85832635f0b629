"""Every gradient source agrees with itself in float64 on the CPU."""

import pytest
import torch

from approxgrad import (
    GEEX,
    GEFA,
    SPSA,
    DirectionalDifference,
    ExactGradient,
    FiniteDifference,
    GaussianSmoothing,
    KernelShap,
    Lime,
    attribute,
)
from approxgrad.gradients.source import SOURCES as KINDS
from devices import CPU, EPS32, STEP, TARGET, images, on_devices, rounding, smooth_network

GRADIENTS = {
    "exact": ExactGradient,
    "forward": lambda: FiniteDifference(STEP),
    "backward": lambda: FiniteDifference(STEP, "backward"),
    "central": lambda: FiniteDifference(STEP, "central"),
    "nominal": lambda: FiniteDifference(STEP, nominal=True),
    "small batches": lambda: FiniteDifference(STEP, batch_size=7),
    "row by row": lambda: FiniteDifference(STEP, batch_size=1),
    "a step each": lambda: FiniteDifference(torch.linspace(STEP, 2 * STEP, 108).reshape(3, 6, 6)),
    "propagated": lambda: FiniteDifference(STEP, evaluation="propagated"),
    "propagated, a step each": lambda: FiniteDifference(
        torch.linspace(STEP, 2 * STEP, 108).reshape(3, 6, 6), evaluation="propagated"
    ),
    "propagated in float64": lambda: FiniteDifference(STEP, evaluation="propagated", arithmetic="float64"),
    "orthogonal": lambda: DirectionalDifference(STEP, budget=60),
    "cosine": lambda: DirectionalDifference(STEP, budget=60, basis="cosine"),
    "haar": lambda: DirectionalDifference(STEP, budget=60, basis="haar"),
    "pixels": lambda: DirectionalDifference(STEP, budget=60, basis="pixels"),
    "random": lambda: DirectionalDifference(STEP, budget=60, basis="random"),
    "groups": lambda: DirectionalDifference(STEP, groups=torch.arange(108).reshape(3, 6, 6) // 9),
    "spsa": lambda: SPSA(60, STEP),
    "smoothing": lambda: GaussianSmoothing(60, STEP),
}
PATHS = {
    "along the path": (lambda: FiniteDifference("path"), {"n_steps": 5}, 5),
    "directions of a path": (lambda: DirectionalDifference(STEP, budget=240), {}, 1 / STEP),
    "geex": (lambda: GEEX(240), {}, 10),
    "gefa": (lambda: GEFA(240), {}, 10),
    "kernel shap": (lambda: KernelShap(480), {}, 30),
    "lime": (lambda: Lime(480), {}, 30),
}
"""Sources that know the path, options of the method, and by how much they enlarge a rounding of the outputs."""

IN = {"exact": "exact", "evaluated": "forward", "difference": "propagated", "directions": "cosine", "shapley": "gefa"}
IN |= {"orthogonal": "orthogonal", "smoothing": "smoothing", "sampling": "geex", "surrogate": "lime"}


def test_every_kind_of_source_is_tried():
    assert set(KINDS) == set(IN)
    assert set(IN.values()) <= {*GRADIENTS, *PATHS}


@pytest.mark.parametrize("name", GRADIENTS)
@on_devices
def test_a_gradient_in_float32_is_that_in_float64_on_the_cpu(device, name):
    own, expected = GRADIENTS[name](), GRADIENTS[name]()
    (found,) = own(smooth_network(torch.float32, device), images().float().to(device), TARGET)
    (wanted,) = expected(smooth_network(), images(), TARGET)
    assert found.device.type == device.type
    assert found.dtype == torch.float32
    step = 1.0 if name in ("exact", "propagated in float64") else STEP
    assert (found.double().to(CPU) - wanted).abs().max() <= rounding(EPS32, step)


@pytest.mark.parametrize("name", GRADIENTS)
@on_devices
def test_a_gradient_in_float64_is_that_of_the_cpu(device, name):
    (found,) = GRADIENTS[name]()(smooth_network(device=device), images().to(device), TARGET)
    (wanted,) = GRADIENTS[name]()(smooth_network(), images(), TARGET)
    assert (found.to(CPU) - wanted).abs().max() <= rounding(torch.finfo(torch.float64).eps, STEP)


@pytest.mark.parametrize("name", PATHS)
@on_devices
def test_a_path_in_float32_is_that_in_float64_on_the_cpu(device, name):
    make, options, growth = PATHS[name]
    common = {"target": TARGET, "method": "integrated_gradients", **options}
    network = smooth_network(torch.float32, device)
    found = attribute(network, images().float().to(device), gradient=make(), **common)
    wanted = attribute(smooth_network(), images(), gradient=make(), **common)
    assert found.device.type == device.type
    assert (found.double().to(CPU) - wanted).abs().max() <= growth * rounding(EPS32)


@pytest.mark.parametrize("name", ["exact", "central", "propagated", "cosine", "spsa"])
@on_devices
def test_two_runs_give_the_same_bytes(device, name):
    network, points = smooth_network(torch.float32, device), images().float().to(device)
    first, second = (GRADIENTS[name]()(network, points, TARGET)[0] for _ in range(2))
    assert torch.equal(first, second)
