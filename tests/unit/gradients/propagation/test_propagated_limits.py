"""Propagated differences where rules lose digits, fail or take long."""

import pytest
import torch
from test_propagated_differences import Module, error, images, in_double, propagated, small
from torch import nn

from approxgrad import FiniteDifference
from approxgrad.gradients.propagation import rules


class Atan(nn.Module):
    """A function without a rule."""

    def forward(self, x):
        return torch.atan(x)


def test_directions_that_vanish_are_evaluated_in_double_precision():
    class Directions(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.inner = nn.Conv2d(2, 3, 1), nn.Linear(192, 3)

        def forward(self, x):
            return self.inner(nn.functional.normalize(self.conv(x).relu(), dim=1).flatten(1))

    torch.manual_seed(0)
    model, x = Directions(), images()
    assert error(propagated(1.0)(model, x, 1)[0], in_double(model, x, 1.0, "forward", 1)) < 1e-5


def test_a_divisor_that_nearly_vanishes_is_evaluated_in_double_precision():
    class Pole(nn.Module):
        def forward(self, x):
            return x[:, :1] / (x[:, 1:] / 3 - 0.0471965)

    model, x = Pole(), torch.tensor([[1.0, 3.1415927]])
    expected = in_double(model, x, 3.0, "backward", 0)
    assert float(expected[0, 1].abs()) > 1e5
    assert error(propagated(3.0, "backward")(model, x, 0)[0], expected) < 1e-6


def test_a_model_without_numbers_near_an_input_is_refused():
    x = images(1)
    total = float(x.double().sum())
    model = Module(lambda self, x: self.inner(x) * (0.5 + (400 * (x.sum(1, keepdim=True) - total)).cos()).log())
    with pytest.raises(ValueError, match="its outputs are not finite after any trial step"):
        propagated(0.1)(model, x, 1)


@pytest.mark.parametrize("layer", [nn.GroupNorm(1, 8), nn.Softmax(1), Atan()], ids=repr)
def test_auto_leaves_to_dense_what_takes_longer_to_follow(layer):
    torch.manual_seed(0)
    ends = nn.Conv2d(2, 8, 3, padding=1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3)
    source = FiniteDifference(0.1, evaluation="auto")
    for layers, used in (([nn.ReLU()], "propagated"), ([layer, nn.ReLU()], "dense")):
        source(nn.Sequential(ends[0], *layers, *ends[1:]).eval(), images(side=12), 1)
        assert source.used_evaluation == used


def test_a_failure_of_a_rule_is_told_in_one_line(monkeypatch):
    def fail(self, numbers):
        raise ArithmeticError("two\nlines")

    monkeypatch.setattr(rules.Rule, "work", fail)
    with pytest.raises(ValueError, match="because a rule fails with ArithmeticError: two lines; 'dense' takes any"):
        propagated(0.1)(small(), images(), 1)
    source = FiniteDifference(0.1, evaluation="auto")
    source(small(), images(), 1)
    assert source.used_evaluation == "dense"
