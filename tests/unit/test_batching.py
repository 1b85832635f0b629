from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from approxgrad.gradients import batching
from approxgrad.gradients.batching import Footprint, balanced_slices, batch_size, footprint, memory_budget
from problems import RecordingModel, linear, small_cnn

IMAGES = (torch.zeros(5, 2, 4, 4),)
# Per input of small_cnn in float32: 2 * 16 numbers enter, five layers give 4 * 16 each, the last one gives 3; the
# convolution uses its 4 * 2 * 9 weights at 16 positions.
CNN = Footprint(widest=4 * (64 + 64 + 32), total=4 * (5 * 64 + 3 + 32), weight_uses=16, weight_copies=4 * 72)


class Choosing(nn.Module):
    """A layer behind a decision that depends on the data; stores every batch it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)
        self.batches = []

    def forward(self, x):
        self.batches.append(x)
        return self.layer(x if x.sum() > 0 else -x)


class InOrder:
    """A model whose weights need not be reordered at every call."""

    weights_in_order = True

    def __init__(self, model):
        self.__wrapped__ = model


def guess(bytes_per_input: int) -> Footprint:
    return Footprint(widest=32 * bytes_per_input, total=128 * bytes_per_input, weight_uses=16)


def test_footprint_of_a_network_equals_the_hand_count():
    assert footprint(small_cnn(torch.float32), IMAGES) == CNN


def test_footprint_of_several_inputs_counts_all_of_them():
    # 4 and 2 float64 numbers enter, 3 leave the layer.
    model = nn.Bilinear(4, 2, 3).double()
    inputs = (torch.zeros(5, 4, dtype=torch.float64), torch.zeros(5, 2, dtype=torch.float64))
    assert footprint(model, inputs) == Footprint(widest=8 * (6 + 3 + 6), total=8 * (3 + 6))


def test_a_wrapped_module_is_found():
    wrapped = SimpleNamespace(__wrapped__=small_cnn(torch.float32))
    assert footprint(wrapped, IMAGES) == CNN


@pytest.mark.parametrize("model", [RecordingModel(linear), Choosing()])
def test_the_model_itself_is_not_evaluated(model):
    batch_size(model, (torch.ones(3, 4),))
    assert model.batches == []


def test_the_model_is_left_as_it_was():
    model = small_cnn(torch.float32).train()
    before, random = {name: value.clone() for name, value in model.state_dict().items()}, torch.get_rng_state()
    batch_size(model, IMAGES)
    assert all(layer.training for layer in model.modules())
    assert torch.equal(torch.get_rng_state(), random)
    assert all(not layer._forward_hooks for layer in model.modules())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("model", [linear, nn.Conv2d(7, 1, 1)])
def test_a_model_that_cannot_be_inspected_is_given_the_guess(model):
    assert footprint(model, (torch.ones(3, 4),)) == guess(16)


def test_a_decision_that_depends_on_the_data_is_no_obstacle():
    # Four float32 numbers enter and leave the layer.
    assert footprint(Choosing(), (torch.ones(3, 4),)) == Footprint(widest=4 * (4 + 4 + 4), total=4 * (4 + 4))


def test_the_size_depends_on_shapes_only():
    model = small_cnn(torch.float32)
    first = batch_size(model, IMAGES, budget=10_000)
    others = torch.full((9, 2, 4, 4), 7.0)  # neither the contents nor the number of inputs matter
    assert first == batch_size(model, IMAGES, budget=10_000) == batch_size(model, (others,), budget=10_000)


@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize("budget", [1, 5_000, 100_000, 102_600, 10**12])
def test_the_size_is_the_largest_within_the_budget(budget, backward):
    per_input = 2 * CNN.total if backward else 5 * CNN.widest
    layers = (1 - 1 / 8 - 1 / 16) * budget  # path points and outputs have the rest
    if not backward:
        layers -= CNN.weight_copies
    size = batch_size(small_cnn(torch.float32), IMAGES, budget=budget, backward=backward)
    assert 1 <= size <= batching.LARGEST_BATCH
    assert size == 1 or size * per_input <= layers
    assert size == batching.LARGEST_BATCH or (size + 1) * per_input > layers


def test_a_cpu_is_given_no_more_than_it_gains_from():
    wide = (torch.zeros(1, 2**18),)  # 1 MiB each for input, what the layer takes and what it returns
    assert batch_size(nn.ReLU(), wide, budget=10**12) == 6 // 3
    assert batch_size(nn.ReLU(), wide, budget=10**12, backward=True) > 6 // 3
    # Nothing is known of a plain function, so it is taken for a deep network that gains from large batches.
    assert batch_size(linear, wide, budget=10**12) == -(-2600 // 16)


def test_weights_that_an_input_uses_rarely_ask_for_larger_batches():
    # Two convolutions, with 3 * 8 * 9 weights at 32 * 32 positions and 8 * 8 * 64 weights at one position.
    model = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.AdaptiveAvgPool2d(8), nn.Conv2d(8, 8, 8))
    images = (torch.zeros(1, 3, 32, 32),)
    assert footprint(model, images).weight_uses == (216 * 1024 + 4096 * 1) / (216 + 4096)
    assert batch_size(model, images) == max(-(-2600 * 4312 // 225280), 6 * 2**20 // (4 * (3 + 8 + 3) * 1024)) == 109
    images = (torch.zeros(1, 3, 64, 64),)
    deep = nn.Sequential(nn.MaxPool2d(8), nn.Conv2d(3, 8, 8))
    assert footprint(deep, images).weight_uses == 1
    assert batch_size(deep, images, budget=10**12) == 2600
    assert batch_size(InOrder(deep), images, budget=10**12) == 1600


def test_default_budgets(monkeypatch):
    free = 6 * 2**30
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (free, 8 * 2**30))
    assert memory_budget(torch.device("cpu")) == 512 * 2**20
    assert memory_budget(torch.device("cuda")) == 2 * 2**30
    free = 2**30  # another process uses the same GPU
    assert memory_budget(torch.device("cuda")) == int(0.8 * 2**30)


@given(total=st.integers(1, 3000), largest=st.integers(1, 400))
def test_balanced_slices_cover_in_the_fewest_parts_of_nearly_equal_size(total, largest):
    parts = balanced_slices(total, largest)
    sizes = [part.stop - part.start for part in parts]
    assert [index for part in parts for index in range(total)[part]] == list(range(total))
    assert len(parts) == -(-total // largest)
    assert max(sizes) <= largest
    assert max(sizes) - min(sizes) <= 1
