from __future__ import annotations

import ast
import subprocess
import sys

import matplotlib
import numpy as np
import pandas as pd
import pytest

from approxgrad.figures import style
from approxgrad.figures.boxes import jitter
from approxgrad.figures.boxplots import boxplots
from approxgrad.figures.figure import FIGURES
from approxgrad.figures.learning_curves import learning_curves
from approxgrad.figures.truth import truth_violins
from approxgrad.provenance.dependencies import PACKAGE_ROOT
from figure_data import (
    NUMERIC_ORDER,
    STEPS,
    assert_all_inside,
    curve_table,
    drawn_text,
    families,
    first_lines,
    metric_rows,
    metric_table,
    parameters,
    tick_labels,
)

LOOKS = parameters()
SCRIPTS = PACKAGE_ROOT.parent / "scripts"


@pytest.mark.parametrize(
    ("setting", "label"), [(1e-4, "0.0001"), (1e-5, "1e-5"), (2.5e-5, "2.5e-5"), (0.1, "0.1"), (1, "1"), (3.0, "3")]
)
def test_setting_labels_are_short_and_exact(setting, label):
    assert style.setting_label(setting) == label
    assert float(label) == setting


def test_boxes_stand_in_numeric_order_in_every_panel():
    figure = boxplots(metric_table(), LOOKS)[0]
    assert len(figure.axes) == 3
    for axes in figure.axes:
        assert first_lines(axes) == NUMERIC_ORDER
        assert axes.get_xticks().tolist() == sorted(axes.get_xticks())


def test_several_schemes_are_grouped_and_named_above_their_boxes():
    axes = boxplots(metric_table(families=("central", "forward")), LOOKS)[0].axes[0]
    assert first_lines(axes) == NUMERIC_ORDER * 2
    gaps = np.diff(axes.get_xticks())
    assert gaps.argmax() == 5
    assert gaps[5] > gaps[0]
    names = {text.get_text(): text.get_position()[0] for text in axes.texts}
    places = axes.get_xticks()
    assert names == {"forward": pytest.approx(places[:6].mean()), "central": pytest.approx(places[6:].mean())}


def test_one_scheme_needs_no_name_above():
    assert not boxplots(metric_table(), LOOKS)[0].axes[0].texts


def test_boxes_show_the_quartiles_and_every_point_beside_them():
    table = metric_table()
    figure = boxplots(table, LOOKS)[0]
    for axes, metric in zip(figure.axes, ["pearson", "cosine", "mean_squared_error"], strict=True):
        for position, step, box in zip(axes.get_xticks(), sorted(STEPS), axes.patches, strict=True):
            values = table.loc[table["setting"] == step, metric]
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
    table.loc[table[table["setting"] == 0.01].index[:2], "pearson"] = np.nan
    table.loc[table["setting"] == 0.5, "cosine"] = np.nan
    pearson, cosine, error = boxplots(table, LOOKS)[0].axes
    assert tick_labels(pearson)[3] == "0.01\nn = 48\n2 undefined"
    assert tick_labels(cosine)[4] == "0.5\nn = 0\n50 undefined"
    assert set(tick_labels(error)) == {f"{step}\nn = 50" for step in NUMERIC_ORDER}


def test_a_panel_without_any_defined_value_can_be_drawn():
    axes = boxplots(metric_table(pearson=np.nan), LOOKS)[0].axes[0]
    assert set(tick_labels(axes)) == {f"{step}\nn = 0\n50 undefined" for step in NUMERIC_ORDER}


def test_boxes_leave_out_what_is_compared_with_the_truth():
    others = [metric_rows("forward", 7.0, "truth"), metric_rows("exact", np.nan, "truth")]
    figure = boxplots(pd.concat([*others, metric_table()]), LOOKS)[0]
    assert first_lines(figure.axes[0]) == NUMERIC_ORDER


