"""Intervals and tests whose unit is the training of a model."""

import numpy as np
import pandas as pd
import pytest

from approxgrad.evaluation.metrics import METRICS
from approxgrad.evaluation.paired import compare_sources
from approxgrad.evaluation.trainings import compare_over_trainings, hierarchical
from approxgrad.evaluation.uncertainty import Bootstrap
from figure_data import described

# By how much h = 3 changed the agreement of a saliency map with the truth in six trainings of one network.
SEEN = (0.149, -0.155, 0.135, -0.036, -0.105, -0.073)
KEYS = {"dataset": "d", "method": "a", "reference": "truth"}
FEW = Bootstrap(0, resamples=200)


def metrics(gains, rows=60, noise=0.02, seed=0):
    """Metrics of a step and of the exact gradient for trainings in which the step gains so much, give or take."""
    generator, parts = np.random.default_rng(seed), []
    for number, gain in enumerate(gains):
        exact = generator.uniform(0.3, 0.6, rows)
        step = exact + gain + noise * generator.normal(size=rows)
        for source, values in ((("forward", 3.0), step), (("exact",), exact)):
            frame = pd.DataFrame(dict.fromkeys(METRICS, values)).assign(**KEYS, **described(*source))
            parts.append(frame.assign(model="mlp", training=f"mlp-{number}", sample=range(rows)))
    return pd.concat(parts, ignore_index=True).astype({"setting": float})


def chosen(table, second="exact", metric="pearson"):
    (row,) = table[(table["second"] == second) & (table["metric"] == metric)].to_dict("records")
    return row


@pytest.mark.parametrize(
    ("trainings", "of_models", "of_rows"), [(5, 1.0, 1.0), (5, 1.0, 0.3), (5, 0.1, 1.0), (4, 1, 0)]
)
def test_intervals_cover_what_holds_over_trainings_as_often_as_they_say(trainings, of_models, of_rows):
    """Seen with 400 draws: 96 to 100 %. An interval over the rows of one training misses most of it."""
    generator, rows = np.random.default_rng(1), 20
    covered = []
    for _ in range(200):
        values = generator.normal(0, of_models, (trainings, 1)) + generator.normal(0, of_rows, (1, rows))
        values = values + 0.5 * generator.normal(size=(trainings, rows))
        _, low, high, p_value = hierarchical(values, FEW)
        covered.append(low <= 0 <= high)
        assert (p_value >= 0.05) == covered[-1]
    assert np.mean(covered) >= 0.9


def test_effects_that_are_draws_of_one_model_are_not_taken_for_more():
    """Every single training is beyond doubt, in one direction or the other; together they show nothing."""
    table = metrics(SEEN)
    alone = [
        chosen(compare_sources(own.drop(columns="training"), FEW))["verdict"] for _, own in table.groupby("training")
    ]
    assert sorted(alone) == ["better"] * 2 + ["worse"] * 4
    row = chosen(compare_over_trainings(table, FEW, 0.01))
    assert (row["verdict"], row["trainings"], row["agreeing"]) == ("open", 6, 4)
    assert row["estimate"] == pytest.approx(np.mean(SEEN), abs=0.01)
    assert row["low"] < -0.1 < 0 < 0.05 < row["high"]
    assert [row["smallest_median"], row["largest_median"]] == pytest.approx([-0.155, 0.149], abs=0.02)
    assert row["p_adjusted"] > 0.5


def test_an_effect_that_all_trainings_share_is_seen():
    row = chosen(compare_over_trainings(metrics([0.1, 0.11, 0.09, 0.1, 0.12]), FEW, 0.01))
    assert (row["verdict"], row["agreeing"]) == ("better", 5)
    # For an error the same numbers mean the opposite.
    row = chosen(compare_over_trainings(metrics([0.1, 0.11, 0.09, 0.1, 0.12]), FEW, 0.01), metric="relative_error")
    assert row["verdict"] == "worse"
    row = chosen(compare_over_trainings(metrics([0.001] * 5, noise=1e-4), FEW, 0.01))
    assert row["verdict"] == "alike"


def test_single_sources_have_an_interval_and_no_test():
    table = compare_over_trainings(metrics(SEEN), FEW, 0.01)
    (row,) = table[(table["first"] == "exact") & (table["second"] == "") & (table["metric"] == "pearson")].to_dict(
        "records"
    )
    assert row["low"] < row["estimate"] < row["high"]
    assert np.isnan(row["p_value"])
    assert row["verdict"] == ""


def test_few_trainings_or_rows_have_an_estimate_only():
    values = np.arange(12.0).reshape(2, 6)
    assert hierarchical(values, FEW)[0] == 5.5
    assert np.isnan(hierarchical(values, FEW)[1:]).all()
    assert np.isnan(hierarchical(np.ones((5, 5)), FEW)[1:]).all()
    assert np.isnan(hierarchical(np.full((5, 7), np.nan), FEW)).all()
    assert hierarchical(np.zeros((5, 7)), FEW) == (0, 0, 0, 1)


def test_undefined_rows_are_left_out():
    values = np.random.default_rng(2).normal(1, 0.1, (5, 30))
    values[1, 3] = np.nan
    values[:, 7] = np.nan
    estimate, low, high, _ = hierarchical(values, FEW)
    assert low < estimate < high
    assert estimate == pytest.approx(1, abs=0.1)
