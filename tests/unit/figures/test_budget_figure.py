"""The figure of agreement against evaluations."""

import matplotlib
import numpy as np
import pandas as pd

from approxgrad.evaluation.uncertainty import Bootstrap
from approxgrad.figures.budget import Budget, curves
from small_studies import difference, entry, study

COSINE = {"directions": "cosine", "budgets": [4, 8]}
KEYS = {"dataset": "synthetic_linear", "model": "mlp", "method": "saliency"}
OWN = study(
    entry(
        difference(steps=[0.1, 0.5]),
        COSINE,
        COSINE | {"pilots": 2},
        {"smoothing": "spsa", "budgets": [4, 8]},
        methods=["saliency", "integrated_gradients"],
    ),
    entry(difference(), datasets=["digits"], models=["cnn"]),
)


def rows(family, evaluations, predicted=False):
    count = len(evaluations)
    medians = np.linspace(0.5, 0.9, count)
    own = {**KEYS, "gradient": family, "family": family, "setting": evaluations, "setting_name": "evaluations", "n": 5}
    own |= {"evaluations": evaluations, "median": medians, "low": medians - 0.1, "high": medians + 0.05}
    guesses = [medians if predicted else np.full(count, np.nan) for _ in range(3)]
    return pd.DataFrame(own | dict(zip(("predicted", "predicted_low", "predicted_high"), guesses, strict=True)))


def test_it_is_there_for_comparisons_with_a_budget():
    assert Budget().targets(OWN) == [
        ("synthetic_linear", "mlp", "saliency"),
        ("synthetic_linear", "mlp", "integrated_gradients"),
    ]


def test_it_reads_attributions_that_have_predictions():
    predicted = Budget().inputs(OWN, KEYS)["predicted"]
    assert [path.split("gradient=")[1].split("/")[0] for path in predicted] == [
        "cosine-n4",
        "cosine-n8",
        "cosine-pilots2-n4",
        "cosine-pilots2-n8",
    ]
    params = Budget().params(OWN, KEYS)
    assert params["budgets"] == ["cosine", "cosine-pilots2", "spsa"]
    assert params["attribution"] == "saliency"
    assert Bootstrap(**params["intervals"]) == Bootstrap(OWN.config.seed)


def test_sources_with_a_budget_are_lines_and_others_marks():
    params = Budget().params(OWN, KEYS)
    lines = pd.concat([rows("cosine", [4.0, 8.0], True), rows("cosine-pilots2", [4.0, 8.0]), rows("spsa", [4.0, 8.0])])
    figure, numbers = curves(lines, rows("forward", [13.0]), params)
    figure.draw_without_rendering()
    (axes,) = figure.findobj(matplotlib.axes.Axes)
    assert axes.get_xscale() == "log"
    assert [label.get_text() for label in axes.get_xticklabels()] == ["4", "8", "13"]
    drawn = [line for line in axes.lines if line.get_marker() in "ov" and line.get_linestyle() != ":"]
    assert [line.get_linestyle() for line in drawn] == ["-", "--", "-", "None"]
    # A variant has the colour of its source.
    assert len({line.get_color() for line in drawn}) == 3
    texts = [text.get_text() for text in axes.get_legend().get_texts()]
    assert texts == ["cosine directions", "cosine directions, pilots 2", "SPSA", "forward differences"]
    dotted = [line for line in axes.lines if line.get_linestyle() == ":" and np.isfinite(line.get_ydata()).all()]
    assert len(dotted) == 1
    assert len(numbers) == 7
    assert "Dotted line" in figure._supxlabel.get_text()
    without, _ = curves(rows("spsa", [4.0]), rows("forward", []), params)
    assert "Dotted line" not in without._supxlabel.get_text()
