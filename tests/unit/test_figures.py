from __future__ import annotations

import subprocess
import sys

import matplotlib
import numpy as np
import pandas as pd
import pytest

from approxgrad.figures import style
from approxgrad.figures.boxplots import boxplots, jitter
from approxgrad.figures.learning_curves import learning_curves
from approxgrad.figures.maps import attribution_maps
from approxgrad.figures.violins import truth_violins
from approxgrad.tables import Attributions

STEPS = [1.0, 1e-5, 0.5, 0.01, 5e-5, 1e-4]
NUMERIC_ORDER = ["1e-5", "5e-5", "0.0001", "0.01", "0.5", "1"]
CELL = {"dataset": "digits", "model": "cnn", "method": "saliency"}
IMAGES = {"dataset": "digits", "model": "cnn"}


def metric_rows(scheme, step, reference="exact", samples=50, seed=0, **changed):
    rng = np.random.default_rng(seed)
    rows = pd.DataFrame(
        {
            **CELL,
            "gradient": scheme if np.isnan(step) else f"{scheme}-h{step}",
            "scheme": scheme,
            "step": step,
            "reference": reference,
            "sample": rng.permutation(samples),
            "pearson": rng.uniform(-1, 1, samples),
            "cosine": rng.uniform(-1, 1, samples),
            "mean_squared_error": 10 ** rng.uniform(-6, 2, samples),
        }
    )
    return rows.assign(**changed)


def metric_table(reference="exact", schemes=("forward",), **options):
    parts = [metric_rows(s, h, reference, seed=i, **options) for s in schemes for i, h in enumerate(STEPS)]
    if reference == "truth":
        parts.insert(3, metric_rows("exact", np.nan, "truth", seed=99, **options))
    return pd.concat(parts, ignore_index=True)


def tick_labels(axes):
    return [label.get_text() for label in axes.get_xticklabels()]


def first_lines(axes):
    return [label.split("\n")[0] for label in tick_labels(axes)]


def drawn_text(figure):
    figure.draw_without_rendering()
    texts = [text.get_text() for text in figure.findobj(matplotlib.text.Text) if text.get_visible()]
    return " ".join(" ".join(texts).split())


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


def test_several_schemes_are_grouped_and_named_in_a_legend():
    figure = boxplots(metric_table(schemes=("central", "forward")), **CELL)
    axes = figure.axes[0]
    assert first_lines(axes) == NUMERIC_ORDER * 2
    gaps = np.diff(axes.get_xticks())
    assert gaps.argmax() == 5
    assert gaps[5] > gaps[0]
    legend = axes.get_legend()
    assert [text.get_text() for text in legend.get_texts()] == ["forward differences", "central differences"]
    for patch, box in zip(legend.get_patches(), [axes.patches[5], axes.patches[11]], strict=True):
        assert patch.get_facecolor() == box.get_facecolor()


def test_one_scheme_needs_no_legend():
    assert boxplots(metric_table(), **CELL).axes[0].get_legend() is None


def test_boxes_show_the_quartiles_and_every_point():
    table = metric_table()
    figure = boxplots(table, **CELL)
    for axes, metric in zip(figure.axes, ["pearson", "cosine", "mean_squared_error"], strict=True):
        for position, step, box in zip(axes.get_xticks(), sorted(STEPS), axes.patches, strict=True):
            values = table.loc[table["step"] == step, metric]
            lines = [line for line in axes.lines if abs(np.mean(line.get_xdata()) - position) < 0.1]
            (points,) = [line for line in lines if line.get_marker() == "o"]
            (median,) = [line for line in lines if line.get_linewidth() == 1.8]
            np.testing.assert_allclose(median.get_ydata(), np.median(values))
            np.testing.assert_allclose(sorted(points.get_ydata()), sorted(values))
            corners = box.get_path().vertices[:, 1]
            np.testing.assert_allclose([corners.min(), corners.max()], np.quantile(values, [0.25, 0.75]))


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


