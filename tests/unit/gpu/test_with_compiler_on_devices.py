"""Compiled models; the last file, because compiling takes longest."""

import pytest
import torch

from approxgrad import CompiledModel, FiniteDifference
from compilers import needs_compiler
from devices import CPU, EPS32, STEP, TARGET, images, on_devices, rounding, smooth_network


@needs_compiler
@pytest.mark.slow
@on_devices
def test_a_compiled_model_is_differentiated(device):
    network, points = smooth_network(torch.float32, device), images().float().to(device)
    (found,) = FiniteDifference(STEP)(CompiledModel(network), points, TARGET)
    (wanted,) = FiniteDifference(STEP)(smooth_network(), images(), TARGET)
    assert (found.double().to(CPU) - wanted).abs().max() <= rounding(EPS32, STEP)
