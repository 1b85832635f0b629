"""The figures that set published results beside this study's."""

import matplotlib
import numpy as np
import pandas as pd
import pytest

from approxgrad.figures import style
from approxgrad.figures.completeness import completeness_boxplots
from approxgrad.figures.published import published_boxplots
from approxgrad.figures.variants import variant_numbers, variants
from figure_data import METHODS as LABELS
from figure_data import assert_all_inside, described, drawn_text, parameters, tick_labels

NAMES = {"dataset": "cifar10", "model": "cnn", "method": "integrated_gradients_published"}
LOOKS = parameters("CIFAR-10", method=LABELS[NAMES["method"]], against="exact Integrated Gradients")


def table(method, settings, samples, seed, family="forward"):
    random = np.random.default_rng(seed)
    frames = [
        pd.DataFrame(
            {
                **NAMES,
                "method": method,
                **described(family, setting),
                "reference": "exact",
                "sample": np.arange(samples),
                "pearson": random.uniform(size=samples),
                "cosine": random.uniform(size=samples),
                "mean_squared_error": random.uniform(size=samples),
                "relative_error": random.uniform(0.1, 1, samples) * setting,
            }
        )
        for setting in settings
    ]
    return pd.concat(frames, ignore_index=True)


def test_each_published_step_has_both_boxes_with_their_medians():
    published = table(NAMES["method"], [0.01, 0.5], 20, seed=0)
    own = table(NAMES["method"], [0.5, 0.01, 3.0], 7, seed=1)
    figure = published_boxplots(published, own, LOOKS)[0]
    axes = figure.axes[0]
    medians = sorted(
        (line.get_xdata().mean(), line.get_ydata()[0]) for line in axes.lines if line.get_linewidth() == 1.6
    )
    expected = [t[t["setting"] == step]["pearson"].median() for step in (0.01, 0.5) for t in (published, own)]
    np.testing.assert_allclose([value for _, value in medians], expected)
    assert tick_labels(figure.axes[-1]) == ["0.01", "0.5"]
    assert "published n = 20 and this study n = 7" in drawn_text(figure)


def test_a_step_that_the_study_lacks_keeps_its_published_box():
    published = table(NAMES["method"], [0.01, 0.5], 20, seed=0)
    own = table(NAMES["method"], [0.5], 7, seed=1)
    boxes = published_boxplots(published, own, LOOKS)[0].axes[0].patches
    assert [bool(box.get_hatch()) for box in boxes] == [True, True, False]


def test_variants_show_median_errors_over_the_steps():
    steps = [0.1, 0.001, 1.0]
    correct = table("integrated_gradients", steps, 9, seed=0)
    published = table(NAMES["method"], steps, 5, seed=1)
    figure = variants(variant_numbers(correct, published), LOOKS)
    (axes,) = figure.axes
    for line, rows in zip(axes.lines, (correct, published), strict=True):
        np.testing.assert_array_equal(line.get_xdata(), sorted(steps))
        np.testing.assert_allclose(line.get_ydata(), rows.groupby("setting")["relative_error"].median())
    assert [line.get_label() for line in axes.lines] == [
        "correct, forward differences",
        "published variant, forward differences",
    ]
    assert "n = 5 to 9 samples" in " ".join(figure._supxlabel.get_text().split())


def test_variants_have_a_panel_for_each_kind_of_setting():
    tables = [
        pd.concat([table(method, [0.1, 1.0], 9, 0), table(method, [8.0, 64.0], 9, 1, family="directions")])
        for method in ("integrated_gradients", NAMES["method"])
    ]
    steps, evaluations = variants(variant_numbers(*tables), LOOKS).axes
    assert steps.get_ylim() == evaluations.get_ylim()
    assert [list(line.get_xdata()) for line in steps.lines] == [[0.1, 1.0]] * 2
    assert [list(line.get_xdata()) for line in evaluations.lines] == [[8.0, 64.0]] * 2
    assert evaluations.get_xlabel() == "evaluations per gradient"


def test_variants_need_both():
    correct = table("integrated_gradients", [0.1], 3, seed=0)
    with pytest.raises(ValueError, match="no rows"):
        variant_numbers(correct, correct.iloc[:0])


