"""The figure of faithfulness against error."""

import matplotlib
import numpy as np
import pandas as pd
import pytest

from approxgrad.evaluation.faithful_sources import EVERY, MEASURES
from approxgrad.evaluation.uncertainty import Bootstrap
from approxgrad.figures.faithfulness import Faithfulness, gains
from figure_data import CELL, assert_all_inside, described, drawn_text, parameters
from small_studies import DEFAULT, difference, entry, study

KEYS = {"dataset": "synthetic_linear", "model": "mlp", "method": "saliency"}
PARAMETERS = parameters(short="exact", intervals={"level": 0.95})
MODELS = DEFAULT["models"] | {"onnx": {"exported": {"of": "mlp", "as": "onnx"}}}


def source(family, setting, error, gain, verdict="open", measures=MEASURES, n=20):
    rows = pd.DataFrame({"measure": list(measures), "median": 4.0, "gain": gain, "verdict": verdict})
    ends = {"gain_low": rows["gain"] - 0.1, "gain_high": rows["gain"] + 0.2}
    return rows.assign(**CELL, **described(family, setting), **ends, n=n, relative_error=error)


def exact(measures=MEASURES, median=4.0):
    return source("exact", None, np.nan, np.nan, "", measures).assign(median=median)


def drawn(*parts):
    """The panels of a figure by the first words of their titles, the figure itself, and all of its text."""
    figure = gains(pd.concat(parts, ignore_index=True), PARAMETERS)
    text = drawn_text(figure)
    assert_all_inside(figure)
    return {axes.get_title().split(" ")[0]: axes for axes in figure.findobj(matplotlib.axes.Axes)}, figure, text


def marks(axes):
    """Place, face and shape of every mark."""
    lines = [line for line in axes.lines if line.get_marker() in "os^v"]
    return [(*point, line.get_markerfacecolor(), line.get_marker()) for line in lines for point in line.get_xydata()]


def test_each_measure_that_has_values_has_a_panel_of_gains_over_errors():
    panels, figure, text = drawn(
        exact(),
        source("forward", 0.1, 0.01, -0.05),
        source("forward", 1.0, 0.5, -2.0, "worse"),
        source("central", 1.0, 0.1, 0.5, "better"),
    )
    assert list(panels) == ["Deletion", "Insertion", "Infidelity"]
    axes = panels["Deletion"]
    assert axes.get_xscale() == "log"
    assert axes.get_yscale() == "linear"
    assert axes.get_title() == "Deletion (exact: 4)\n1 worse, 1 better, 1 open"
    found = marks(axes)
    assert {(x, y) for x, y, _, _ in found} == {(0.01, -0.05), (0.5, -2.0), (0.1, 0.5)}
    # White is what the test leaves open.
    assert [(x, y) for x, y, face, _ in found if face == "white"] == [(0.01, -0.05)]
    assert len({shape for *_, shape in found}) == 2
    ends = {tuple(segment[:, 1]) for bars in axes.collections for segment in bars.get_segments()}
    assert any(np.allclose(sorted(own), [-2.1, -1.8]) for own in ends)
    assert "n = 20" in text
    assert "95 % interval" in text
    assert "logarithmic" not in text
    assert sorted(own.get_text() for own in figure.findobj(matplotlib.legend.Legend)[0].get_texts()) == [
        "central differences",
        "forward differences",
    ]


@pytest.mark.parametrize(("measures", "shape"), [(["deletion"], 1), (["deletion", "insertion"], 2), (EVERY, 4)])
def test_no_place_is_empty(measures, shape):
    panels, _, _ = drawn(exact(measures), source("forward", 0.1, 0.3, -0.5, measures=measures))
    assert len(panels) == shape
    assert all(marks(axes) for axes in panels.values())


def test_gains_of_many_times_the_reference_bend_the_axis():
    panels, _, text = drawn(exact(median=0.01), source("forward", 0.1, 0.3, -0.5))
    assert panels["Deletion"].get_yscale() == "symlog"
    assert "The axis of deletion, insertion and infidelity is linear up to the value of the reference" in text


def test_what_hardly_differs_is_not_blown_up():
    own = source("forward", 0.1, 0.3, -0.001).assign(gain_low=-0.002, gain_high=0.0)
    panels, _, _ = drawn(exact(), own)
    low, high = panels["Deletion"].get_ylim()
    assert low < -0.19
    assert high > 0.19
    # Nor are errors that are all alike.
    assert panels["Deletion"].get_xlim()[0] <= 0


def test_errors_of_zero_have_a_place():
    panels, _, text = drawn(
        exact(), source("forward", 0.1, 0.0, 0.0), source("forward", 1.0, 0.02, 0.0), source("central", 1.0, 1.0, 0.0)
    )
    assert sorted(x for x, *_ in marks(panels["Deletion"]))[0] == pytest.approx(0.02 / 3)
    assert "Errors of zero" in text
    panels, _, text = drawn(exact(), source("forward", 0.1, 0.0, 0.0))
    assert [x for x, *_ in marks(panels["Deletion"])] == [0]
    assert "Errors of zero" not in text


def test_few_rows_have_no_intervals():
    own = source("forward", 0.1, 0.3, -0.5, n=3).assign(gain_low=np.nan, gain_high=np.nan)
    _, _, text = drawn(exact(), own)
    assert "interval" not in text


def test_without_any_value_that_is_said():
    _, _, text = drawn(exact().iloc[:0], source("forward", 0.1, 0.3, -0.5).iloc[:0])
    assert "No measure is defined" in text


def asked(**faithfulness):
    methods = ["saliency", "input_x_gradient"]
    models = ["mlp", "onnx"]
    return study(
        entry(difference(steps=[0.1]), methods=methods, models=models), models=MODELS, faithfulness=faithfulness
    )


def test_it_is_there_where_models_are_asked():
    assert Faithfulness().targets(study(entry())) == []
    own = asked()
    assert Faithfulness().targets(own) == own.comparisons
    assert Faithfulness().inputs(own, KEYS)["sensitivity"] == []
    assert Faithfulness().params(own, KEYS)["moved"] == []


def test_it_reads_the_sensitivity_of_its_sources_under_their_names():
    own = asked(sensitivity={})
    keys = KEYS | {"model": "onnx"}
    params = Faithfulness().params(own, keys)
    names = list(keys.values())
    assert params["moved"] == [[*names, "exact of mlp"], [*names, "forward-h0.1"]]
    assert params["references"] == [[*names, "float32", "exact of mlp"]]
    assert [path.split("/")[3:] for path in Faithfulness().inputs(own, keys)["sensitivity"]] == [
        [f"model={model}", "method=saliency", f"gradient={gradient}", "part-0.parquet"]
        for model, gradient in (("mlp", "exact"), ("onnx", "forward-h0.1"))
    ]
    assert Bootstrap(**params["intervals"]) == Bootstrap(own.config.seed)
