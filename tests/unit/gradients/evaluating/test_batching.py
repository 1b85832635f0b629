import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from approxgrad.gradients.evaluating import batching
from approxgrad.gradients.evaluating.batching import balanced_slices, batch_size, memory_budget
from approxgrad.gradients.evaluating.footprint import Footprint

CPU, GPU = torch.device("cpu"), torch.device("cuda")
NETWORK = Footprint(widest=700, peak=900, total=1500, fixed=9000, weight_uses=16, weight_copies=9000)


@pytest.mark.parametrize("device", [CPU, GPU])
@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize("budget", [1, 5_000, 100_000, 102_600, 10**12])
def test_the_size_is_the_largest_within_the_budget(budget, backward, device):
    per_input = (
        batching.BACKWARD_COPIES * NETWORK.total if backward else NETWORK.peak + batching.WORKSPACES * NETWORK.widest
    )
    rest = int((1 - 1 / 8 - 1 / 16) * budget) - NETWORK.fixed  # path points and outputs have their own shares
    if not backward and device == CPU:
        rest -= NETWORK.weight_copies
    size = batch_size(NETWORK, device, budget, backward)
    assert 1 <= size <= batching.LARGEST_BATCH
    assert size == 1 or size * per_input <= rest
    assert size == batching.LARGEST_BATCH or (size + 1) * per_input > rest


def test_a_cpu_is_given_no_more_than_it_gains_from():
    wide = Footprint(widest=3 * 2**20, peak=3 * 2**20, total=3 * 2**20)
    assert batch_size(wide, CPU, 10**12) == 6 // 3
    assert batch_size(wide, CPU, 10**12, backward=True) > 6 // 3
    assert batch_size(wide, GPU, 10**12) > 6 // 3


def test_weights_that_an_input_uses_rarely_ask_for_larger_batches():
    rarely = Footprint(widest=3 * 2**20, peak=3 * 2**20, total=3 * 2**20, weight_uses=2)
    assert batch_size(rarely, CPU, 10**12) == 2600 // 2
    assert batch_size(rarely, CPU, 10**12, weights_in_order=True) == 1600 // 2


def test_weights_in_order_are_not_copied():
    without_copies = Footprint(NETWORK.widest, NETWORK.peak, NETWORK.total, NETWORK.fixed, NETWORK.weight_uses)
    ordered, plain = (batch_size(NETWORK, CPU, 100_000, weights_in_order=given) for given in (True, False))
    assert plain < ordered == batch_size(without_copies, CPU, 100_000)


def test_default_budgets(monkeypatch):
    free, taken, cached, share = 6 * 2**30, 0, 0, 1.0
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (free, 8 * 2**30))
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda _: taken)
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _: cached)
    monkeypatch.setattr(torch.cuda, "get_per_process_memory_fraction", lambda _: share)
    assert memory_budget(torch.device("cpu")) == 512 * 2**20
    assert memory_budget(torch.device("cuda")) == 2 * 2**30
    free = 2**30  # another process uses the same GPU
    assert memory_budget(torch.device("cuda")) == int(0.8 * 2**30)
    taken, cached = 2**29, 5 * 2**29  # of which this process keeps 2 GiB for reuse
    assert memory_budget(torch.device("cuda")) == 2 * 2**30
    share = 0.25  # of the GPU, which is all that torch may take
    assert memory_budget(torch.device("cuda")) == 2**29


@given(total=st.integers(1, 3000), largest=st.integers(1, 400))
def test_balanced_slices_cover_in_the_fewest_parts_of_nearly_equal_size(total, largest):
    parts = balanced_slices(total, largest)
    sizes = [part.stop - part.start for part in parts]
    assert [index for part in parts for index in range(total)[part]] == list(range(total))
    assert len(parts) == -(-total // largest)
    assert max(sizes) <= largest
    assert max(sizes) - min(sizes) <= 1