def test_variants_keep_the_colours_of_schemes_and_are_told_apart_without_colour():
    steps = [0.1, 1.0]
    families = ("central", "forward")
    tables = [
        pd.concat([table(method, steps, 9, seed=number, family=family) for number, family in enumerate(families)])
        for method in ("integrated_gradients", NAMES["method"])
    ]
    (axes,) = variants(variant_numbers(*tables), LOOKS).axes
    forward, central, published_forward, published_central = axes.lines
    assert (forward.get_color(), central.get_color()) == (style.BLUE, style.GREEN)
    assert {line.get_color() for line in (published_forward, published_central)} == {style.PUBLISHED_COLOUR}
    looks = {(line.get_linestyle(), line.get_marker()) for line in axes.lines}
    assert len(looks) == 4
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["0.1", "1"]


def test_numbers_of_variants_are_the_lines_and_bands():
    correct = table("integrated_gradients", [0.1, 1.0], 9, seed=0)
    correct.loc[0, "relative_error"] = np.nan
    published = table(NAMES["method"], [0.1], 5, seed=1)
    numbers = variant_numbers(correct, published)
    assert numbers[["variant", "setting", "n"]].to_numpy().tolist() == [
        ["correct", 0.1, 8],
        ["correct", 1.0, 9],
        ["published variant", 0.1, 5],
    ]
    for row, rows in zip(numbers.itertuples(), (correct[:9], correct[9:], published), strict=True):
        quartiles = np.nanquantile(rows["relative_error"], [0.25, 0.5, 0.75])
        np.testing.assert_allclose([row.lower_quartile, row.median, row.upper_quartile], quartiles)


def test_variants_have_room_for_the_models_that_are_compared():
    near, far = (variant_numbers(*[table("x", [step, 1.0], 9, 0)] * 2) for step in (1e-6, 0.1))
    limits = [variants(own, LOOKS, [other]).axes[0].get_ylim() for own, other in ((near, far), (far, near))]
    assert limits[0] == limits[1] != variants(far, LOOKS).axes[0].get_ylim()


def test_published_boxes_are_hatched_and_own_ones_have_the_colour_of_their_scheme():
    published = table(NAMES["method"], [0.01, 0.5], 20, seed=0)
    own = table(NAMES["method"], [0.5, 0.01, 3.0], 7, seed=1)
    boxes = published_boxplots(published, own, LOOKS)[0].axes[0].patches
    expected = [matplotlib.colors.to_rgb(style.PUBLISHED_COLOUR), matplotlib.colors.to_rgb(style.BLUE)] * 2
    assert [box.get_facecolor()[:3] for box in boxes] == [pytest.approx(colour) for colour in expected]
    assert [bool(box.get_hatch()) for box in boxes] == [True, False, True, False]
    numbers = published_boxplots(published, own, LOOKS)[1]
    assert numbers.groupby(["series", "setting"]).size().to_dict() == {
        ("published", 0.01): 20,
        ("published", 0.5): 20,
        ("this study", 0.01): 7,
        ("this study", 0.5): 7,
    }


PLACE = {"dataset": "digits", "model": "cnn"}
METHODS = ["integrated_gradients", "integrated_gradients_published"]


def complete(methods):
    return parameters(methods={name: LABELS[name] for name in methods})


def residuals(method, steps, samples=6, exact=False):
    random = np.random.default_rng(len(steps))
    frames = []
    for family, step in [("exact", np.nan)] * exact + [("forward", step) for step in steps]:
        relative = random.normal(size=samples)
        columns = {"sample": np.arange(samples), "residual": 2 * relative, "relative_residual": relative}
        keys = {**PLACE, "method": method, **described(family, step)}
        frames.append(pd.DataFrame(keys | columns))
    return pd.concat(frames, ignore_index=True)


