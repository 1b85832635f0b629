import numpy as np
import pytest

from approxgrad.descriptions import read
from approxgrad.gradients.difference import Difference
from approxgrad.gradients.source import Exact, Source
from approxgrad.methods.method import METHODS

NEEDED = {"smoothgrad": {"sigma": 0.1}, "occlusion": {"window": 2}}
SCHEMES = ("forward", "backward", "central")
SOURCES = {"exact": Source(Exact())} | {name: Source(Difference(name, (0.5,)), 0.5) for name in SCHEMES}


@pytest.mark.parametrize(
    ("family", "gradient", "path", "two_paths"),
    [
        ("exact", 1, 5, 10),
        ("forward", 13, 5 * 13, 5 * 14),
        ("backward", 13, 5 * 13, 5 * 14),
        ("central", 24, 5 * 24, 5 * 24),
    ],
)
def test_evaluations_of_twelve_features_and_five_path_points(family, gradient, path, two_paths):
    source = SOURCES[family]
    assert source.evaluations(12) == gradient
    for name in ("gradient", "saliency", "input_x_gradient"):
        method = METHODS[name]()
        assert method.evaluations(source, (12,)) == method.evaluations(source, (12,), 2) == gradient
    own, published = (METHODS[name](n_steps=5) for name in ("integrated_gradients", "integrated_gradients_published"))
    assert own.evaluations(source, (12,)) == published.evaluations(source, (12,)) == path
    assert own.evaluations(source, (12,), 2) == path
    assert published.evaluations(source, (12,), 2) == two_paths
    assert METHODS["integrated_gradients"]().evaluations(source, (12,)) == 10 * path


def test_what_the_methods_offer():
    offers = {
        name: (method.signed, method.path, method.complete, method.refers, method.takes_gradients)
        for name, method in METHODS.items()
    }
    assert offers == {
        "gradient": (True, False, False, False, True),
        "smoothgrad": (True, False, False, False, True),
        "saliency": (False, False, False, False, True),
        "input_x_gradient": (True, False, False, False, True),
        "integrated_gradients": (True, True, True, False, True),
        "integrated_gradients_published": (True, True, False, True, True),
        "occlusion": (True, False, False, False, False),
        "feature_ablation": (True, False, False, False, False),
    }
    derived = [name for name in METHODS if METHODS[name](**NEEDED.get(name, {})).derived]
    assert derived == ["gradient", "saliency", "input_x_gradient"]


@pytest.mark.parametrize("name", [name for name in METHODS if METHODS[name].takes_gradients])
def test_the_factor_is_what_the_gradient_is_multiplied_with(name):
    inputs, baselines = np.array([[1.5, -2.0]]), np.array([[0.5, 1.0]])
    ones = 1 + 0 * inputs
    expected = {"gradient": ones, "smoothgrad": ones, "saliency": ones, "input_x_gradient": inputs}
    factor = METHODS[name](**NEEDED.get(name, {})).factor(inputs, baselines)
    np.testing.assert_array_equal(factor, expected.get(name, inputs - baselines))


@pytest.mark.parametrize(
    ("name", "options", "title"),
    [
        ("saliency", {}, "Saliency"),
        ("occlusion", {"window": 2}, "Occlusion (2 × 2, stride 1)"),
        ("occlusion", {"window": [1, 2, 3], "stride": [1, 2, 2]}, "Occlusion (1 × 2 × 3, stride 1 × 2 × 2)"),
        ("occlusion", {"window": [2, 3], "stride": 2, "baseline": 1}, "Occlusion (2 × 3, stride 2, 1.0 baseline)"),
        ("feature_ablation", {"mask": "pixels"}, "Feature Ablation (pixels)"),
        ("feature_ablation", {"mask": [0, 0, 1], "baseline": "mean"}, "Feature Ablation (own mask, mean baseline)"),
        ("integrated_gradients", {}, "Integrated Gradients"),
        ("integrated_gradients", {"baseline": "zero"}, "Integrated Gradients"),
        ("integrated_gradients", {"baseline": "mean"}, "Integrated Gradients (mean baseline)"),
        ("integrated_gradients", {"baseline": "test_mean"}, "Integrated Gradients (test mean baseline)"),
        ("integrated_gradients", {"baseline": 0.5}, "Integrated Gradients (0.5 baseline)"),
        ("integrated_gradients", {"baseline": [0.5, 1]}, "Integrated Gradients (own baseline)"),
        (
            "integrated_gradients_published",
            {"baseline": "mean"},
            "Integrated Gradients (published variant, mean baseline)",
        ),
    ],
)
def test_titles_tell_methods_of_one_kind_apart(name, options, title):
    assert read(METHODS[name], options).title == title


def test_methods_are_compared_with_another_one_if_they_name_it():
    for name in ("gradient", "integrated_gradients_published", "occlusion", "feature_ablation"):
        named = METHODS[name](reference="own", **NEEDED.get(name, {}))
        assert named.reference_method == "own"
        assert "reference" not in named.entry
    made = {name: method(**NEEDED.get(name, {})) for name, method in METHODS.items()}
    assert {name: method.reference_method for name, method in made.items()} == dict.fromkeys(METHODS)
