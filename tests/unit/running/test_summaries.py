import pandas as pd
import pyarrow as pa
import pytest

from approxgrad.running.summaries import (
    attribution_summary,
    evaluation_summary,
    foreign_summary,
    gathering_summary,
    measures_summary,
    training_summary,
)


def test_an_attribution_is_summed_up_by_its_cost():
    metadata = {"model_evaluations": 3250, "setting_name": "step", "lost_steps": 0}
    assert attribution_summary(50, metadata, 0.4) == "50 samples, 3,250 evaluations, 8,125/s"
    exact = metadata | {"setting_name": "", "model_evaluations": 1000}
    assert (
        attribution_summary(1200, exact, 0.4, exact=True) == "1,200 samples, 1,000 forward and backward passes, 2,500/s"
    )
    assert attribution_summary(0, metadata | {"model_evaluations": 0}, 0.0) == "0 samples, 0 evaluations"
    shapley = metadata | {"setting_name": "", "model_evaluations": 0}
    assert attribution_summary(20, shapley, 0.4) == "20 samples"
    assert gathering_summary(3, metadata) == "3 shards, 3,250 evaluations"


def test_lost_steps_are_told():
    metadata = {"model_evaluations": 3250, "setting_name": "step", "lost_steps": 1234}
    lost = "1,234 derivatives lost to rounding"
    assert attribution_summary(50, metadata, 0.4) == f"50 samples, 3,250 evaluations, 8,125/s, {lost}"
    assert gathering_summary(3, metadata) == f"3 shards, 3,250 evaluations, {lost}"


def curves(metric, best):
    rows = [
        (epoch, split, metric, epoch / 4, epoch == best) for epoch in (1, 2, 3) for split in ("train", "validation")
    ]
    loss = [(epoch, "validation", "loss", 9.0, epoch == best) for epoch in (1, 2, 3)]
    return pd.DataFrame([*loss, *rows], columns=["epoch", "split", "metric", "value", "best"])


@pytest.mark.parametrize(
    ("metric", "best", "text"),
    [("accuracy", 2, "3 epochs, validation accuracy 0.500"), ("r2", 3, "3 epochs, validation R2 0.750")],
)
def test_a_training_is_summed_up_by_its_best_epoch(metric, best, text):
    assert training_summary(curves(metric, best)) == text


def test_a_single_epoch_is_singular():
    one = curves("accuracy", 1)
    assert training_summary(one[one["epoch"] == 1]) == "1 epoch, validation accuracy 0.250"


def test_measures_are_accuracy_or_r2():
    assert measures_summary({"loss": 1.0, "accuracy": 0.97}) == "accuracy 0.970"
    assert measures_summary({"loss": 1.0, "root_mean_squared_error": 2.0, "r2": -0.5}) == "R2 -0.500"


@pytest.mark.parametrize(
    ("measures", "rows", "classes", "hint"),
    [
        ({"accuracy": 0.0}, 3, 10, "no better than chance; are classes and normalisation those of its training?"),
        ({"accuracy": 0.5}, 100, 2, "no better than chance"),
        ({"accuracy": 0.0}, 2, 10, ""),
        ({"accuracy": 0.2}, 100, 10, ""),
        ({"r2": -0.1}, 9, 0, "worse than a constant; is the scale of the data that of its training?"),
        ({"r2": 0.1}, 9, 0, ""),
    ],
)
def test_a_foreign_model_that_knows_nothing_of_the_data_is_told(measures, rows, classes, hint):
    found = foreign_summary(measures, rows, classes)
    assert found.startswith(f"test {measures_summary(measures)}")
    assert (hint in found) if hint else ":" not in found


def table(*rows):
    columns = zip(*rows, strict=True)
    return pa.table(dict(zip(("gradient", "reference", "relative_error"), map(list, columns), strict=True)))


def test_an_evaluation_is_summed_up_by_its_smallest_median_error():
    large = [("forward-h1", "exact", error) for error in (0.2, 0.3, 0.1)]
    small = [("forward-h0.1", "exact", error) for error in (0.02, 0.9, 0.01, None)]
    truth = [("forward-h0.1", "truth", 0.0)]
    assert evaluation_summary(table(*large)) == "median relative error 0.2 (forward-h1)"
    both = "median relative error 0.02 (forward-h0.1, the smallest)"
    assert evaluation_summary(table(*large, *small, *truth)) == both
    assert evaluation_summary(table(("forward-h1", "exact", None))) == "no relative error is defined"


def test_a_training_that_had_to_stop_or_cannot_be_measured_says_so():
    said = training_summary(curves("accuracy", 2), "the validation loss is nan in epoch 4", float("inf"))
    assert said == (
        "3 epochs, stopped because the validation loss is nan in epoch 4, the best epoch is kept, validation accuracy "
        "0.500, the test loss is inf because outputs for some test rows are not finite"
    )
