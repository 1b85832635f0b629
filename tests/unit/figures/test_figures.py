from __future__ import annotations

import ast
import re
import subprocess
import sys
from itertools import product

import matplotlib
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from approxgrad.evaluation.uncertainty import FEWEST
from approxgrad.figures import boxes as boxes_module
from approxgrad.figures import style
from approxgrad.figures.boxes import SHOWN, jitter
from approxgrad.figures.boxplots import boxplots
from approxgrad.figures.figure import FIGURES
from approxgrad.figures.learning_curves import learning_curves
from approxgrad.figures.source_axes import source_groups
from approxgrad.figures.truth import truth_violins
from approxgrad.provenance.dependencies import PACKAGE_ROOT
from figure_data import (
    NUMERIC_ORDER,
    STEPS,
    assert_all_inside,
    curve_table,
    drawn_text,
    families,
    metric_rows,
    metric_table,
    parameters,
    tick_labels,
)

LOOKS = parameters()
CURVES = (curve_table(), LOOKS["labels"])
SCRIPTS = PACKAGE_ROOT.parent / "scripts"


@pytest.mark.parametrize(
    ("setting", "label"), [(1e-4, "0.0001"), (1e-5, "1e-5"), (2.5e-5, "2.5e-5"), (0.1, "0.1"), (1, "1"), (3.0, "3")]
)
def test_setting_labels_are_short_and_exact(setting, label):
    assert style.setting_label(setting) == label
    assert float(label) == setting


def test_steps_stand_at_their_place_on_a_logarithmic_axis_that_is_labelled_below():
    figure = boxplots(metric_table(), LOOKS)[0]
    assert [axes.get_ylabel().partition("\n")[0] for axes in figure.axes] == [
        "Pearson correlation",
        "Cosine similarity",
        "Relative L2 error",
        "Mean squared error",
    ]
    for axes in figure.axes:
        places = axes.get_xticks()
        # The nearest two settings, 0.5 and 1 or 5e-5 and 1e-4, are one place apart.
        np.testing.assert_allclose(places, np.log2(np.sort(STEPS) / 1e-5), rtol=1e-12)
        assert axes.get_xlim() == pytest.approx((places[0] - 0.6, places[-1] + 0.6))
    assert tick_labels(figure.axes[-1]) == NUMERIC_ORDER
    assert not any(label.get_visible() for label in figure.axes[0].get_xticklabels())


def test_several_schemes_stand_side_by_side_at_each_step_and_are_named_above():
    figure = boxplots(metric_table(families=("central", "forward")), LOOKS)[0]
    axes = figure.axes[0]
    middles = np.array(
        [np.ptp(box.get_path().vertices[:, 0]) / 2 + box.get_path().vertices[:, 0].min() for box in axes.patches]
    )
    forward, central = middles[::2], middles[1::2]
    np.testing.assert_allclose(central - forward, 0.5)
    np.testing.assert_allclose(np.diff(forward), np.diff(axes.get_xticks()))
    legend = axes.get_legend()
    assert [text.get_text() for text in legend.get_texts()] == ["forward differences", "central differences"]
    colours = [patch.get_facecolor() for patch in legend.get_patches()]
    assert colours == [axes.patches[0].get_facecolor(), axes.patches[1].get_facecolor()]


def test_a_step_that_one_scheme_has_stands_at_its_place():
    table = pd.concat([metric_table(), metric_rows("central", 0.01)])
    axes = boxplots(table, LOOKS)[0].axes[0]
    groups = source_groups(table, families())
    forward = {source.setting: source.position for source in groups[0].sources if source.family == "forward"}
    places = dict(zip(sorted(STEPS), axes.get_xticks(), strict=True))
    for setting, position in forward.items():
        assert position == pytest.approx(places[setting] - (0.25 if setting == 0.01 else 0))


def test_steps_that_have_no_room_on_a_logarithmic_axis_stand_at_equal_distances():
    figure, _ = boxplots(pd.concat([metric_rows("forward", step) for step in (1e-5, 0.5, 0.501)]), LOOKS)
    assert figure.axes[0].get_xticks().tolist() == [0, 1, 2]
    assert "Settings stand at equal distances." in drawn_text(figure)
    assert "equal distances" not in drawn_text(boxplots(metric_table(), LOOKS)[0])


