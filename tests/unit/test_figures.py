from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
import pytest

from approxgrad.figures import style
from approxgrad.figures.boxplots import boxplot_numbers, boxplots, jitter
from approxgrad.figures.learning_curves import curve_numbers, learning_curves
from approxgrad.figures.violins import truth_violins, violin_numbers
from figure_data import (
    CELL,
    IMAGES,
    NUMERIC_ORDER,
    STEPS,
    curve_table,
    drawn_text,
    first_lines,
    metric_rows,
    metric_table,
    tick_labels,
)


@pytest.mark.parametrize(
    ("step", "label"), [(1e-4, "0.0001"), (1e-5, "1e-5"), (2.5e-5, "2.5e-5"), (0.1, "0.1"), (1, "1"), (3.0, "3")]
)
def test_step_labels_are_short_and_exact(step, label):
    assert style.step_label(step) == label
    assert float(label) == step


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("input_x_gradient", "Gradient × Input"),
        ("integrated_gradients_published", "Integrated Gradients (published variant)"),
        ("my_own_method", "My own method"),
    ],
)
def test_method_labels(name, label):
    assert style.method_label(name) == label


def test_boxes_stand_in_numeric_order_in_every_panel():
    figure = boxplots(metric_table(), **CELL)
    assert len(figure.axes) == 3
    for axes in figure.axes:
        assert first_lines(axes) == NUMERIC_ORDER
        assert axes.get_xticks().tolist() == sorted(axes.get_xticks())


def test_several_schemes_are_grouped_and_named_above_their_boxes():
    axes = boxplots(metric_table(schemes=("central", "forward")), **CELL).axes[0]
    assert first_lines(axes) == NUMERIC_ORDER * 2
    gaps = np.diff(axes.get_xticks())
    assert gaps.argmax() == 5
    assert gaps[5] > gaps[0]
    names = {text.get_text(): text.get_position()[0] for text in axes.texts}
    places = axes.get_xticks()
    assert names == {"forward": pytest.approx(places[:6].mean()), "central": pytest.approx(places[6:].mean())}


def test_one_scheme_needs_no_name_above():
    assert not boxplots(metric_table(), **CELL).axes[0].texts


def test_boxes_show_the_quartiles_and_every_point_beside_them():
    table = metric_table()
    figure = boxplots(table, **CELL)
    for axes, metric in zip(figure.axes, ["pearson", "cosine", "mean_squared_error"], strict=True):
        for position, step, box in zip(axes.get_xticks(), sorted(STEPS), axes.patches, strict=True):
            values = table.loc[table["step"] == step, metric]
            lines = [line for line in axes.lines if abs(np.mean(line.get_xdata()) - position) < 0.4]
            (points,) = [line for line in lines if line.get_marker() == "o"]
            (median,) = [line for line in lines if line.get_linewidth() == 1.6]
            np.testing.assert_allclose(median.get_ydata(), np.median(values))
            np.testing.assert_allclose(sorted(points.get_ydata()), sorted(values))
            across, up = box.get_path().vertices.T
            np.testing.assert_allclose([up.min(), up.max()], np.quantile(values, [0.25, 0.75]))
            assert across.max() < points.get_xdata().min()
            assert across.min() - position > -0.5
            assert points.get_xdata().max() - position < 0.5


def test_undefined_values_are_dropped_and_counted():
    table = metric_table()
    table.loc[table[table["step"] == 0.01].index[:2], "pearson"] = np.nan
    table.loc[table["step"] == 0.5, "cosine"] = np.nan
    pearson, cosine, error = boxplots(table, **CELL).axes
    assert tick_labels(pearson)[3] == "0.01\nn = 48\n2 undefined"
    assert tick_labels(cosine)[4] == "0.5\nn = 0\n50 undefined"
    assert set(tick_labels(error)) == {f"{step}\nn = 50" for step in NUMERIC_ORDER}


def test_a_panel_without_any_defined_value_can_be_drawn():
    axes = boxplots(metric_table(pearson=np.nan), **CELL).axes[0]
    assert set(tick_labels(axes)) == {f"{step}\nn = 0\n50 undefined" for step in NUMERIC_ORDER}


