import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats

from approxgrad.evaluation.metrics import METRICS, compare

# Sums of at most 50 terms, each rounded once or twice.
EPS = 100 * np.finfo(float).eps
CORRELATIONS = ["pearson", "spearman", "cosine"]


def maps(rows=20, features=50):
    generator = np.random.default_rng(0)
    reference = generator.normal(size=(rows, features))
    return reference + generator.normal(size=(rows, features)), reference


def value(name, attribution, reference):
    return compare(np.array([attribution], float), np.array([reference], float))[name][0]


@pytest.mark.parametrize(
    ("name", "attribution", "reference", "expected"),
    [
        ("cosine", [1, 0], [1, 1], 0.5**0.5),
        ("cosine", [3, 4], [-3, -4], -1),
        ("pearson", [1, 2, 3], [2, 4, 9], 3.5 / 13**0.5),  # covariance 7/2, variances 1 and 13
        ("pearson", [1, 2, 3], [3, 2, 1], -1),
        ("spearman", [1, 2, 30], [2, 3, 4], 1),
        ("spearman", [1, 1, 2], [1, 2, 3], 0.75**0.5),  # ranks 1.5, 1.5, 3
        ("mean_squared_error", [1, 2, 3], [1, 0, 0], 13 / 3),
        ("relative_error", [1, 2, 2], [0, 0, 2], 5**0.5 / 2),
        ("scale_free_error", [1, 0], [1, 1], 0.5**0.5),
        ("scale_free_error", [-2, -4, 6], [1, 2, -3], 0),
        ("best_factor", [1, 0], [3, 4], 3),
        ("best_factor", [-2, -4, 6], [1, 2, -3], -0.5),
        ("sign_agreement", [1, -1, 0, 0], [2, 1, 0, 1], 0.5),
        ("top_overlap", [9, 1, 1, 1], [-8, 1, 2, 3], 1),
        ("top_overlap", [9, 1, 1, 1], [1, 9, 2, 3], 0),
        # Eleven features: the top tenth are two of them.
        ("top_overlap", [9, 8, *range(7), 0, 0], [9, 0, *range(7), 0, -8], 0.5),
        # Ties share a place: each of the three has a third of the only one.
        ("top_overlap", [2, -2, 2, 1], [3, 0, 0, 1], 1 / 3),
        ("top_overlap", [2, -2, 2, 1], [1, 1, 2, 2], 1 / 3),
        ("top_overlap", [2, -2, 2, 1], [2, 2, 2, 1], 1),
        # Zeros are not among the largest: two places, and maps with one value each.
        ("top_overlap", [5, *[0] * 19], [0, 5, *[0] * 18], 0),
        ("top_overlap", [5, *[0] * 19], [7, *[0] * 19], 1),
        ("top_overlap", [5, *[0] * 19], [7, 6, *range(5), *[0] * 13], 2 / 3),
    ],
)
def test_hand_computed_values(name, attribution, reference, expected):
    assert_allclose(value(name, attribution, reference), expected, rtol=EPS)


REFERENCES = {
    "pearson": lambda a, r: stats.pearsonr(a, r).statistic,
    "spearman": lambda a, r: stats.spearmanr(a, r).statistic,
    "cosine": lambda a, r: a @ r / np.sqrt((a @ a) * (r @ r)),
    "mean_squared_error": lambda a, r: sum((x - y) ** 2 for x, y in zip(a, r, strict=True)) / len(a),
    "relative_error": lambda a, r: np.sqrt(((a - r) @ (a - r)) / (r @ r)),
    "scale_free_error": lambda a, r: np.linalg.norm((a @ r) / (a @ a) * a - r) / np.linalg.norm(r),
    "best_factor": lambda a, r: np.linalg.lstsq(a[:, None], r)[0][0],
    "sign_agreement": lambda a, r: sum(x * y > 0 for x, y in zip(a, r, strict=True)) / len(a),
    "top_overlap": lambda a, r: len(set(np.abs(a).argsort()[-5:]) & set(np.abs(r).argsort()[-5:])) / 5,
}


@pytest.mark.parametrize("name", METRICS)
def test_every_row_equals_an_independent_computation(name):
    a, r = maps()
    expected = [REFERENCES[name](x, y) for x, y in zip(a, r, strict=True)]
    assert_allclose(compare(a, r)[name], expected, rtol=EPS, atol=EPS)


@pytest.mark.parametrize("name", METRICS)
def test_a_map_agrees_with_itself_best_and_values_stay_in_range(name):
    a, r = maps()
    metric, values = METRICS[name], compare(a, r)[name]
    assert_allclose(compare(r, r)[name], metric.best, atol=EPS)
    assert ((values >= metric.lower) & (values <= metric.upper)).all()
    assert (values != metric.best).all()


def test_ties_are_ranked_by_their_mean():
    a, r = (np.round(values) for values in maps())
    expected = [stats.spearmanr(x, y).statistic for x, y in zip(a, r, strict=True)]
    assert_allclose(compare(a, r)["spearman"], expected, rtol=EPS)


def test_a_constant_factor_is_no_wrong_pattern():
    """A map at half the size with a little noise: half of it is lost, but its pattern is almost that of the other."""
    _, reference = maps()
    noise = 0.05 * np.random.default_rng(3).normal(size=reference.shape)
    found = compare(0.5 * reference + noise, reference)
    assert np.median(found["relative_error"]) > 0.45
    assert (found["scale_free_error"] < 0.15).all()
    assert_allclose(found["best_factor"], 2, rtol=0.1)