def test_one_scheme_needs_no_name_above():
    assert boxplots(metric_table(), LOOKS)[0].axes[0].get_legend() is None


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


def test_each_kind_of_setting_has_an_axis_of_its_own():
    table = metric_table("truth")
    budgets = pd.concat([metric_rows("directions", count, "truth", seed=5) for count in (64.0, 8.0)])
    both = pd.concat([budgets, table])
    steps, evaluations = truth_violins(both, LOOKS)[0].axes
    assert tick_labels(steps) == ["exact", *NUMERIC_ORDER]
    assert tick_labels(evaluations) == ["exact", "8", "64"]
    assert steps.get_xlabel() == "step size h (units of the model's inputs)"
    assert " ".join(evaluations.get_xlabel().split()) == "evaluations per gradient"
    assert steps.get_ylim() == evaluations.get_ylim()
    figure = boxplots(both[both["family"] != "exact"].assign(reference="exact"), LOOKS)[0]
    panels = np.reshape(figure.axes, (4, 2))
    assert [tick_labels(axes) for axes in panels[-1]] == [NUMERIC_ORDER, ["8", "64"]]
    for left, right in panels:
        assert left.get_ylim() == right.get_ylim()
    assert "forward differences, directions against exact gradients" in drawn_text(figure)
    (alone,) = truth_violins(pd.concat([budgets, table[table["family"] == "exact"]]), LOOKS)[0].axes
    assert tick_labels(alone) == ["exact", "8", "64"]


@pytest.mark.parametrize(("values", "scale"), [([1e-6, 1e-3], "log"), ([0.0, 1.0], "linear"), ([0.1, 1.0], "linear")])
@pytest.mark.parametrize(("place", "metric"), [(2, "relative_error"), (3, "mean_squared_error")])
def test_errors_are_logarithmic_only_over_several_decades(place, metric, values, scale):
    table = metric_table(**{metric: np.repeat(values, 25)})
    assert boxplots(table, LOOKS)[0].axes[place].get_yscale() == scale


def test_zeros_stand_at_the_lower_end_of_a_logarithmic_axis_and_are_counted():
    values = np.repeat([0.0, 1e-9, 1e-3, 1e-1, 1.0], 10)
    figure = boxplots(metric_table(relative_error=values), LOOKS)[0]
    axes = figure.axes[2]
    assert axes.get_yscale() == "log"
    assert {text.get_text() for text in axes.texts} == {"10 zero"}
    points = next(line for line in axes.lines if line.get_linestyle() == "None")
    low = axes.get_ylim()[0]
    assert 0 < low < 1e-9
    np.testing.assert_allclose(np.sort(points.get_ydata()), np.where(values == 0, low, values), rtol=1e-15)
    assert "zeros stand at its lower end" in drawn_text(figure)


def test_correlations_that_crowd_at_1_are_drawn_as_what_they_lack():
    lacking = 10.0 ** -np.arange(50)
    figure = boxplots(metric_table(pearson=1 - lacking, cosine=0.98 + 0.0001 * np.arange(50)), LOOKS)[0]
    pearson, cosine, *_ = figure.axes
    assert (pearson.get_ylabel(), pearson.get_yscale()) == ("1 − Pearson correlation", "log")
    assert (cosine.get_ylabel(), cosine.get_yscale()) == ("Cosine similarity", "linear")
    points = next(line for line in pearson.lines if line.get_linestyle() == "None").get_ydata()
    low = pearson.get_ylim()[0]
    # Differences from 1 below some eps are rounding, and stand for zero.
    known = lacking > 4 * np.finfo(float).eps
    np.testing.assert_allclose(np.sort(points), np.sort(np.where(known, lacking, low)), rtol=0.2)
    assert {text.get_text() for text in pearson.texts} == {f"{(~known).sum()} zero"}
    assert low < 1e-15
    # Nothing is blown up to the whole panel either.
    assert np.ptp(cosine.get_ylim()) > 0.1