def test_larger_steps_are_darker_and_exact_has_its_own_colour():
    sources = style.gradient_sources(metric_table("truth"))
    lightness = [np.dot(source.colour, [0.299, 0.587, 0.114]) for source in sources[1:]]
    assert (np.diff(lightness) < -0.05).all()
    assert sources[0].colour == matplotlib.colors.to_rgb(style.VERMILLION)
    assert sources[0].colour not in [source.colour for source in sources[1:]]


NORMALISATION = {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.25, 0.5]}


def attributions(samples, scheme="forward", step=0.1, shape=(3, 2, 2), normalisation=NORMALISATION, seed=0):
    """Every sample has values of its own, whatever its position."""
    size = int(np.prod(shape))
    maps = [np.random.default_rng([seed, number]).normal(size=size) for number in samples]
    inputs = [np.random.default_rng([77, number]).normal(size=size) for number in samples]
    return Attributions(
        sample=np.array(samples),
        attribution=np.array(maps, np.float32),
        inputs=np.array(inputs, np.float32),
        target=np.array(samples) % 10,
        truth=None,
        metadata={"scheme": scheme, "step": step, "feature_shape": list(shape), "normalisation": normalisation},
    )


def exact(samples, **options):
    return attributions(samples, "exact", None, **options)


def pixels(panel):
    return np.asarray(panel.images[0].get_array())


def picture_panels(figure):
    return [axes for axes in figure.axes if axes.images]


def test_maps_find_the_sample_by_its_number_in_every_file():
    columns = [
        ("saliency", attributions([31, 42, 53], seed=1), exact([53, 42, 31, 64], seed=2)),
        ("integrated_gradients", attributions([42, 31], seed=3), exact([90, 31, 42], seed=4)),
    ]
    figure = attribution_maps(columns, **IMAGES, row=1)
    panels = np.reshape(picture_panels(figure), (3, 2))
    for seed, panel in zip([1, 3, 2, 4], panels[1:].flat, strict=True):
        values = np.random.default_rng([seed, 42]).normal(size=12).astype(np.float32).reshape(3, 2, 2)
        np.testing.assert_array_equal(pixels(panel), np.abs(values).max(axis=0))
    assert "test sample 42, target 2" in drawn_text(figure)


def test_maps_skip_samples_that_a_file_lacks():
    columns = [("saliency", attributions([31, 42, 53]), exact([53, 31]))]
    assert "test sample 53" in drawn_text(attribution_maps(columns, **IMAGES, row=1))
    with pytest.raises(ValueError, match="row: got 2, but the attributions have 2 samples in common"):
        attribution_maps(columns, **IMAGES, row=2)


def test_map_is_the_largest_absolute_value_over_the_channels():
    approximated, reference = attributions([5]), exact([5])
    approximated.attribution[0] = [1, -2, 0, 0, -3, 1, 0, 0.5, 2, 1, 0, -0.25]
    reference.attribution[0] = -9
    figure = attribution_maps([("saliency", approximated, reference)], **IMAGES)
    panels = picture_panels(figure)
    np.testing.assert_array_equal(pixels(panels[1]), [[3, 2], [0, 0.5]])
    np.testing.assert_array_equal(pixels(panels[2]), np.full((2, 2), 9))
    assert [panel.images[0].get_clim() for panel in panels[1:]] == [(0, 9), (0, 9)]
    assert {panel.images[0].get_cmap().name for panel in panels[1:]} == {"hot"}
    assert "shared by the two maps of a column, not between columns" in drawn_text(figure)


def test_columns_have_their_own_colour_scale():
    large = attributions([5])
    large.attribution[0, 0] = 1000
    columns = [("saliency", attributions([5]), exact([5])), ("input_x_gradient", large, exact([5]))]
    limits = [panel.images[0].get_clim()[1] for panel in picture_panels(attribution_maps(columns, **IMAGES))]
    assert limits[2] == limits[4] < 10
    assert limits[3] == limits[5] == 1000