def test_completeness_shows_the_size_of_every_residual_of_both_variants():
    rows = pd.concat([residuals(METHODS[1], [0.5, 2]), residuals(METHODS[0], [2, 1, 0.5], exact=True)])
    figure = completeness_boxplots(rows, complete(METHODS))[0]
    correct, published = figure.axes
    assert tick_labels(published) == ["exact", "0.5", "1", "2"]
    assert "computed" not in drawn_text(figure)
    assert (len(correct.patches), len(published.patches)) == (4, 2)
    named = [" ".join(axes.get_ylabel().split()) for axes in figure.axes]
    assert named == [f"{LABELS[name]} |relative residual|" for name in METHODS]
    assert correct.get_yscale() == published.get_yscale() == "log"
    assert correct.get_ylim() == published.get_ylim()
    for axes, method, steps in ((correct, METHODS[0], [np.nan, 0.5, 1, 2]), (published, METHODS[1], [0.5, 2])):
        drawn = [line.get_ydata() for line in axes.lines if line.get_linestyle() == "None"]
        own = rows[rows["method"] == method]
        for values, step in zip(drawn, steps, strict=True):
            expected = own[own["setting"].isna() if np.isnan(step) else own["setting"] == step][
                "relative_residual"
            ].abs()
            np.testing.assert_array_equal(np.sort(values), np.sort(expected))
            assert (values >= axes.get_ylim()[0]).all()
            assert (values <= axes.get_ylim()[1]).all()
    assert {patch.get_facecolor() for patch in published.patches} == {matplotlib.colors.to_rgba(style.BLUE)}


def test_completeness_of_sources_with_other_settings_has_the_same_axis():
    budgets = residuals(METHODS[0], [1]).assign(**described("directions", 64))
    rows = pd.concat(
        [residuals(METHODS[0], [0.5, 1]), budgets, residuals(METHODS[1], [0.5]), budgets.assign(method=METHODS[1])]
    )
    figure = completeness_boxplots(rows, complete(METHODS))[0]
    assert len(figure.axes) == 4
    assert len({axes.get_ylim() for axes in figure.axes}) == 1
    assert {axes.get_yscale() for axes in figure.axes} == {"log"}


def test_zero_and_undefined_residuals_are_counted():
    rows = residuals(METHODS[0], [0.5], samples=9)
    rows["relative_residual"] = [0, 0, np.nan, *np.geomspace(1e-6, 0.1, 6)]
    (axes,) = completeness_boxplots(rows, complete(METHODS[:1]))[0].axes
    assert [text.get_text() for text in axes.texts] == ["1 undefined\n2 zero"]
    (points,) = [line for line in axes.lines if line.get_linestyle() == "None"]
    low, high = axes.get_ylim()
    assert sorted(points.get_ydata())[:2] == [low, low]
    assert len(points.get_ydata()) == 8
    # There is room for 1, at which all is left unexplained.
    assert 0 < low < 1e-6
    assert high > 1


def test_completeness_has_room_for_the_models_that_are_compared():
    near = residuals(METHODS[0], [0.5]).assign(relative_residual=np.geomspace(1e-9, 1e-6, 6))
    far = residuals(METHODS[0], [0.5]).assign(relative_residual=np.geomspace(1e-3, 30, 6))
    params = complete(METHODS[:1])
    limits = [completeness_boxplots(a, params, [b])[0].axes[0].get_ylim() for a, b in ((near, far), (far, near))]
    assert limits[0] == limits[1] != completeness_boxplots(far, params)[0].axes[0].get_ylim()


def test_numbers_of_completeness_are_signed_and_ordered():
    rows = pd.concat([residuals(METHODS[0], [2, 0.5], exact=True), residuals("other", [1])])
    numbers = completeness_boxplots(rows, complete(METHODS[:1]))[1]
    assert set(numbers["method"]) == {METHODS[0]}
    assert numbers["setting"].dropna().tolist() == [0.5] * 6 + [2.0] * 6
    assert (numbers["residual"] == 2 * numbers["relative_residual"]).all()
    with pytest.raises(ValueError, match="residuals: no rows of the method integrated_gradients_published"):
        completeness_boxplots(rows, complete(METHODS))


def test_nothing_is_drawn_outside_the_figures():
    steps = [1e-5, 0.01, 0.1, 1.0]
    tables = [
        pd.concat([table(method, steps, 9, seed=2, family=family) for family in ("central", "forward")])
        for method in ("integrated_gradients_mean", NAMES["method"])
    ]
    published = tables[1][tables[1]["family"] == "forward"]
    figures = [
        variants(variant_numbers(*tables), LOOKS),
        published_boxplots(published, published, LOOKS)[0],
        completeness_boxplots(
            pd.concat([residuals(method, steps, exact=True) for method in METHODS]), complete(METHODS)
        )[0],
    ]
    for figure in figures:
        assert_all_inside(figure)