def test_boxes_leave_out_other_rows():
    others = [
        metric_rows("forward", 7.0, "truth"),
        metric_rows("exact", np.nan, "truth"),
        metric_rows("forward", 8.0, method="input_x_gradient"),
        metric_rows("forward", 9.0, model="mlp"),
        metric_rows("forward", 10.0, dataset="other"),
    ]
    figure = boxplots(pd.concat([*others, metric_table()]), **CELL)
    assert first_lines(figure.axes[0]) == NUMERIC_ORDER


@pytest.mark.parametrize(("values", "scale"), [([1e-6, 1e-3], "log"), ([0.0, 1.0], "linear"), ([0.1, 1.0], "linear")])
def test_error_is_logarithmic_only_over_several_decades_of_positive_values(values, scale):
    table = metric_table(mean_squared_error=np.repeat(values, 25))
    assert boxplots(table, **CELL).axes[2].get_yscale() == scale


def test_nearly_perfect_correlations_are_not_blown_up():
    lower, upper = boxplots(metric_table(pearson=1 - 1e-9), **CELL).axes[0].get_ylim()
    assert lower < 0.9
    assert upper > 1


def test_points_are_spread_the_same_way_every_time():
    offsets = jitter(300)
    assert np.abs(offsets).max() <= 0.5
    assert np.diff(np.sort(offsets)).max() < 0.01
    np.testing.assert_array_equal(jitter(300), offsets)


def test_box_titles_name_what_is_compared():
    table = metric_table(method="integrated_gradients_published")
    keys = {**CELL, "method": "integrated_gradients_published"}
    text = drawn_text(boxplots(table, **keys, reference_method="integrated_gradients"))
    assert "Integrated Gradients (published variant)" in text
    assert "data set: digits, model: CNN" in text
    assert "forward differences against exact Integrated Gradients" in text
    assert "step size h" in text


@pytest.mark.parametrize("draw", [boxplots, truth_violins])
def test_no_rows_are_one_clear_line(draw):
    with pytest.raises(ValueError, match=r"^metrics: no rows with dataset digits, .*") as error:
        draw(metric_table().assign(model="other"), **CELL)
    assert "model cnn" in str(error.value)
    assert "\n" not in str(error.value)


def test_violins_show_the_exact_gradient_first_and_then_numeric_steps():
    (axes,) = truth_violins(metric_table("truth"), **CELL).axes
    assert first_lines(axes) == ["exact", *NUMERIC_ORDER]
    assert axes.get_xticks().tolist() == sorted(axes.get_xticks())


def test_violins_show_median_quartiles_and_counts():
    table = metric_table("truth")
    table.loc[table[table["scheme"] == "exact"].index[:3], "pearson"] = np.nan
    (axes,) = truth_violins(table, **CELL).axes
    assert tick_labels(axes)[0] == "exact\nn = 47\n3 undefined"
    assert tick_labels(axes)[1] == "1e-5\nn = 50"
    medians = [line for line in axes.lines if line.get_marker() == "o"]
    bars = [item for item in axes.collections if isinstance(item, matplotlib.collections.LineCollection)]
    expected = [table[table["scheme"] == "exact"], *(table[table["step"] == step] for step in sorted(STEPS))]
    for position, median, bar, rows in zip(axes.get_xticks(), medians, bars, expected, strict=True):
        lower, middle, upper = np.nanquantile(rows["pearson"], [0.25, 0.5, 0.75])
        np.testing.assert_allclose(median.get_xydata(), [[position, middle]])
        np.testing.assert_allclose(bar.get_segments()[0][:, 1], [lower, upper])


def test_violin_titles_name_the_method_of_the_exact_attribution():
    table = metric_table("truth", method="integrated_gradients_published")
    keys = {**CELL, "method": "integrated_gradients_published"}
    figure = truth_violins(table, **keys, reference_method="integrated_gradients")
    assert "exact Integrated Gradients and forward differences" in drawn_text(figure)


