"""Memory of a GPU that runs out, streams, several models on a device, and waits of the host."""

import threading

import pytest
import torch
from torch import nn

from approxgrad import ExactGradient, FiniteDifference
from approxgrad.gradients.evaluating.batching import memory_budget
from approxgrad.gradients.evaluating.evaluated import Stream
from approxgrad.gradients.evaluating.rows import check_rows
from approxgrad.gradients.evaluating.wrapping import ModelWrapper
from devices import EPS32, STEP, TARGET, images, on_devices, rounding, smooth_network

MEBIBYTE = 2**20


class Wide(nn.Module):
    """A model that needs so many bytes for each row besides its inputs."""

    def __init__(self, size):
        super().__init__()
        self.numbers = size // 4

    def forward(self, rows):
        return rows.sum(dim=1) + 0 * rows[:, :1].expand(-1, self.numbers).clone().sum(dim=1)


@pytest.fixture
def little_memory():
    """Let this process have half a gibibyte of the GPU."""
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction(512 * MEBIBYTE / total, 0)
    yield torch.device("cuda:0")
    torch.cuda.set_per_process_memory_fraction(1.0, 0)
    torch.cuda.empty_cache()


@pytest.mark.gpu
@pytest.mark.parametrize("make", [lambda: FiniteDifference(STEP, batch_size=64), lambda: ExactGradient(64)])
def test_batches_are_halved_when_memory_runs_out(little_memory, make):
    source = make()
    rows = torch.ones(64, 8, device=little_memory)
    (found,) = source(Wide(24 * MEBIBYTE), rows)
    assert torch.allclose(found, torch.ones_like(found), atol=rounding(EPS32, STEP))
    assert 1 <= source.used_batch_size < 64


@pytest.mark.gpu
def test_a_model_too_large_for_a_single_row_is_one_line(little_memory):
    with pytest.raises(MemoryError, match=r"^batch_size: the GPU has no memory for a single input$"):
        FiniteDifference(STEP, batch_size=2, check_rows=False)(
            Wide(600 * MEBIBYTE), torch.ones(2, 3, device=little_memory)
        )


@pytest.mark.gpu
def test_the_default_budget_is_within_what_the_process_may_have(little_memory):
    assert 0 < memory_budget(little_memory) <= 512 * MEBIBYTE


@pytest.mark.gpu
def test_rows_are_checked_in_parts_where_memory_runs_out(little_memory):
    assert check_rows(Wide(150 * MEBIBYTE), torch.ones(8, 3, device=little_memory)) > 0


def test_memory_of_a_failed_evaluation_is_free_when_the_rows_are_halved(no_gpu_cache):
    alive = []

    def model(rows):
        kept = torch.zeros(10)
        alive.append(torch.utils.weak.WeakTensorKeyDictionary({kept: len(rows)}))
        if len(rows) > 1:
            assert not any(len(own) for own in alive[:-1])
            raise torch.OutOfMemoryError("CUDA out of memory")
        return rows.sum(dim=1)

    check_rows(model, torch.ones(3, 2))
    assert len(alive) > 6


@on_devices
def test_two_models_on_one_device_do_not_disturb_each_other(device):
    networks = [smooth_network(dtype, device) for dtype in (torch.float32, torch.float64)]
    points = [images().to(device, dtype) for dtype in (torch.float32, torch.float64)]
    alone = [FiniteDifference(STEP)(*own, TARGET)[0] for own in zip(networks, points, strict=True)]
    found = [None, None]

    def run(number):
        found[number] = FiniteDifference(STEP)(networks[number], points[number], TARGET)[0]

    threads = [threading.Thread(target=run, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(map(torch.equal, alone, found))


@pytest.mark.gpu
@pytest.mark.parametrize("make", [lambda: FiniteDifference(STEP), ExactGradient])
def test_results_on_another_stream_are_the_same(make):
    device = torch.device("cuda")
    network, points = smooth_network(torch.float32, device), images().float().to(device)
    (expected,) = make()(network, points, TARGET)
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        (found,) = make()(network, points, TARGET)
    stream.synchronize()
    assert torch.equal(found, expected)


@pytest.mark.gpu
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
def test_another_than_the_current_device_may_be_used():
    device = torch.device("cuda:1")
    (found,) = FiniteDifference(STEP)(smooth_network(torch.float32, device), images().float().to(device), TARGET)
    (wanted,) = FiniteDifference(STEP)(smooth_network(), images(), TARGET)
    assert found.device == device
    assert (found.double().cpu() - wanted).abs().max() <= rounding(EPS32, STEP)


class Watched(ModelWrapper):
    """A model that lets torch refuse every wait of the host from its second batch on."""

    batches = 0

    def __call__(self, rows):
        self.batches += 1
        if self.batches > 1:
            torch.cuda.set_sync_debug_mode("error")
        return self.__wrapped__(rows)


@pytest.mark.gpu
def test_the_host_does_not_wait_for_a_batch(monkeypatch):
    device, in_batches = torch.device("cuda"), Stream.in_batches

    def watched(stream, *given):
        try:
            in_batches(stream, *given)
        finally:
            torch.cuda.set_sync_debug_mode("default")

    monkeypatch.setattr(Stream, "in_batches", watched)
    network, points = smooth_network(torch.float32, device), images().float().to(device)
    source = FiniteDifference(STEP, batch_size=8)
    model = Watched(source.prepare(network, (points,), (), torch.full((2, 1), TARGET, device=device)))
    (found,) = source(model, points, TARGET)
    (wanted,) = FiniteDifference(STEP)(smooth_network(), images(), TARGET)
    assert model.batches == -(-2 * 109 // 8)
    assert (found.double().cpu() - wanted).abs().max() <= rounding(EPS32, STEP)
