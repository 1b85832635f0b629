import numpy as np
import pytest

from approxgrad.descriptions import read
from approxgrad.gradients.difference import Difference
from approxgrad.gradients.source import Exact, Source
from approxgrad.methods.method import METHODS

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
    assert own.evaluations(source, (12,)) == own.evaluations(source, (12,), 2) == published.evaluations(source, (12,)) == path
    assert published.evaluations(source, (12,), 2) == two_paths
    assert METHODS["integrated_gradients"]().evaluations(source, (12,)) == 10 * path


def test_what_the_methods_offer():
    offers = {
        name: (method.signed, method.path, method.complete, method.refers, method().derived)
        for name, method in METHODS.items()
    }
    assert offers == {
        "gradient": (True, False, False, False, True),
        "saliency": (False, False, False, False, True),
        "input_x_gradient": (True, False, False, False, True),
        "integrated_gradients": (True, True, True, False, False),
        "integrated_gradients_published": (True, True, False, True, False),
    }


@pytest.mark.parametrize("name", METHODS)
def test_the_factor_is_what_the_gradient_is_multiplied_with(name):
    inputs, baselines = np.array([[1.5, -2.0]]), np.array([[0.5, 1.0]])
    expected = {"gradient": 1 + 0 * inputs, "saliency": 1 + 0 * inputs, "input_x_gradient": inputs}
    factor = METHODS[name]().factor(inputs, baselines)
    np.testing.assert_array_equal(factor, expected.get(name, inputs - baselines))


@pytest.mark.parametrize(
    ("name", "options", "title"),
    [
        ("saliency", {}, "Saliency"),
        ("integrated_gradients", {}, "Integrated Gradients"),
        ("integrated_gradients", {"baseline": "zero"}, "Integrated Gradients"),
        ("integrated_gradients", {"baseline": "mean"}, "Integrated Gradients (mean baseline)"),
        ("integrated_gradients", {"baseline": 0.5}, "Integrated Gradients (0.5 baseline)"),
        ("integrated_gradients", {"baseline": [0.5, 1]}, "Integrated Gradients (own baseline)"),
        (
            "integrated_gradients_published",
            {"baseline": "mean"},
            "Integrated Gradients (published variant, mean baseline)",
        ),
    ],
)
def test_titles_tell_a_baseline_that_is_not_zero(name, options, title):
    assert read(METHODS[name], options).title == title


def test_only_the_published_variant_is_compared_with_another_method():
    published = METHODS["integrated_gradients_published"]
    assert published(reference="own").reference_method == "own"
    assert {name: method().reference_method for name, method in METHODS.items()} == dict.fromkeys(METHODS)