def test_violins_need_the_exact_attribution():
    table = metric_table("truth")
    with pytest.raises(ValueError, match=r"no rows with .* scheme exact"):
        truth_violins(table[table["scheme"] != "exact"], **CELL)


@pytest.mark.parametrize("value", [np.nan, 0.5])
def test_violins_without_a_spread_can_be_drawn(value):
    table = metric_table("truth")
    table.loc[table["step"] == 1, "pearson"] = value
    (axes,) = truth_violins(table, **CELL).axes
    assert tick_labels(axes)[-1] == ("1\nn = 0\n50 undefined" if np.isnan(value) else "1\nn = 50")


def luminance(colour):
    return np.dot(colour, [0.299, 0.587, 0.114])


@pytest.mark.parametrize("scheme", ["forward", "backward", "central", "my_scheme"])
def test_larger_steps_are_darker_and_exact_has_its_own_colour(scheme):
    sources = style.gradient_sources(metric_table("truth", schemes=(scheme,)))
    # An eye, or a printer's grey, tells steps of a twentieth apart.
    assert (np.diff([luminance(source.colour) for source in sources[1:]]) < -0.05).all()
    assert sources[0].colour == matplotlib.colors.to_rgb(style.VERMILLION)
    assert sources[0].colour not in [source.colour for source in sources[1:]]


def test_a_source_has_one_colour_in_all_figures_of_a_data_set():
    everything = style.gradient_sources(metric_table("truth", schemes=("forward", "central")))
    colours = {(source.scheme, source.step): source.colour for source in everything[1:]}
    table = metric_table("truth", schemes=("forward", "central"))
    some = table[(table["scheme"] == "exact") | table["step"].isin([0.5, 1e-4])]
    for source in style.gradient_sources(some, STEPS)[1:]:
        assert source.colour == colours[source.scheme, source.step]
    boxes = boxplots(some[some["scheme"] != "exact"].assign(reference="exact"), **CELL, steps=STEPS).axes[0].patches
    bodies = truth_violins(some, **CELL, steps=STEPS).axes[0].findobj(matplotlib.collections.PolyCollection)
    expected = [colours[scheme, step] for scheme in ("forward", "central") for step in (1e-4, 0.5)]
    assert [box.get_facecolor()[:3] for box in boxes] == [pytest.approx(colour) for colour in expected]
    assert [tuple(body.get_facecolor()[0][:3]) for body in bodies[1:]] == [pytest.approx(c) for c in expected]


def test_numbers_of_a_figure_are_those_that_it_draws_and_come_back_exactly(tmp_path):
    boxes = boxplot_numbers(pd.concat([metric_table(), metric_table("truth")]), **CELL)
    assert len(boxes) == len(STEPS) * 50
    assert set(boxes["reference"]) == {"exact"}
    violins = violin_numbers(pd.concat([metric_table(), metric_table("truth")]), **CELL)
    assert len(violins) == (len(STEPS) + 1) * 50
    assert set(violins["reference"]) == {"truth"}
    curves = curve_numbers(curve_table("r2"), **IMAGES)
    assert curves.groupby(["metric", "split"])["epoch"].agg(list).map(len).to_dict() == {
        (metric, split): 5 for metric in ("loss", "r2") for split in ("train", "validation")
    }
    boxes.loc[3, "pearson"] = np.nan
    style.save_numbers(boxes, tmp_path / "a.csv")
    style.save_numbers(boxes, tmp_path / "b.csv")
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()
    assert b"\r" not in (tmp_path / "a.csv").read_bytes()
    read = pd.read_csv(tmp_path / "a.csv", dtype=str)
    for name in ("step", "pearson", "cosine", "mean_squared_error"):
        np.testing.assert_array_equal(read[name].astype(float), boxes[name])
    pd.testing.assert_frame_equal(read[["method", "gradient"]], boxes[["method", "gradient"]], check_dtype=False)