def test_a_scale_free_error_does_not_drown_in_the_rounding_of_a_cosine():
    a, r = maps()
    off = a - (a * r).sum(axis=1, keepdims=True) / (r**2).sum(axis=1, keepdims=True) * r
    off *= 1e-12 * np.linalg.norm(r, axis=1, keepdims=True) / np.linalg.norm(off, axis=1, keepdims=True)
    # Off by the rounding of the sum of both, eps, against 1e-12.
    assert_allclose(compare(r + off, r)["scale_free_error"], 1e-12, rtol=2e-3)
    assert (compare(r + off, r)["cosine"] > 1 - 1e-15).all()


def test_signs_of_maps_without_signs_are_not_compared():
    a, r = maps()
    assert np.isnan(compare(np.abs(a), r, signed=False)["sign_agreement"]).all()
    others = compare(np.abs(a), r)
    for name, values in compare(np.abs(a), r, signed=False).items():
        if name != "sign_agreement":
            assert_array_equal(values, others[name])


def test_a_label_says_how_many_features_are_the_top():
    assert METRICS["top_overlap"].label_of(12) == "Overlap of the top 2 of 12 features"
    assert METRICS["pearson"].label_of(12) == METRICS["pearson"].label


ZERO, CONSTANT, VARIED = [0, 0, 0], [0.1, 0.1, 0.1], [1, 2, 4]


@pytest.mark.parametrize(
    ("attribution", "reference", "undefined"),
    [
        (VARIED, VARIED, set()),
        (CONSTANT, VARIED, {"pearson", "spearman", "top_overlap"}),
        (VARIED, CONSTANT, {"pearson", "spearman", "top_overlap"}),
        (ZERO, VARIED, {"pearson", "spearman", "top_overlap", "cosine", "scale_free_error", "best_factor"}),
        (
            VARIED,
            ZERO,
            {"pearson", "spearman", "top_overlap", "cosine", "relative_error", "scale_free_error", "best_factor"},
        ),
        ([1, -1, 1], VARIED, {"top_overlap"}),
    ],
)
def test_undefined_measures_are_nan_without_a_warning(attribution, reference, undefined):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        values = {name: value(name, attribution, reference) for name in METRICS}
    assert {name for name, result in values.items() if np.isnan(result)} == undefined


def test_an_undefined_row_does_not_touch_the_others():
    a, r = maps()
    a[3], r[5] = 0.1, 0
    for name, values in compare(a, r).items():
        others = [row for row in range(20) if row not in (3, 5)]
        assert_array_equal(values[others], compare(a[others], r[others])[name])


@pytest.mark.parametrize("name", METRICS)
def test_a_row_has_the_same_values_to_the_last_digit_wherever_it_stands(name):
    a, r = maps(features=8)
    alone = [compare(a[row : row + 1], r[row : row + 1])[name][0] for row in range(len(a))]
    assert_array_equal(compare(a, r)[name], alone)


@pytest.mark.parametrize("name", METRICS)
def test_the_shape_of_the_data_type_and_the_order_of_features_do_not_matter(name):
    a, r = (values.astype(np.float32) for values in maps())
    order = np.random.default_rng(1).permutation(50)
    expected = compare(a.astype(float), r.astype(float))[name]
    assert compare(a, r)[name].dtype == np.float64
    assert_array_equal(compare(a, r)[name], expected)
    assert_allclose(compare(a[:, order], r[:, order])[name], expected, rtol=EPS, atol=EPS)


@pytest.mark.parametrize("scale", [1e-30, 0.3, 7, 1e30])
def test_scales_of_the_maps(scale):
    a, r = maps()
    plain = compare(a, r)
    for scaled in (compare(scale * a, r), compare(a, scale * r)):
        for name in [*CORRELATIONS, "scale_free_error", "sign_agreement", "top_overlap"]:
            assert_allclose(scaled[name], plain[name], rtol=EPS, atol=EPS)
    both = compare(scale * a, scale * r)
    assert_allclose(compare(scale * a, r)["best_factor"], plain["best_factor"] / scale, rtol=EPS)
    assert_allclose(both["best_factor"], plain["best_factor"], rtol=EPS)
    assert_allclose(both["relative_error"], plain["relative_error"], rtol=EPS)
    assert_allclose(both["mean_squared_error"], scale**2 * plain["mean_squared_error"], rtol=EPS)
    for name in CORRELATIONS:
        assert_allclose(compare(-scale * a, r)[name], -plain[name], rtol=EPS, atol=EPS)


@pytest.mark.parametrize("name", [*CORRELATIONS, "relative_error", "scale_free_error", "best_factor"])
@pytest.mark.parametrize("scale", [1e-200, 1e200])
def test_ratios_stand_scales_whose_squares_leave_the_range(name, scale):
    a, r = maps()
    function = METRICS[name].function
    assert_allclose(function(scale * a, scale * r), function(a, r), rtol=EPS, atol=EPS)


def test_shifts_of_a_map():
    a, r = maps()
    plain, shifted = compare(a, r), compare(a + 10, r - 3)
    assert_allclose(
        shifted["pearson"], plain["pearson"], rtol=20 * EPS, atol=20 * EPS
    )  # numbers of size 10 are rounded
    assert_array_equal(shifted["spearman"], plain["spearman"])
    assert (np.abs(shifted["cosine"] - plain["cosine"]) > 0.1).all()


@pytest.mark.parametrize("shapes", [((3, 4), (3, 5)), ((3, 4), (4,)), ((4,), (4,)), ((3, 2, 2), (3, 2, 2))])
def test_shapes_that_do_not_fit_are_refused(shapes):
    with pytest.raises(ValueError, match=r"reference: expected two maps of one shape \(N, d\), got \("):
        compare(*(np.ones(shape) for shape in shapes))
