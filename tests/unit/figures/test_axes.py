"""Where settings stand on an axis, and which scale and range measures have."""

import matplotlib
import numpy as np
import pandas as pd
import pytest

from approxgrad.figures import style
from approxgrad.figures.boxplots import boxplots
from approxgrad.figures.source_axes import source_groups
from approxgrad.figures.truth import truth_violins
from figure_data import (
    NUMERIC_ORDER,
    STEPS,
    drawn_text,
    families,
    metric_rows,
    metric_table,
    parameters,
    tick_labels,
)

LOOKS = parameters()


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
