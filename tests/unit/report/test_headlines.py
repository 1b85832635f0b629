"""What a story says in short about errors, on tables for which a naive sentence would be false."""

import math

import pandas as pd
import pytest

from approxgrad.report.story import start
from story_tables import CNN, IG, MLP, OTHER, facts, rows, table, text


def errors(names, settings, **columns):
    return rows(names, settings, metric="relative_error", **columns)


def test_the_headlines_follow_the_data():
    good, bad = errors(CNN, {0.1: 0.05, 1: 0.1}), errors(MLP, {0.1: 0.2, 1: 0.7})
    assert (
        "forward differences were tried from h = 0.1 to h = 1. At the best of these settings, the median relative "
        "error is 5.0 % to 20 % in 2 comparisons, and largest for Saliency of the MLP on synthetic linear at h = 0.1."
    ) in text(facts(good, bad), start)
    assert "the median relative error is 5.0 % in 1 comparison." in text(facts(good), start)
    single = text(facts(errors(CNN, {0.1: 0.05}), errors(MLP, {0.1: 0.2})), start)
    assert (
        "with forward differences at h = 0.1, the median relative error is 5.0 % to 20 % in 2 comparisons, and largest "
        "for Saliency of the MLP on synthetic linear."
    ) in single
    assert "tried" not in single


def test_bests_of_grids_of_other_ranges_are_not_compared():
    """Over its own small steps a method looks better than others that were only given large ones."""
    small, large = errors(CNN, {0.001: 0.001, 0.01: 0.01}), errors(MLP, {0.5: 0.2, 1: 0.7})
    told = text(facts(small, large, errors(IG, {0.5: 0.3, 1: 0.8})), start)
    assert (
        "tried from h = 0.5 to h = 1. At the best of these settings, the median relative error is 20 % to 30 %" in told
    )
    assert "0.10 %" not in told
    # Budgets are another setting than steps, even with the same numbers.
    steps, budgets = errors(CNN, {16: 0.4, 64: 0.2}), errors(CNN, {16: 0.9, 64: 0.8}, family="directions")
    assert "is 20 % in 1 comparison." in text(facts(steps, budgets), start)


def test_what_the_setting_does_is_told_with_one_precision():
    told = text(facts(rows(CNN, {0.1: 0.99996, 1: 0.2}), rows(MLP, {0.1: 0.8, 1: 0.7})), start)
    assert (
        "the median correlation of Saliency of the CNN on digits with its reference is 0.99996 at h = 0.1 and 0.20000 "
        "at h = 1."
    ) in told


@pytest.mark.parametrize(
    ("medians", "smallest", "limit"),
    [
        ({0.1: 0.9, 1: 0.895}, 0.01, "0.0100"),
        ({0.1: 1 - 1e-9, 1: 1 - 1e-8}, 0.0, "1.00e−6"),
        ({0.1: 1, 1: 1}, 0, "1.00e−6"),
    ],
)
def test_a_setting_that_changes_nothing_is_not_said_to_matter(medians, smallest, limit):
    told = text(facts(rows(CNN, medians), smallest=smallest), start)
    assert f"no median correlation changes by as much as {limit}." in told
    assert "more than" not in told


def test_the_best_setting_at_the_edge_of_the_grid_is_marked_and_counted():
    found = [
        errors(CNN, {0.1: 0.01, 1: 0.2, 2: 0.3}),
        errors(MLP, {0.1: 0.3, 1: 0.2, 2: 0.3}),
        errors(IG, {0.1: 0.3, 1: 0.2, 2: 0.1}),
    ]
    told = facts(*found)
    said = (
        "in 2 of 3 comparisons, it is the smallest or the largest of the settings tried. A better one may lie beyond."
    )
    assert said in text(told, start)
    assert [row["best tried"] for row in table(told)] == ["h = 0.1 (edge)", "h = 1", "h = 2 (edge)"]
    assert "in none of 1 comparison, it is" in text(facts(found[1]), start)
    assert "in the only comparison, it is" in text(facts(found[0]), start)
    # A single setting has no edge.
    assert table(facts(errors(CNN, {1: 0.1})))[0]["best tried"] == "h = 1"


def test_nothing_lies_beyond_a_best_that_is_perfect_or_reached_inside():
    for settings in ({0.1: 0.0, 1: 0.2, 2: 0.3}, {0.1: 0.2, 1: 0.2, 2: 0.3}):
        told = text(facts(errors(CNN, settings)), start)
        assert "in none of 1 comparison, it is" in told
        assert "beyond" not in told


def test_a_tail_behind_a_good_median_is_told():
    found = errors(CNN, {0.1: 0.1, 1: 0.4}, tail=0.5, worst=1.25)
    assert (
        "A median is not all: for Saliency of the CNN on digits at h = 0.1 the median relative error is 10 %. One row "
        "in twenty has more than 50 %, and the worst has 125 %."
    ) in text(facts(found), start)
    assert "A median is not all" not in text(facts(found.assign(worst=0.15)), start)
    # Of seven rows, none stands for one in twenty.
    assert "The worst of 7 rows has 125 %." in text(facts(found.assign(n=7)), start)


def test_exact_integrated_gradients_have_an_error_of_their_own():
    own = errors(IG, {0.1: 0.01})
    missed = pd.DataFrame({"relative_residual": [-0.002, 0.003, 0.0025, 9.0], "family": ["exact"] * 3 + ["forward"]})
    keys = dict(zip(("dataset", "model", "method"), IG, strict=True))
    told = facts(own, residuals=missed.assign(**keys))
    assert "Exact is not" not in text(facts(own, residuals=missed[:0].assign(**keys)), start)
    assert table(told)[0]["quadrature"] == "0.25 %"
    assert (
        "miss the difference of the outputs by 0.25 % in the median (Integrated Gradients of the CNN on digits)."
    ) in text(told, start)
    two = pd.concat([missed.assign(**keys), missed.assign(**keys | {"method": "other"}, relative_residual=0.1)])
    told = text(facts(own, errors(OTHER, {0.1: 0.5}), residuals=two), start)
    assert "by 0.25 % to 10 % in the median, most for Integrated Gradients (published variant) of the CNN" in told


def test_no_sentence_is_told_of_undefined_medians():
    told = text(facts(errors(CNN, {0.1: math.nan, 1: math.nan}), rows(CNN, {0.1: math.nan, 1: math.nan})), start)
    assert "How near" not in told
    assert "nan" not in told
