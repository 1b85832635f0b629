"""Boxes and violins of the measures of each gradient source."""

import matplotlib
import numpy as np
import pandas as pd
import pytest

from approxgrad.evaluation.uncertainty import FEWEST
from approxgrad.figures import boxes as boxes_module
from approxgrad.figures.boxes import SHOWN, jitter
from approxgrad.figures.boxplots import boxplots
from approxgrad.figures.truth import truth_violins
from figure_data import (
    NUMERIC_ORDER,
    STEPS,
    drawn_text,
    metric_rows,
    metric_table,
    parameters,
    tick_labels,
)

LOOKS = parameters()


def test_boxes_show_quartiles_and_percentiles_and_every_point_beside_them():
    table = metric_table()
    figure = boxplots(table, LOOKS)[0]
    for axes, metric in zip(figure.axes, SHOWN, strict=True):
        scaled = np.log10 if axes.get_yscale() == "log" else np.asarray
        assert (axes.get_yscale() == "log") == (metric == "mean_squared_error")
        for position, step, box in zip(axes.get_xticks(), sorted(STEPS), axes.patches, strict=True):
            values = table.loc[table["setting"] == step, metric]
            lines = [line for line in axes.lines if abs(np.mean(line.get_xdata()) - position) < 0.4]
            (points,) = [line for line in lines if line.get_linestyle() == "None"]
            (median,) = [line for line in lines if line.get_linewidth() == 1.6]
            # On the scale of the axis, on which interpolation between two values differs.
            expected = np.quantile(scaled(values), [0.05, 0.25, 0.5, 0.75, 0.95])
            np.testing.assert_allclose(scaled(median.get_ydata()), expected[2])
            np.testing.assert_allclose(sorted(points.get_ydata()), sorted(values))
            across, up = box.get_path().vertices.T
            np.testing.assert_allclose(scaled([up.min(), up.max()]), expected[[1, 3]])
            caps = sorted(
                line.get_ydata()[0]
                for line in lines
                if len(set(line.get_ydata())) == 1 and line not in (points, median)
            )
            np.testing.assert_allclose(scaled(caps), expected[[0, 4]])
            assert across.max() < points.get_xdata().min()
            assert across.min() - position > -0.5
            assert points.get_xdata().max() - position < 0.5
    assert "Whiskers: 5th to 95th percentile" in drawn_text(figure)


@pytest.mark.parametrize(("samples", "boxes"), [(2, 0), (5, 0), (6, 6)])
def test_few_samples_have_points_and_no_box(samples, boxes):
    assert boxes_module.FEWEST == FEWEST == 6
    figure = boxplots(metric_table(samples=samples), LOOKS)[0]
    for axes in figure.axes:
        assert len(axes.patches) == boxes
        points = [line for line in axes.lines if line.get_linestyle() == "None"]
        assert [len(line.get_ydata()) for line in points] == [samples] * 6
    text = drawn_text(figure)
    assert ("Fewer than 6 samples have points alone." in text) == (boxes == 0)
    assert ("Box: quartiles" in text) == (boxes > 0)


def test_undefined_values_are_dropped_and_counted_over_their_panel():
    table = metric_table()
    table.loc[table[table["setting"] == 0.01].index[:2], "pearson"] = np.nan
    table.loc[table["setting"] == 0.5, "cosine"] = np.nan
    pearson, cosine, *errors = boxplots(table, LOOKS)[0].axes
    places = dict(zip(NUMERIC_ORDER, pearson.get_xticks(), strict=True))
    counts = [{text.get_text(): text.get_position()[0] for text in axes.texts} for axes in (pearson, cosine, *errors)]
    assert counts == [{"2 undefined": places["0.01"]}, {"50 undefined": places["0.5"]}, {}, {}]
    assert len(cosine.patches) == 5


def test_a_panel_without_any_defined_value_can_be_drawn():
    axes = boxplots(metric_table(pearson=np.nan), LOOKS)[0].axes[0]
    assert [text.get_text() for text in axes.texts] == ["50 undefined"] * 6
    assert not axes.patches