def test_colour_image_is_shown_in_its_own_units():
    approximated = attributions([5])
    approximated.inputs[0] = [0, 1, 9, -9] * 3
    figure = attribution_maps([("saliency", approximated, exact([5]))], **IMAGES)
    expected = [[[0.5, 0.4, 0.3], [0.7, 0.65, 0.8]], [[1, 1, 1], [0, 0, 0]]]
    np.testing.assert_allclose(pixels(picture_panels(figure)[0]), expected, rtol=1e-6)


def test_image_of_one_channel_is_grey():
    options = {"shape": (1, 2, 2), "normalisation": {"mean": [0.25], "std": [0.5]}}
    approximated = attributions([5], **options)
    approximated.inputs[0] = [-2, 0, 0.5, 9]
    figure = attribution_maps([("saliency", approximated, exact([5], **options))], **IMAGES)
    panel = picture_panels(figure)[0]
    np.testing.assert_allclose(pixels(panel), [[0, 0.25], [0.5, 1]])
    assert panel.images[0].get_cmap().name == "gray"
    assert panel.images[0].get_clim() == (0, 1)


def test_one_normalisation_serves_all_channels():
    approximated = attributions([5], normalisation={"mean": [0.5], "std": [0.25]})
    approximated.inputs[0] = 1
    figure = attribution_maps([("saliency", approximated, exact([5]))], **IMAGES)
    np.testing.assert_allclose(pixels(picture_panels(figure)[0]), np.full((2, 2, 3), 0.75))


def test_map_titles_state_scheme_and_step():
    columns = [("saliency", attributions([5], "central", 0.01), exact([5]))]
    assert "approximated with central differences, h = 0.01" in drawn_text(attribution_maps(columns, **IMAGES))
    columns.append(("input_x_gradient", attributions([5], "forward", 0.5), exact([5])))
    figure = attribution_maps(columns, **IMAGES)
    titles = [panel.get_title() for panel in picture_panels(figure)[:2]]
    assert titles == ["Saliency\ncentral, h = 0.01", "Gradient × Input\nforward, h = 0.5"]


@pytest.mark.parametrize("shape", [(12,), (3, 4), (2, 2, 3)])
def test_inputs_that_are_no_images_are_refused(shape):
    columns = [("saliency", attributions([5], shape=shape), exact([5], shape=shape))]
    with pytest.raises(ValueError, match=r"feature_shape: got \[.*\], expected an image of 1 or 3 channels"):
        attribution_maps(columns, **IMAGES)


def test_at_least_one_column_is_needed():
    with pytest.raises(ValueError, match="columns: expected at least one method"):
        attribution_maps([], **IMAGES)


def curve_table(other="accuracy", epochs=5, best=3):
    rows = [
        {"epoch": epoch, "split": split, "metric": metric, "value": start / epoch, "best": epoch == best}
        for epoch in range(epochs, 0, -1)
        for split, start in [("train", 1.0), ("validation", 2.0)]
        for metric in ["loss", other]
    ]
    return pd.DataFrame(rows)


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
    columns = [(name, attributions([5], step=step), exact([5])) for name, step in [("saliency", 0.1), ("x", 0.5)]]
    long_name = "a_method_" + "that_a_researcher_gave_a_long_name_" * 3
    figures = [
        boxplots(table, **keys),
        boxplots(metric_table(method=long_name), **{**CELL, "method": long_name}),
        truth_violins(table, **keys),
        attribution_maps(columns, **IMAGES),
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


def test_figures_need_neither_torch_nor_pyplot_nor_scipy():
    modules = ["boxplots", "learning_curves", "maps", "style", "violins"]
    code = (
        "import sys; "
        + "".join(f"import approxgrad.figures.{name}; " for name in modules)
        + "print([m for m in ('torch', 'matplotlib.pyplot', 'scipy', 'seaborn') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