@pytest.mark.parametrize(("other", "label"), [("accuracy", "accuracy"), ("r2", "R²")])
def test_curves_of_both_splits_and_the_best_epoch(other, label):
    figure = learning_curves(curve_table(other), **IMAGES)
    loss, measure = figure.axes
    assert loss.get_ylabel().startswith("loss")
    assert measure.get_ylabel().startswith(label)
    for axes in figure.axes:
        training, validation, best = axes.lines
        np.testing.assert_array_equal(training.get_xdata(), [1, 2, 3, 4, 5])
        np.testing.assert_allclose(training.get_ydata(), 1 / np.arange(1, 6))
        np.testing.assert_allclose(validation.get_ydata(), 2 / np.arange(1, 6))
        assert set(best.get_xdata()) == {3}
    names = [text.get_text() for text in loss.get_legend().get_texts()]
    assert names == ["training rows", "validation rows", "best epoch: 3"]
    assert "data set: digits, model: CNN" in drawn_text(figure)


def test_incomplete_curves_are_refused():
    curves = curve_table()
    with pytest.raises(ValueError, match="curves: expected the metric loss and one of accuracy, r2"):
        learning_curves(curves[curves["metric"] == "loss"], **IMAGES)
    with pytest.raises(ValueError, match="curves: expected one best epoch, got 0"):
        learning_curves(curves.assign(best=False), **IMAGES)


def test_nothing_is_drawn_outside_the_figure():
    table = metric_table("truth", schemes=("forward", "central"), method="integrated_gradients_published_mean")
    keys = {"dataset": "synthetic_nonlinear", "model": "resnet18", "method": "integrated_gradients_published_mean"}
    table = pd.concat([table, table[table["scheme"] != "exact"].assign(reference="exact")]).assign(**keys)
    table.loc[::40, "pearson"] = np.nan
    long_name = "a_method_" + "that_a_researcher_gave_a_long_name_" * 3
    figures = [
        boxplots(table, **keys),
        boxplots(metric_table(method=long_name), **{**CELL, "method": long_name}),
        truth_violins(table, **keys),
        learning_curves(curve_table(epochs=180, best=130), **IMAGES),
    ]
    for figure in figures:
        figure.draw_without_rendering()
        box = figure.get_tightbbox()
        width, height = figure.get_size_inches()
        assert box.x0 >= 0
        assert box.y0 >= 0
        assert box.x1 <= width
        assert box.y1 <= height


def test_files_are_the_same_byte_for_byte(tmp_path):
    table = metric_table()
    contents = []
    for name in ["first", "second"]:
        figure = boxplots(table, **CELL)
        for repetition in range(2):
            paths = [tmp_path / f"{name}{repetition}.{ending}" for ending in ["svg", "png"]]
            style.save(figure, *paths)
            contents.append(tuple(path.read_bytes() for path in paths))
    assert len(set(contents)) == 1
    svg, png = contents[0]
    assert b"<svg" in svg
    assert matplotlib.__version__.encode() not in svg
    assert b"<dc:date>" not in svg
    assert png.startswith(b"\x89PNG")
    assert b"Software" not in png
    assert int.from_bytes(png[16:20], "big") == round(figure.get_figwidth() * 200)
    assert len(list(tmp_path.iterdir())) == 8


def test_style_does_not_follow_or_change_the_users_settings():
    with matplotlib.rc_context({"font.size": 40, "axes.labelsize": 40, "axes.spines.top": True}):
        (axes,) = truth_violins(metric_table("truth"), **CELL).axes
        assert axes.yaxis.label.get_fontsize() == 7
        assert not axes.spines["top"].get_visible()
        assert matplotlib.rcParams["font.size"] == 40


def test_plot_jobs_start_without_heavy_libraries():
    scripts = sorted((Path(__file__).parents[2] / "workflow" / "scripts").glob("plot_*.py"))
    assert len(scripts) >= 6
    imports = [
        ast.unparse(node)
        for script in scripts
        for node in ast.parse(script.read_text()).body
        if isinstance(node, (ast.Import, ast.ImportFrom))
    ]
    heavy = ["torch", "captum", "scipy", "sklearn", "snakemake", "matplotlib.pyplot", "tqdm", "jsonschema"]
    code = "\n".join([*imports, f"import sys; print([name for name in {heavy} if name in sys.modules])"])
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