def test_axes_have_room_for_the_models_that_are_compared():
    near, far = metric_table(pearson=1 - np.geomspace(1e-9, 1e-6, 50)), metric_table()
    ends = [
        [(axes.get_ylim(), axes.get_yscale(), axes.get_ylabel()) for axes in boxplots(own, LOOKS, [other])[0].axes]
        for own, other in ((near, far), (far, near))
    ]
    assert ends[0] == ends[1]
    assert ends[0] != [
        (axes.get_ylim(), axes.get_yscale(), axes.get_ylabel()) for axes in boxplots(near, LOOKS)[0].axes
    ]
    truths = [metric_table("truth", pearson=np.linspace(*ends, 50)) for ends in ((0.1, 0.4), (-0.5, 0.2))]
    for own, other in (truths, truths[::-1]):
        assert truth_violins(own, LOOKS, [other])[0].axes[0].get_ylim() == pytest.approx((-0.554, 0.454))


def test_the_truth_is_scaled_to_its_data():
    (axes,) = truth_violins(metric_table("truth", pearson=np.linspace(0.2, 0.6, 50)), LOOKS)[0].axes
    assert axes.get_ylim() == pytest.approx((0.176, 0.624))
    (near,) = truth_violins(metric_table("truth", pearson=1 - np.geomspace(1e-4, 1e-2, 50)), LOOKS)[0].axes
    assert near.get_yscale() == "log"
    assert near.get_ylabel() == "1 − Pearson correlation\nwith the true effects"
    body = near.findobj(matplotlib.collections.PolyCollection)[0]
    assert (body.get_paths()[0].vertices[:, 1].min(), body.get_paths()[0].vertices[:, 1].max()) == pytest.approx(
        (1e-4, 1e-2)
    )


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


def test_violin_titles_name_the_method_of_the_exact_attribution():
    params = parameters(method="Integrated Gradients (published variant)", against="exact Integrated Gradients")
    text = drawn_text(truth_violins(metric_table("truth"), params)[0])
    assert "exact Integrated Gradients and forward differences" in text


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


def test_families_without_a_look_of_their_own_take_what_is_left():
    given = {"colour": style.BLUE, "marker": "o", "label": ""}
    families = {"forward": given} | {f"own{number}": {"colour": "", "marker": "", "label": ""} for number in range(5)}
    complete = style.complete_looks(families)
    assert complete["forward"] == given
    looks = [(own["colour"], own["marker"]) for own in complete.values()]
    assert len(set(looks[:5])) == 5
    assert all(colour and marker for colour, marker in looks)


def test_a_source_has_one_colour_in_all_figures_of_a_data_set():
    table = metric_table("truth", families=("forward", "central"))
    boxes = boxplots(table[table["family"] != "exact"].assign(reference="exact"), LOOKS)[0].axes[0].patches
    bodies = truth_violins(table, LOOKS)[0].axes[0].findobj(matplotlib.collections.PolyCollection)
    expected = [matplotlib.colors.to_rgb(colour) for colour in [style.BLUE, style.GREEN] * len(STEPS)]
    assert [box.get_facecolor()[:3] for box in boxes] == [pytest.approx(colour) for colour in expected]
    assert [tuple(body.get_facecolor()[0][:3]) for body in bodies[1:]] == [pytest.approx(c) for c in expected]
    assert tuple(bodies[0].get_facecolor()[0][:3]) == pytest.approx(matplotlib.colors.to_rgb(style.VERMILLION))


def test_families_are_told_apart_without_colour():
    axes = boxplots(metric_table(families=("forward", "central")), LOOKS)[0].axes[0]
    markers = [line.get_marker() for line in axes.lines if line.get_linestyle() == "None"]
    assert markers == [families()[name]["marker"] for name in ("forward", "central")] * len(STEPS)
    assert len(set(markers)) == 2


