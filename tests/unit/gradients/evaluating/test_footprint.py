import math
import subprocess
import sys

import numpy as np
import pytest
import torch
from test_acceleration import small_network
from torch import nn
from torch.nn import functional

from approxgrad import FiniteDifference
from approxgrad.gradients.evaluating.footprint import Footprint, MemoryMeter, footprint, guessed
from problems import small_cnn

IMAGES = (torch.zeros(5, 2, 4, 4),)


def measured(model, inputs, rows=4):
    """Return the footprint of a model, or None if the meter could not follow its outputs."""
    meters = MemoryMeter(), MemoryMeter()
    for meter, count in zip(meters, (1, rows), strict=True):
        with torch.no_grad():
            meter.run(model, [tensor[:1].expand(count, *tensor.shape[1:]).clone() for tensor in inputs], [])
    return None if any(meter.failed for meter in meters) else footprint(*meters, rows)


def test_a_network_equals_the_hand_count():
    # Per input in float32: 2 * 16 numbers enter, the convolution gives 4 * 16, so does each of two operations after it,
    # and the last layer gives 3; its matrix product makes nothing else.
    size = measured(small_cnn(torch.float32), IMAGES)
    assert size.widest == 4 * (64 + 64)
    assert size.weight_uses == 16
    assert size.weight_copies == 4 * 4 * 2 * 9
    assert size.total == 4 * (32 + 3 * 64 + 3) or size.total == 4 * (32 + 4 * 64 + 3)
    assert 4 * (32 + 64 + 64) <= size.peak <= size.total


def test_several_inputs_count_together():
    # 4 and 2 float64 numbers enter, 3 leave the layer.
    inputs = (torch.zeros(5, 4, dtype=torch.float64), torch.zeros(5, 2, dtype=torch.float64))
    size = measured(nn.Bilinear(4, 2, 3).double(), inputs)
    assert size.total >= 8 * (4 + 2 + 3)
    assert size.peak >= 8 * (4 + 2 + 3)


@pytest.mark.parametrize(
    ("model", "numbers"),
    [
        (lambda x: functional.interpolate(x, scale_factor=16).mean(dim=(1, 2, 3)), 2 * 64 * 64),
        (lambda x: (x.flatten(1)[:, :, None] * x.flatten(1)[:, None, :]).sum(dim=(1, 2)), 32 * 32),
        (lambda x: torch.cdist(x.flatten(1), torch.ones(3000, 32)).sum(dim=1), 3000),
        (lambda x: torch.einsum("ni,nj,nk->nijk", *[x.flatten(1)] * 3).sum(dim=(1, 2, 3)), 32**3),
        (lambda x: torch.softmax(x.flatten(1)[:, :, None] @ x.flatten(1)[:, None, :], 2).sum(dim=(1, 2)), 2 * 32 * 32),
    ],
    ids=["interpolation", "outer product", "distances", "einsum", "attention"],
)
def test_arrays_of_functions_are_seen(model, numbers):
    size = measured(model, IMAGES)
    assert size.peak >= 4 * numbers
    assert size.peak <= 4 * 4 * numbers


def test_what_does_not_depend_on_the_inputs_is_counted_once():
    size = measured(lambda x: x.flatten(1) @ (torch.ones(32, 1000) * 2).sum(dim=1), IMAGES)
    assert size.fixed >= 2 * 4 * 32 * 1000
    assert size.peak <= 4 * (32 + 1 + 1)


def test_memory_that_was_given_back_does_not_count():
    def chain(x):
        for _ in range(50):
            x = x * 2
        return x.sum(dim=(1, 2, 3))

    size = measured(chain, IMAGES)
    assert size.peak <= 4 * 4 * 32
    assert size.total >= 50 * 4 * 32


@pytest.mark.parametrize(
    "model",
    [
        lambda x: torch.from_numpy(x.numpy().sum(axis=(1, 2, 3))),
        lambda x: x.numpy().sum(axis=(1, 2, 3)),
        lambda x: torch.tensor(np.exp(x.numpy()).sum(axis=(1, 2, 3))),
    ],
)
def test_outputs_from_outside_torch_are_noticed(model):
    assert measured(model, IMAGES) is None


def test_the_guess_for_what_was_not_seen():
    assert guessed((torch.ones(3, 4),)) == Footprint(
        widest=32 * 16, peak=2 * 32 * 16, total=4 * 32 * 16, weight_uses=16
    )


def test_weights_of_small_images_are_counted_as_the_matrix():
    size = measured(small_network(), (torch.zeros(1, 2, 4, 4, dtype=torch.float64),))
    assert size.weight_uses == (2 * 4 * 9 * 4 + 12 * 16 * 1) / (2 * 4 * 9 + 12 * 16)
    # Both kernels in another order, and the matrix, in float64.
    assert size.weight_copies == 8 * (2 * 4 * 9 + 4 * 3 * 9 + 12 * 16)


def test_a_model_without_convolutions_uses_weights_as_often_as_it_likes():
    assert measured(nn.Sequential(nn.Flatten(), nn.Linear(32, 3)), IMAGES).weight_uses == math.inf


def test_the_compiler_is_not_imported():
    code = "import sys, torch; from approxgrad import FiniteDifference; "
    code += "FiniteDifference(0.1)(torch.nn.Conv2d(1, 1, 3).eval(), torch.ones(1, 1, 3, 3), (0, 0, 0)); "
    code += "sys.exit('torch._dynamo' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_model_that_makes_large_arrays_gets_small_batches():
    def attention(x):
        scores = torch.softmax(x[:, :, None] * x[:, None, :], dim=2)
        return (scores @ x[:, :, None]).sum(dim=(1, 2))

    source = FiniteDifference(0.1, memory_budget=32 * 2**20)
    source(attention, torch.randn(2, 512))
    assert 1 <= source.used_batch_size <= 32 * 2**20 // (2 * 4 * 512 * 512)
