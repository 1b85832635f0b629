"""Occlusion and feature ablation as methods, which take no gradients: captum's results, and what they cost."""

from types import SimpleNamespace

import pytest
import torch
from captum.attr import FeatureAblation, Occlusion
from torch import nn

from approxgrad import FiniteDifference, attribute
from approxgrad.gradients.evaluating.counting import CountedModel
from approxgrad.gradients.propagation.following import Following
from approxgrad.gradients.source import evaluated_source
from approxgrad.methods.method import METHODS

SHAPE = (2, 5, 6)
GROUPS = torch.arange(60) // 7 % 4
PIXELS = torch.arange(30).reshape(1, 5, 6)
CASES = [
    ({"window": 3, "stride": 2}, {"sliding_window_shapes": (2, 3, 3), "strides": (2, 2, 2)}, 2 * 3),
    ({"window": (1, 5, 2), "stride": (1, 1, 2)}, {"sliding_window_shapes": (1, 5, 2), "strides": (1, 1, 2)}, 2 * 3),
    ({}, {}, 60),
    ({"mask": "pixels"}, {"feature_mask": PIXELS}, 30),
    ({"mask": tuple((GROUPS - 2).tolist())}, {"feature_mask": GROUPS.reshape(1, *SHAPE)}, 4),
]


def network():
    torch.manual_seed(0)
    layers = nn.Conv2d(2, 3, 3, padding=1), nn.Tanh(), nn.Flatten(), nn.Linear(90, 3)
    return nn.Sequential(*layers).double().eval()


def images(rows=3):
    return torch.randn(rows, *SHAPE, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@pytest.mark.parametrize("baseline", [0, 0.5])
@pytest.mark.parametrize("evaluation", ["dense", "propagated"])
@pytest.mark.parametrize(("options", "given", "parts"), CASES)
def test_maps_are_captums_and_cost_what_is_announced(options, given, parts, evaluation, baseline):
    model, x, target = network(), images(), torch.tensor([2, 0, 1])
    name, captum = ("occlusion", Occlusion) if "window" in options else ("feature_ablation", FeatureAblation)
    found = attribute(model, x, target=target, method=name, evaluation=evaluation, baselines=baseline, **options)
    expected = captum(model).attribute(x, target=target, baselines=baseline, **given)
    # captum returns float32 whatever the inputs are, and sums in it.
    torch.testing.assert_close(found.float(), expected.float(), rtol=1e-5, atol=1e-6 * float(expected.abs().max()))

    method, source = METHODS[name](evaluation=evaluation, **options), Following()
    counted = CountedModel(
        source.prepare(model, (x,), (), target.unsqueeze(1)), SimpleNamespace(update=lambda count: None)
    )
    again = method.attribute(counted, x, target, source, torch.full_like(x, baseline))
    # Some roundings of float64 in each layer.
    torch.testing.assert_close(again, found, rtol=1e-10, atol=1e-12)
    assert counted.evaluations == len(x) * (parts + 1) == len(x) * method.evaluations(evaluated_source(), SHAPE)
    assert source.used_evaluation == evaluation
    assert (source.saved_operations is None) == (evaluation == "dense")


def test_rows_of_a_table_and_arrays():
    weights = torch.tensor([1.0, -2.0, 0.5])
    x = torch.tensor([[1.0, 2.0, 3.0]])
    found = attribute(lambda rows: rows @ weights, x, method="feature_ablation", baselines=1.0)
    torch.testing.assert_close(found, weights * (x - 1))
    grouped = attribute(lambda rows: rows @ weights.numpy(), x.numpy(), method="feature_ablation", mask=[0, 1, 0])
    assert grouped.tolist() == [[2.5, -4.0, 2.5]]


@pytest.mark.parametrize(
    ("method", "options", "said"),
    [
        ("occlusion", {}, "window: occlusion needs it"),
        ("occlusion", {"window": 9}, r"window: \(2, 9, 9\) is larger than one image"),
        ("occlusion", {"window": 2, "gradient": FiniteDifference(1.0)}, "gradient: occlusion takes none; leave it out"),
        ("occlusion", {"window": 2, "n_steps": 3}, "n_steps: not an option of occlusion, which takes baselines, "),
        ("feature_ablation", {"mask": "rows"}, "mask: expected features, pixels or a list of integers, got 'rows'"),
        ("feature_ablation", {"mask": PIXELS}, "mask: expected features, pixels or a list of integers, got a Tensor"),
        ("feature_ablation", {"mask": [1, 2]}, "mask: got 2 numbers, expected 60, one for each feature"),
    ],
)
def test_mistakes_are_one_line(method, options, said):
    with pytest.raises((TypeError, ValueError), match=said):
        attribute(network(), images(), target=0, method=method, **options)


def test_many_boxes_of_a_large_image_take_little_memory():
    # Masks of all boxes at once would be 57 GB.
    shape = (3, 224, 224)
    described = METHODS["occlusion"](window=33, stride=1)
    assert described.parts(shape) == 192**2
    masks = described.boxes(shape)
    assert masks.box(192 + 5) == (slice(0, 3), slice(1, 34), slice(5, 38))