def test_numbers_of_a_figure_are_those_that_it_draws_and_come_back_exactly(tmp_path):
    both = pd.concat([metric_table(), metric_table("truth")])
    boxes = boxplots(both, LOOKS)[1]
    assert len(boxes) == len(STEPS) * 50
    assert set(boxes["reference"]) == {"exact"}
    violins = truth_violins(both, LOOKS)[1]
    assert len(violins) == (len(STEPS) + 1) * 50
    assert set(violins["reference"]) == {"truth"}
    curves = learning_curves(curve_table("r2"), LOOKS["labels"])[1]
    assert curves.groupby(["metric", "split"])["epoch"].agg(list).map(len).to_dict() == {
        (metric, split): 5 for metric in ("loss", "r2") for split in ("train", "validation")
    }
    boxes.loc[3, "pearson"] = np.nan
    style.save_numbers(boxes, tmp_path / "a.csv")
    style.save_numbers(boxes, tmp_path / "b.csv")
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()
    assert b"\r" not in (tmp_path / "a.csv").read_bytes()
    read = pd.read_csv(tmp_path / "a.csv", dtype=str)
    for name in ("setting", "pearson", "cosine", "mean_squared_error"):
        np.testing.assert_array_equal(read[name].astype(float), boxes[name])
    pd.testing.assert_frame_equal(read[["method", "gradient"]], boxes[["method", "gradient"]], check_dtype=False)


@pytest.mark.parametrize(("other", "label"), [("accuracy", "accuracy"), ("r2", "R²")])
def test_curves_of_both_splits_and_the_best_epoch(other, label):
    figure = learning_curves(curve_table(other), LOOKS["labels"])[0]
    loss, measure = figure.axes
    assert loss.get_ylabel().startswith("loss")
    assert measure.get_ylabel().startswith(label)
    for axes in figure.axes:
        assert axes.get_xlim() == pytest.approx((0.84, 5.16))
        assert axes.get_xticks().tolist() == [1, 2, 3, 4, 5]
        training, validation, best = axes.lines
        np.testing.assert_array_equal(training.get_xdata(), [1, 2, 3, 4, 5])
        np.testing.assert_allclose(training.get_ydata(), 1 / np.arange(1, 6))
        np.testing.assert_allclose(validation.get_ydata(), 2 / np.arange(1, 6))
        assert set(best.get_xdata()) == {3}
    names = [text.get_text() for text in loss.get_legend().get_texts()]
    assert names == ["training rows", "validation rows", "best epoch: 3"]
    assert "data set: digits, model: CNN" in drawn_text(figure)


@pytest.mark.parametrize(("epochs", "marker"), [(1, "o"), (20, "o"), (21, "")])
def test_few_epochs_are_marked(epochs, marker):
    loss, measure = learning_curves(curve_table(epochs=epochs, best=1), LOOKS["labels"])[0].axes
    assert [line.get_marker() for line in loss.lines[:2]] == [marker] * 2
    ticks = measure.get_xticks()
    assert ticks[0] == 1
    assert (np.diff(ticks) > 0).all()
    assert ticks[-1] <= epochs
    assert 0 < measure.get_xlim()[0] < 1


def test_incomplete_curves_are_refused():
    curves = curve_table()
    with pytest.raises(ValueError, match="curves: expected the metric loss and one of accuracy, r2"):
        learning_curves(curves[curves["metric"] == "loss"], LOOKS["labels"])[0]
    with pytest.raises(ValueError, match="curves: expected one best epoch, got 0"):
        learning_curves(curves.assign(best=False), LOOKS["labels"])[0]


def test_nothing_is_drawn_outside_the_figure():
    table = metric_table("truth", families=("forward", "central"))
    table = pd.concat([table, table[table["family"] != "exact"].assign(reference="exact")])
    table.loc[::40, "pearson"] = np.nan
    named = parameters("synthetic nonlinear", "ResNet-18", "Integrated Gradients (published variant, mean baseline)")
    long_name = "A method " + "that a researcher gave a long name " * 3
    budgets = pd.concat([metric_rows("directions", count, "truth") for count in (8.0, 64.0)])
    figures = [
        boxplots(table, named)[0],
        boxplots(metric_table(), parameters(method=long_name))[0],
        truth_violins(table, named)[0],
        truth_violins(pd.concat([table, budgets]), named)[0],
        learning_curves(curve_table(epochs=180, best=130), LOOKS["labels"])[0],
    ]
    for figure in figures:
        assert_all_inside(figure)


