"""On a GPU that is pretended: nothing mixes devices, numbers are those of the CPU, and the host waits for no batch."""

import copy

import pytest
import torch

from approxgrad import FiniteDifference, allow_tf32, attribute, explain
from approxgrad.methods.method import METHODS
from devices import STEP, TARGET, images, smooth_network
from gpu.test_methods_on_devices import OPTIONS
from gpu.test_sources_on_devices import GRADIENTS, PATHS
from pretended_gpu import OnGpu, pretended_gpu

# Without a device there is no backward pass, and no random state to keep, as for captum's surrogates.
EVALUATED = [name for name in GRADIENTS if name != "exact"]


@pytest.fixture
def gpu(monkeypatch):
    with pretended_gpu(monkeypatch) as mode:
        yield mode


def test_waits_and_mixed_devices_are_seen(gpu):
    there, here = torch.ones(3, device="cuda"), torch.ones(3)
    assert isinstance(there, OnGpu)
    assert not gpu.waits
    with pytest.raises(RuntimeError, match="expected all tensors on one device"):
        there + here
    assert float((there + 1).sum()) == 6
    assert there[there > 0].tolist() == [1, 1, 1]
    assert sum(gpu.waits.values()) == 3  # a number, a mask, a list
    here.to("cuda", non_blocking=True)
    assert sum(gpu.waits.values()) == 3
    here.to("cuda")
    assert sum(gpu.waits.values()) == 4


@pytest.mark.parametrize("name", EVALUATED)
def test_a_gradient_on_it_is_that_of_the_cpu(gpu, name):
    network, points = smooth_network(torch.float32), images().float()
    (wanted,) = GRADIENTS[name]()(network, points, TARGET)
    (found,) = GRADIENTS[name]()(copy.deepcopy(network).to("cuda"), points.to("cuda"), TARGET)
    assert isinstance(found, OnGpu)
    # Batches are of other sizes.
    assert (found.cpu() - wanted).abs().max() <= 64 * torch.finfo(torch.float32).eps / STEP


@pytest.mark.parametrize("name", [name for name in PATHS if name not in ("kernel shap", "lime")])
def test_a_path_on_it_is_that_of_the_cpu(gpu, name):
    make, options, growth = PATHS[name]
    common = {"target": TARGET, "method": "integrated_gradients", **options}
    network, points = smooth_network(torch.float32), images().float()
    wanted = attribute(network, points, gradient=make(), **common)
    found = attribute(copy.deepcopy(network).to("cuda"), points.to("cuda"), gradient=make(), **common)
    assert isinstance(found, OnGpu)
    assert (found.cpu() - wanted).abs().max() <= growth * 64 * torch.finfo(torch.float32).eps


def test_tf32_is_recorded_where_it_may_be_used(gpu, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    source = FiniteDifference(STEP)
    for dtype, allowed in ((torch.float32, True), (torch.float64, False)):
        network, points = smooth_network(dtype).to("cuda"), images().to("cuda", dtype)
        source(network, points, TARGET)
        assert not source.used_tf32
        with allow_tf32():
            source(network, points, TARGET)
        assert source.used_tf32 == allowed


METHODS_HERE = {name: method for name, method in METHODS.items() if name != "integrated_gradients_published"}


@pytest.mark.parametrize("name", METHODS_HERE)
def test_a_method_on_it_is_that_of_the_cpu(gpu, name):
    source = {"gradient": FiniteDifference(STEP)} if METHODS_HERE[name].takes_gradients else {}
    common = {"target": TARGET, "method": name, **OPTIONS.get(name, {}), **source}
    network, points = smooth_network(torch.float32), images().float()
    wanted = attribute(network, points, **common)
    found = attribute(copy.deepcopy(network).to("cuda"), points.to("cuda"), **common)
    assert isinstance(found, OnGpu)
    assert (found.cpu() - wanted).abs().max() <= 256 * torch.finfo(torch.float32).eps / STEP


def test_an_explanation_on_it_is_that_of_the_cpu(gpu):
    network, image = smooth_network(torch.float32), images(1).float()
    wanted = explain(network, image, target=TARGET, budget=400)
    found = explain(copy.deepcopy(network).to("cuda"), image.to("cuda"), target=TARGET, budget=400)
    assert (found.attribution.cpu() - wanted.attribution).abs().max() <= 1e-2 * wanted.attribution.abs().max()


@pytest.mark.parametrize("name", ["forward", "central", "cosine", "spsa"])
def test_the_host_waits_as_often_for_many_batches_as_for_few(gpu, name):
    network, points = smooth_network(torch.float32).to("cuda"), images().float().to("cuda")
    waits, calls = [], []
    for size in (8, 16, 64):
        source = GRADIENTS[name]()
        source.batch_size, source.check_rows = size, False
        source(network, points, TARGET)
        gpu.waits.clear()
        before = gpu.calls
        source(network, points, TARGET)
        waits.append(sum(gpu.waits.values()))
        calls.append(gpu.calls - before)
    assert calls[0] > 1.1 * calls[1] > 1.1 * calls[2]
    assert len(set(waits)) == 1