def test_boxes_leave_out_what_is_compared_with_the_truth():
    others = [metric_rows("forward", 7.0, "truth"), metric_rows("exact", np.nan, "truth")]
    figure = boxplots(pd.concat([*others, metric_table()]), LOOKS)[0]
    assert tick_labels(figure.axes[-1]) == NUMERIC_ORDER


def test_points_are_spread_the_same_way_every_time():
    offsets = jitter(300)
    assert np.abs(offsets).max() <= 0.5
    assert np.diff(np.sort(offsets)).max() < 0.01
    np.testing.assert_array_equal(jitter(300), offsets)


def test_box_titles_name_what_is_compared():
    params = parameters(method="Integrated Gradients (published variant)", against="exact Integrated Gradients")
    text = drawn_text(boxplots(metric_table(), params)[0])
    assert "Integrated Gradients (published variant)" in text
    assert "data set: digits, model: CNN" in text
    assert "forward differences against exact Integrated Gradients" in text
    assert "step size h" in text
    assert "Mean squared error (squared attribution units)" in text


@pytest.mark.parametrize(("draw", "reference"), [(boxplots, "truth"), (truth_violins, "exact")])
def test_no_rows_are_one_clear_line(draw, reference):
    with pytest.raises(ValueError, match=r"^metrics: no rows .*$") as error:
        draw(metric_table(reference), LOOKS)
    assert "\n" not in str(error.value)


def test_violins_show_the_exact_gradient_first_and_then_steps_at_their_place():
    (axes,) = truth_violins(metric_table("truth"), LOOKS)[0].axes
    assert tick_labels(axes) == ["exact", *NUMERIC_ORDER]
    np.testing.assert_allclose(axes.get_xticks()[1:], np.log2(np.sort(STEPS) / 1e-5), rtol=1e-12)
    assert axes.get_xticks()[0] <= -1


def test_violins_show_median_quartiles_and_counts():
    table = metric_table("truth")
    table.loc[table[table["family"] == "exact"].index[:3], "pearson"] = np.nan
    (axes,) = truth_violins(table, LOOKS)[0].axes
    assert [(text.get_text(), text.get_position()[0]) for text in axes.texts] == [("3 undefined", axes.get_xticks()[0])]
    medians = [line for line in axes.lines if line.get_marker() == "o"]
    bars = [item for item in axes.collections if isinstance(item, matplotlib.collections.LineCollection)]
    expected = [table[table["family"] == "exact"], *(table[table["setting"] == step] for step in sorted(STEPS))]
    for position, median, bar, rows in zip(axes.get_xticks(), medians, bars, expected, strict=True):
        lower, middle, upper = np.nanquantile(rows["pearson"], [0.25, 0.5, 0.75])
        np.testing.assert_allclose(median.get_xydata(), [[position, middle]])
        np.testing.assert_allclose(bar.get_segments()[0][:, 1], [lower, upper])


def test_violins_of_a_model_without_an_exact_gradient():
    table = metric_table("truth")
    figure = truth_violins(table[table["family"] != "exact"], LOOKS)[0]
    assert tick_labels(figure.axes[0]) == NUMERIC_ORDER
    assert "exact" not in drawn_text(figure)


@pytest.mark.parametrize("value", [np.nan, 0.5])
def test_violins_without_a_spread_can_be_drawn(value):
    table = metric_table("truth")
    table.loc[table["setting"] == 1, "pearson"] = value
    figure = truth_violins(table, LOOKS)[0]
    figure.draw_without_rendering()
    assert [text.get_text() for text in figure.axes[0].texts] == (["50 undefined"] if np.isnan(value) else [])


def test_a_few_samples_have_no_density():
    (axes,) = truth_violins(metric_table("truth", samples=5), LOOKS)[0].axes
    assert not axes.findobj(matplotlib.collections.PolyCollection)
    assert sum(len(line.get_ydata()) for line in axes.lines if line.get_linestyle() == "None") == 35