def test_files_are_the_same_byte_for_byte(tmp_path):
    table = metric_table()
    contents = []
    for name in ["first", "second"]:
        figure = boxplots(table, LOOKS)[0]
        for repetition in range(2):
            paths = [tmp_path / f"{name}{repetition}.{ending}" for ending in ["svg", "png", "pdf"]]
            style.save(figure, *paths)
            contents.append(tuple(path.read_bytes() for path in paths))
    assert len(set(contents)) == 1
    svg, png, pdf = contents[0]
    assert pdf.startswith(b"%PDF")
    assert not re.search(rb"/(CreationDate|Creator|Producer)", pdf)
    # Text is text, which can be searched for and changed.
    assert b">1e-5</text>" in svg
    assert b"<svg" in svg
    assert matplotlib.__version__.encode() not in svg
    assert b"<dc:date>" not in svg
    assert png.startswith(b"\x89PNG")
    assert b"Software" not in png
    assert int.from_bytes(png[16:20], "big") == round(figure.get_figwidth() * 200)
    assert len(list(tmp_path.iterdir())) == 12


@pytest.mark.parametrize(("function", "inputs"), [(boxplots, (metric_table(), LOOKS)), (learning_curves, CURVES)])
def test_titles_and_notes_can_be_left_out_and_panels_keep_their_size(tmp_path, function, inputs):
    texts, sizes = {}, {}
    for titles, notes in product([True, False], repeat=2):
        path = tmp_path / f"{titles}{notes}.svg"
        style.save(function(*inputs)[0], path, path.with_suffix(".png"), titles=titles, notes=notes)
        texts[titles, notes] = path.read_text()
        sizes[titles, notes] = np.array(Image.open(path.with_suffix(".png")).size)
    assert [("data set: digits" in text, "Box:" in text or "Best epoch:" in text) for text in texts.values()] == [
        *texts
    ]
    whole, *cut = sizes.values()
    assert all(size[0] == whole[0] and size[1] < whole[1] for size in cut)
    assert whole[1] - sizes[False, False][1] == pytest.approx(
        (whole[1] - sizes[True, False][1]) + (whole[1] - sizes[False, True][1]), abs=2
    )


def test_style_does_not_follow_or_change_the_users_settings():
    with matplotlib.rc_context({"font.size": 40, "axes.labelsize": 40, "axes.spines.top": True}):
        (axes,) = truth_violins(metric_table("truth"), LOOKS)[0].axes
        assert axes.yaxis.label.get_fontsize() == 7
        assert not axes.spines["top"].get_visible()
        assert matplotlib.rcParams["font.size"] == 40


def imported(code, names):
    code = f"import sys\n{code}\nprint([name for name in {names} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_descriptions_of_figures_cost_snakemake_no_plotting_library():
    code = "from approxgrad.figures.figure import FIGURES\nassert [FIGURES[name]() for name in FIGURES]"
    assert imported(code, ["torch", "pandas", "pyarrow", "matplotlib", "scipy"]) == "[]"


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_is_drawn_without_heavy_libraries(name):
    script = ast.parse((SCRIPTS / "plot.py").read_text())
    imports = [ast.unparse(node) for node in script.body if isinstance(node, (ast.Import, ast.ImportFrom))]
    draw = f"try: FIGURES['{name}']().draw({{}}, {{}}, {{}})\nexcept KeyError: pass"
    heavy = ["torch", "captum", "sklearn", "snakemake", "matplotlib.pyplot", "tqdm", "jsonschema"]
    assert (
        imported("\n".join([*imports, draw]), heavy if name in ("anatomy", "budget", "twins") else [*heavy, "scipy"])
        == "[]"
    )


def test_figures_have_captions_and_paths_of_their_own():
    figures = [FIGURES[name]() for name in FIGURES]
    assert all((SCRIPTS.parent / "rules" / figure.caption_path).is_file() for figure in figures)
    assert len({figure.path for figure in figures}) == len(figures)
    assert (
        FIGURES["truth"]().path == "results/figures/dataset={dataset}/model={model}/method={method}/truth_correlation"
    )
    assert FIGURES["published"]().path == "results/published/figures/source={source}/method={method}/boxplots"
