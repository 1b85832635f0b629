"""A factory whose network computes with torch's int8 layers runs in the jobs of a study."""

import sys

import pytest
import torch

from approxgrad import FiniteDifference, attribute
from approxgrad.gradients.evaluating.rows import RowError
from approxgrad.models.device import set_up_torch
from approxgrad.models.making import fitted_model
from approxgrad.models.model_files import load_model
from approxgrad.storage.splits import Split

pytestmark = pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor")

NETWORK = """
import torch
from torch import nn


class Int8(nn.Module):
    def __init__(self, features, outputs):
        super().__init__()
        self.inner = nn.Linear(features, outputs)

    def forward(self, x):
        torch.backends.quantized.engine = "x86"
        weight = torch.quantize_per_tensor(self.inner.weight.detach(), 1 / 64, 0, torch.qint8)
        packed = torch.ops.quantized.linear_prepack(weight, self.inner.bias.detach())
        inputs = torch.quantize_per_tensor(x, 1 / 32, 128, torch.quint8)
        return torch.ops.quantized.linear(inputs, packed, 1 / 32, 128).dequantize()


def build(shape, outputs):
    return Int8(*shape, outputs)
"""


@pytest.fixture
def factory(tmp_path, monkeypatch):
    """Weights and test rows for a factory of a network of int8, in the working directory."""
    if "x86" not in torch.backends.quantized.supported_engines:
        pytest.skip("torch has no quantised kernels for this processor")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", list(sys.path))
    # Set by what is tested, and told in the provenance of everything that runs later.
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", "")
    threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    filled, engine = torch.utils.deterministic.fill_uninitialized_memory, torch.backends.quantized.engine
    (tmp_path / "int8.py").write_text(NETWORK)
    weights = {"inner.weight": torch.tensor([[1.0, -0.5], [0.25, 0.75]]), "inner.bias": torch.zeros(2)}
    rows = torch.linspace(-1, 1, 12).reshape(6, 2).numpy()
    yield weights, Split(rows, (rows[:, 0] > 0).astype("int64"), None, (2,), ("a", "b"))
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(deterministic)
    torch.utils.deterministic.fill_uninitialized_memory = filled
    torch.backends.quantized.engine = engine


def fitted(threads, weights, test):
    device = set_up_torch("cpu", threads)
    description = {"input_shape": (2,), "outputs": 2, "factory": "int8:build"}
    fitted_model("weights.safetensors", description, weights, "here", test, device)
    return load_model("weights.safetensors", device)


def test_one_thread_of_a_cpu_runs_it(factory):
    weights, test = factory
    model = fitted(1, weights, test)
    rows = torch.from_numpy(test.features)
    found = attribute(model, rows, target=0, method="gradient", gradient=FiniteDifference(0.5, "central"))
    # Stairs of 1/32 below a linear function: each output is off by at most 1/64 for itself and as much for its inputs.
    torch.testing.assert_close(found, weights["inner.weight"][:1].expand(6, 2), rtol=0, atol=2 / 32)


def test_more_threads_refuse_what_torch_calls_not_deterministic(factory):
    with pytest.raises((RuntimeError, ValueError, RowError), match="does not have a deterministic implementation"):
        fitted(2, *factory)
