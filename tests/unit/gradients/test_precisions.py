"""Precisions of 16 bits beside those of 32 and 64."""

import numpy as np
import pytest
import torch
from torch import nn

from approxgrad import ExactGradient, FiniteDifference, attribute
from approxgrad.descriptions import read
from approxgrad.gradients.difference import Difference
from approxgrad.gradients.evaluating.rows import RowError
from approxgrad.gradients.precisions import EPSILONS, HALVES, PRECISIONS, leading, stored_in
from approxgrad.gradients.source import SOURCES, sources

HALF = [torch.bfloat16, torch.float16]


def test_precisions_are_ordered_and_know_their_epsilon():
    assert {name: torch.finfo(getattr(torch, name)).eps for name in PRECISIONS} == EPSILONS
    assert list(EPSILONS.values()) == sorted(EPSILONS.values(), reverse=True)
    assert leading(["float64", "bfloat16", "float32"]) == "float32"
    assert leading(["float64", "float16", "bfloat16"]) == "bfloat16"
    assert [stored_in(name) for name in PRECISIONS] == ["float32", "float32", "float32", "float64"]


def test_sources_stand_in_the_order_of_precision():
    kind = Difference("forward", (0.5, 1.0), ("float64", "bfloat16", "float32", "float16"))
    ordered = sorted(sources(kind), key=lambda source: source.rank)
    assert [source.dtype for source in ordered] == [name for name in PRECISIONS for _ in range(2)]
    assert [source.name for source in ordered[:5:2]] == [
        "forward-h0.5-bfloat16",
        "forward-h0.5-float16",
        "forward-h0.5",
    ]


@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.parametrize("scheme", ["forward", "central"])
def test_the_error_of_a_linear_model_is_its_rounding_over_the_step(dtype, scheme):
    torch.manual_seed(0)
    model = nn.Linear(16, 1).to(dtype)
    x = torch.randn(40, 16).to(dtype)
    for step in (0.25, 2.0):
        (found,) = FiniteDifference(step, scheme)(model, x)
        assert found.dtype == dtype
        error = (found.double() - model.weight.double()).abs()
        # Two outputs, each rounded once to half an epsilon of its size, and the quotient too; sums are in float32.
        largest = float(model(x).detach().double().abs().max() + step * model.weight.detach().double().abs().max())
        eps = torch.finfo(dtype).eps
        made = step * (1 - eps * float(x.double().abs().max()) / step)
        made *= 1 if scheme == "forward" else 2
        assert error.max() <= eps * largest / made + eps * float(model.weight.detach().double().abs().max())
        # In this precision and not in another one.
        assert error.max() > 1e-4 / step * eps / EPSILONS["float16"]


@pytest.mark.parametrize("name", ["directions", "orthogonal", "smoothing", "sampling", "surrogate", "difference"])
def test_every_source_of_evaluations_is_one_of_16_bits_too(name):
    options = {
        "directions": {"directions": "pixels", "budgets": [13], "step": 1},
        "orthogonal": {"orthogonal": "central", "steps": [0.5]},
        "smoothing": {"smoothing": "spsa", "budgets": [40], "step": 1},
        "sampling": {"sampling": "gefa", "budgets": [40]},
        "surrogate": {"surrogate": "kernel_shap", "budgets": [40]},
        "difference": {"difference": "forward", "steps": [0.5]},
    }[name]
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(12, 32), nn.Softplus(), nn.Linear(32, 2))
    x, maps = torch.randn(4, 12), {}
    for dtype in ("bfloat16", "float32"):
        (source,) = sources(read(SOURCES[name], {**options, "dtypes": [dtype]}))
        own = model.to(getattr(torch, dtype))
        gradient = source.kind.gradient(source.setting, batch_size=None, memory_budget=None, seed=1)
        method = "integrated_gradients" if name in ("sampling", "surrogate") else "gradient"
        maps[dtype] = attribute(own, x.to(getattr(torch, dtype)), target=0, method=method, gradient=gradient)
        assert maps[dtype].dtype == getattr(torch, dtype)
    error = (maps["bfloat16"].double() - maps["float32"].double()).norm() / maps["float32"].double().norm()
    assert 0 < error < 0.5


@pytest.mark.parametrize("dtype", HALVES)
def test_propagated_differences_have_an_arithmetic_instead(dtype):
    with pytest.raises(ValueError, match=rf"^dtypes: got {dtype}, .* write arithmetic: {dtype}"):
        Difference("forward", (0.5,), (dtype,), evaluation="propagated")
    assert Difference("forward", (0.5,), (dtype,)).unrounded is None


class Lacking(nn.Module):
    """A model with an operation that torch has not in 16 bits."""

    def forward(self, x):
        return torch.linalg.solve(torch.eye(x.shape[1], dtype=x.dtype), x.T).T


class _Backward(torch.autograd.Function):
    @staticmethod
    def forward(context, x):
        return x * 2

    @staticmethod
    def backward(context, gradient):
        raise NotImplementedError("\"twice_backward\" not implemented for 'Half'")


@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.parametrize("gradient", ["exact", FiniteDifference(0.5)])
def test_an_operation_that_torch_lacks_is_told_in_one_line_with_what_helps(dtype, gradient):
    kind = str(dtype).removeprefix("torch.")
    with pytest.raises(
        RowError, match=f"lacks an operation of the model in {kind} on this device: take float32"
    ) as error:
        attribute(Lacking(), torch.ones(2, 3, dtype=dtype), target=0, gradient=gradient)
    assert "\n" not in str(error.value)
    found = attribute(Lacking(), torch.ones(2, 3), target=0, gradient=gradient, signed=True)
    np.testing.assert_allclose(found, [[1, 0, 0]] * 2, atol=1e-6)


def test_so_is_a_derivative_that_it_lacks():
    with pytest.raises(
        ValueError, match=r"^gradient: cannot be computed .*in float16 on this device: take float32"
    ) as error:
        ExactGradient()(_Backward.apply, torch.ones(2, 3, dtype=torch.float16), 0)
    assert "\n" not in str(error.value)
