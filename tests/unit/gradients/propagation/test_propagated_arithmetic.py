"""Propagated differences in other precisions than the model's."""

import pytest
import torch
from torch import nn

from approxgrad import FiniteDifference
from approxgrad.gradients.difference import Difference

STEPS = [1.0, 1e-3, 1e-12]


def network(act):
    torch.manual_seed(0)
    layers = nn.Conv2d(2, 6, 3, padding=1), nn.BatchNorm2d(6), act, nn.MaxPool2d(3, 2, 1), nn.Conv2d(6, 6, 3), act
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(54, 12), nn.LayerNorm(12), act, nn.Linear(12, 3)).eval()


def gradient(model, x, step, **options):
    source = FiniteDifference(step, "central", evaluation="propagated", check_rows=False, **options)
    return source(model, x, 1)[0].double()


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("act", [nn.ReLU(), nn.SiLU(), nn.Hardtanh(-0.5, 0.5)], ids=repr)
def test_errors_are_some_roundings_at_every_step(act, step):
    model, x = network(act), torch.randn(2, 2, 10, 10, generator=torch.Generator().manual_seed(1))
    exact = gradient(model, x, step, arithmetic="float64")
    for name in ("float32", "bfloat16", "float16"):
        options = {} if name == "float32" else {"arithmetic": name}
        error = float((gradient(model, x, step, **options) - exact).norm() / exact.norm())
        # One rounding in each of the dozen operations, most of which average out.
        assert torch.finfo(getattr(torch, name)).eps / 100 < error < 4 * torch.finfo(getattr(torch, name)).eps


def test_float64_is_that_of_a_model_in_float64():
    model, x = network(nn.Tanh()), torch.randn(1, 2, 10, 10)
    found = gradient(model, x, 0.1, arithmetic="float64")
    expected = gradient(model.double(), x.double(), 0.1)
    # The result is stored in float32, that of the inputs.
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-8)


def test_every_feature_may_have_its_own_step():
    model, x = network(nn.ReLU()), torch.randn(1, 2, 10, 10)
    steps = torch.logspace(-3, 0, 200).reshape(2, 10, 10)
    exact = gradient(model, x, steps, arithmetic="float64")
    error = float((gradient(model, x, steps, arithmetic="float16") - exact).norm() / exact.norm())
    assert error < 4 * torch.finfo(torch.float16).eps


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            {"arithmetic": "bfloat16"},
            "arithmetic: only propagated differences have it; expected evaluation='propagated'",
        ),
        (
            {"arithmetic": "int8", "evaluation": "propagated"},
            "arithmetic: got 'int8', expected one of float64",
        ),
    ],
)
def test_what_is_no_arithmetic_is_refused(options, said):
    with pytest.raises(ValueError, match=said):
        FiniteDifference(0.1, **options)


def test_a_study_names_it():
    kind = Difference("forward", (0.1,), evaluation="propagated", arithmetic="float16")
    assert (kind.family, kind.label) == ("forward_propagated_float16", "propagated forward differences in float16")
    assert kind.unrounded == Difference("forward", (0.1,), evaluation="propagated")
    assert kind.gradient(0.1).arithmetic == "float16"
    with pytest.raises(ValueError, match="arithmetic: only propagated differences have it"):
        Difference("forward", (0.1,), arithmetic="float16")