def test_each_kind_of_setting_has_an_axis_of_its_own():
    table = metric_table("truth")
    budgets = pd.concat([metric_rows("directions", count, "truth", seed=5) for count in (64.0, 8.0)])
    both = pd.concat([budgets, table])
    steps, evaluations = truth_violins(both, LOOKS)[0].axes
    assert first_lines(steps) == ["exact", *NUMERIC_ORDER]
    assert first_lines(evaluations) == ["exact", "8", "64"]
    assert steps.get_xlabel() == "step size h (units of the model's inputs)"
    assert evaluations.get_xlabel() == "evaluations per gradient"
    assert steps.get_ylim() == evaluations.get_ylim()
    figure = boxplots(both[both["family"] != "exact"].assign(reference="exact"), LOOKS)[0]
    for left, right in np.reshape(figure.axes, (3, 2)):
        assert (first_lines(left), first_lines(right)) == (NUMERIC_ORDER, ["8", "64"])
        assert left.get_ylim() == right.get_ylim()
    assert "forward differences, directions against exact gradients" in drawn_text(figure)
    (alone,) = truth_violins(pd.concat([budgets, table[table["family"] == "exact"]]), LOOKS)[0].axes
    assert first_lines(alone) == ["exact", "8", "64"]


@pytest.mark.parametrize(("values", "scale"), [([1e-6, 1e-3], "log"), ([0.0, 1.0], "linear"), ([0.1, 1.0], "linear")])
def test_error_is_logarithmic_only_over_several_decades_of_positive_values(values, scale):
    table = metric_table(mean_squared_error=np.repeat(values, 25))
    assert boxplots(table, LOOKS)[0].axes[2].get_yscale() == scale


def test_nearly_perfect_correlations_are_not_blown_up():
    lower, upper = boxplots(metric_table(pearson=1 - 1e-9), LOOKS)[0].axes[0].get_ylim()
    assert lower < 0.9
    assert upper > 1


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


def test_violins_show_the_exact_gradient_first_and_then_numeric_steps():
    (axes,) = truth_violins(metric_table("truth"), LOOKS)[0].axes
    assert first_lines(axes) == ["exact", *NUMERIC_ORDER]
    assert axes.get_xticks().tolist() == sorted(axes.get_xticks())


def test_violins_show_median_quartiles_and_counts():
    table = metric_table("truth")
    table.loc[table[table["family"] == "exact"].index[:3], "pearson"] = np.nan
    (axes,) = truth_violins(table, LOOKS)[0].axes
    assert tick_labels(axes)[0] == "exact\nn = 47\n3 undefined"
    assert tick_labels(axes)[1] == "1e-5\nn = 50"
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
    assert first_lines(figure.axes[0]) == NUMERIC_ORDER
    assert "exact" not in drawn_text(figure)


@pytest.mark.parametrize("value", [np.nan, 0.5])
def test_violins_without_a_spread_can_be_drawn(value):
    table = metric_table("truth")
    table.loc[table["setting"] == 1, "pearson"] = value
    (axes,) = truth_violins(table, LOOKS)[0].axes
    assert tick_labels(axes)[-1] == ("1\nn = 0\n50 undefined" if np.isnan(value) else "1\nn = 50")


def luminance(colour):
    return np.dot(colour, [0.299, 0.587, 0.114])


@pytest.mark.parametrize("family", ["forward", "backward", "central"])
def test_larger_steps_are_darker_and_exact_has_its_own_colour(family):
    (group,) = style.source_groups(metric_table("truth", families=(family,)), families())
    # An eye, or a printer's grey, tells steps of a twentieth apart.
    assert (np.diff([luminance(source.colour) for source in group.sources[1:]]) < -0.05).all()
    assert group.sources[0].colour == matplotlib.colors.to_rgb(style.VERMILLION)
    assert group.sources[0].colour not in [source.colour for source in group.sources[1:]]


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
    (everything,) = style.source_groups(table, families())
    colours = {(source.family, source.setting): source.colour for source in everything.sources[1:]}
    some = table[(table["family"] == "exact") | table["setting"].isin([0.5, 1e-4])]
    params = parameters(settings=STEPS)
    (group,) = style.source_groups(some, params["families"])
    for source in group.sources[1:]:
        assert source.colour == colours[source.family, source.setting]
    boxes = boxplots(some[some["family"] != "exact"].assign(reference="exact"), params)[0].axes[0].patches
    bodies = truth_violins(some, params)[0].axes[0].findobj(matplotlib.collections.PolyCollection)
    expected = [colours[family, setting] for family in ("forward", "central") for setting in (1e-4, 0.5)]
    assert [box.get_facecolor()[:3] for box in boxes] == [pytest.approx(colour) for colour in expected]
    assert [tuple(body.get_facecolor()[0][:3]) for body in bodies[1:]] == [pytest.approx(c) for c in expected]


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
    loss, _ = learning_curves(curve_table(epochs=epochs, best=1), LOOKS["labels"])[0].axes
    assert [line.get_marker() for line in loss.lines[:2]] == [marker] * 2


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
