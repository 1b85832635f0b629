import pytest

from approxgrad.methods.cost import evaluations


@pytest.mark.parametrize(
    ("scheme", "gradient", "path", "two_paths"),
    [
        ("exact", 1, 5, 10),
        ("forward", 13, 5 * 13, 5 * 14),
        ("backward", 13, 5 * 13, 5 * 14),
        ("central", 24, 5 * 24, 5 * 24),
    ],
)
def test_evaluations_of_twelve_features_and_five_path_points(scheme, gradient, path, two_paths):
    for method in ("saliency", "input_x_gradient"):
        assert (
            evaluations(method, scheme, 12) == evaluations(method, scheme, 12, n_steps=5, baseline_values=2) == gradient
        )
    for method in ("integrated_gradients", "integrated_gradients_published"):
        assert evaluations(method, scheme, 12, n_steps=5) == path
    assert evaluations("integrated_gradients", scheme, 12, n_steps=5, baseline_values=2) == path
    assert evaluations("integrated_gradients_published", scheme, 12, n_steps=5, baseline_values=2) == two_paths
    assert evaluations("integrated_gradients", scheme, 12) == 10 * path


def test_unknown_schemes_are_refused():
    with pytest.raises(ValueError, match="sideways"):
        evaluations("saliency", "sideways", 12)
