"""Occlusion and feature ablation against captum's."""

import pytest
import torch
from captum.attr import FeatureAblation, Occlusion
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from approxgrad.methods.occlusion import feature_ablation, occlusion

EVALUATIONS = ["dense", "propagated", "auto"]


def network(seed=0, channels=3, stride=1):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(channels, 4, 3, stride, 1),
        nn.ReLU(),
        nn.MaxPool2d(3, 2, 1),
        nn.Conv2d(4, 5, 3, padding=1),
        nn.SiLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(5, 3),
    ).eval()


def images(rows, *shape):
    return torch.randn(rows, *shape, generator=torch.Generator().manual_seed(3))


def by_captum(model, x, window, stride, baselines, target):
    own, baselines = model.double(), baselines.double() if isinstance(baselines, torch.Tensor) else baselines
    found = Occlusion(own).attribute(
        x.double(), sliding_window_shapes=window, strides=stride, baselines=baselines, target=target
    )
    model.float()
    return found


def close(found, expected):
    assert found.shape == expected.shape
    assert float((found.double() - expected).norm()) <= 1e-5 * float(expected.norm()) + 1e-9


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    seed=st.integers(0, 1000),
    size=st.tuples(st.integers(5, 12), st.integers(5, 12)),
    window=st.tuples(st.integers(1, 3), st.integers(1, 5), st.integers(1, 5)),
    data=st.data(),
    conv_stride=st.integers(1, 2),
    evaluation=st.sampled_from(EVALUATIONS),
)
def test_occlusion_is_captums(seed, size, window, data, conv_stride, evaluation):
    model, x = network(seed, stride=conv_stride), images(2, 3, *size)
    stride = tuple(data.draw(st.integers(1, own)) for own in window)
    baselines = data.draw(st.sampled_from([0, 0.5, torch.linspace(-1, 1, x[:1].numel()).reshape(x[:1].shape)]))
    target = torch.tensor([2, 0])
    expected = by_captum(model, x, window, stride, baselines, target)
    found = occlusion(model, x, window, stride, baselines, target, evaluation=evaluation)
    assert found.dtype == x.dtype
    close(found, expected)


def test_a_window_of_two_numbers_or_one_covers_all_channels():
    model, x = network(), images(1, 3, 8, 9)
    whole = occlusion(model, x, (3, 2, 2), (3, 1, 1), target=1)
    for window, stride in (((2, 2), 1), (2, 1), (2, (1, 1))):
        assert torch.equal(occlusion(model, x, window, stride, target=1), whole)


@pytest.mark.parametrize("evaluation", EVALUATIONS)
def test_feature_ablation_is_captums(evaluation):
    model, x = network(), images(2, 3, 8, 9)
    groups = torch.arange(72).reshape(8, 9) // 5 * 3
    found = feature_ablation(model, x, groups, 0.3, torch.tensor([1, 2]), evaluation=evaluation)
    own = FeatureAblation(model.double())
    expected = own.attribute(x.double(), 0.3, torch.tensor([1, 2]), feature_mask=groups.expand(1, 3, 8, 9))
    close(found, expected)


def test_a_model_that_cannot_be_followed():
    own, x = network(), images(1, 3, 8, 8)
    found = occlusion(lambda rows: own(rows), x, 3, 2, target=1)
    torch.testing.assert_close(found, occlusion(own, x, 3, 2, target=1, evaluation="propagated"), atol=1e-6, rtol=1e-4)
    with pytest.raises(ValueError, match=r"it is no torch.nn.Module but function; 'dense' takes any model"):
        occlusion(lambda rows: own(rows), x, 3, 2, target=1, evaluation="propagated")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"window": 9}, "window: .* is larger than one image"),
        ({"window": 0}, "window: expected one, two or three positive integers, got 0"),
        ({"window": (1, 2, 3, 4)}, "window: expected one, two or three"),
        ({"window": 2, "stride": 3}, "stride: .* pixels would never be occluded"),
        ({"window": 2, "stride": 1.5}, "stride: expected one, two or three positive integers"),
        ({"window": 2, "evaluation": "fast"}, "evaluation: got 'fast'"),
        ({"window": 2, "target": 7}, "target: .* out of range"),
    ],
)
def test_mistakes_are_one_line(options, said):
    with pytest.raises((ValueError, TypeError), match=said):
        occlusion(network(), images(1, 3, 8, 8), **{"target": 1, **options})


def test_masks_that_do_not_fit_are_refused():
    model, x = network(), images(1, 3, 8, 8)
    with pytest.raises(ValueError, match=r"feature_mask: shape .* does not broadcast to one input"):
        feature_ablation(model, x, torch.zeros(5, dtype=torch.long), target=1)
    with pytest.raises(TypeError, match="feature_mask: expected integers"):
        feature_ablation(model, x, torch.zeros(8, 8), target=1)


def test_a_network_without_windows_is_followed_on_whole_maps():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(48, 7), nn.Tanh(), nn.Linear(7, 3)).double().eval()
    images = torch.randn(2, 3, 4, 4, dtype=torch.float64)
    found, wanted = (
        occlusion(network, images, window=2, target=1, evaluation=evaluation) for evaluation in ("propagated", "dense")
    )
    assert (found - wanted).abs().max() <= 64 * torch.finfo(torch.float64).eps
