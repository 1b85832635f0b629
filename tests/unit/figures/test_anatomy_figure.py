"""The figure of the error over the step."""

import matplotlib
import numpy as np
import pandas as pd
import pytest

from approxgrad.figures.anatomy import anatomy
from figure_data import families, parameters

NAMES = {"dataset": "digits", "model": "cnn"}
STEPS = 10.0 ** (np.arange(-44, 1) / 4)
ORDERS = {"forward": 1, "central": 2}


def curve(family="forward", dtype="float64", steps=STEPS, method="saliency", chosen=False, n=7):
    error = 1e-12 / steps + 0.05 * steps ** ORDERS[family]
    source = {"family": family, "dtype": dtype, "setting_name": "step", "chosen": chosen, "setting": steps}
    rows = {**NAMES, "method": method, **source, "n": n}
    return pd.DataFrame(rows | {"error": error, "lower_quartile": error / 2, "upper_quartile": error * 3})


def shown(*methods):
    return parameters(methods={name: name.replace("_", " ").capitalize() for name in methods or ["saliency"]})


def drawn(figure):
    """Return the visible panels."""
    figure.draw_without_rendering()
    return [axes for axes in figure.findobj(matplotlib.axes.Axes) if axes.get_visible()]


def texts(artist):
    return [text.get_text() for text in artist.findobj(matplotlib.text.Text) if text.get_text()]


def test_a_panel_shows_medians_quartiles_slopes_and_the_best_step():
    table = pd.concat([curve(), curve("central")])
    (axes,) = drawn(anatomy(table, shown()))
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    for family, line, band in zip(
        ("forward", "central"),
        [line for line in axes.lines if len(line.get_xdata()) == len(STEPS)],
        axes.collections,
        strict=True,
    ):
        expected = curve(family)
        np.testing.assert_array_equal(line.get_ydata(), expected["error"])
        heights = band.get_paths()[0].vertices[:, 1]
        assert (heights.min(), heights.max()) == (expected["lower_quartile"].min(), expected["upper_quartile"].max())
        best = expected.loc[expected["error"].idxmin()]
        (star,) = [mark for mark in axes.lines if mark.get_marker() == "*" and mark.get_color() == line.get_color()]
        np.testing.assert_array_equal(star.get_xydata(), [[best["setting"], best["error"]]])
    labels = [label.get_text() for label in axes.texts]
    assert labels == [
        "central float64: -1.00, 2.00",
        "forward float64: -1.00, 1.00",
        "exponents:",
    ]
    assert [label.get_color() for label in axes.texts[:2]] == [axes.lines[-3].get_color(), axes.lines[0].get_color()]
    assert axes.get_title() == "Saliency\nn = 7"


def test_families_differ_in_colour_and_marker_and_precisions_in_the_line():
    table = pd.concat([curve(family, dtype) for family in ORDERS for dtype in ("float32", "float64")])
    (axes,) = drawn(anatomy(table, shown()))
    lines = {line.get_label(): line for line in axes.lines if not line.get_label().startswith("_")}
    looks = {name: (line.get_color(), line.get_marker(), line.get_linestyle()) for name, line in lines.items()}
    assert len(set(looks.values())) == 4
    forward, forward64 = looks["forward differences, float32"], looks["forward differences, float64"]
    assert forward[:2] == forward64[:2] != looks["central differences, float32"][:2]
    assert (forward[2], forward64[2]) == ("-", "--")
    markers = {family: looks["marker"] for family, looks in families().items()}
    assert (forward[1], looks["central differences, float32"][1]) == (markers["forward"], markers["central"])


def test_only_what_is_drawn_is_told():
    for table, laws in ((curve("central"), True), (curve(steps=np.array([0.01, 0.1, 1.0]), dtype="float32"), False)):
        figure = anatomy(table, shown())
        (axes,) = drawn(figure)
        assert axes.get_title() == "Saliency\nn = 7"
        assert any("power laws" in text for text in texts(figure)) == laws
        assert any("exponents:" in text for text in texts(axes)) == laws


def test_exponents_stand_below_the_higher_end_of_the_curves():
    rising = curve("central", steps=STEPS[STEPS > 1e-4])
    for table, side in ((curve("central"), "left"), (rising, "right")):
        (axes,) = drawn(anatomy(table, shown()))
        assert {text.get_ha() for text in axes.texts} == {side}


def test_a_setting_that_is_alone_is_not_called_the_best():
    params = shown()
    params["families"]["forward"] = params["families"]["forward"] | {"setting_name": "step_per_spread"}
    for table, best in ((curve(steps=np.array([0.3])), False), (curve(), True)):
        figure = anatomy(table.assign(setting_name="step_per_spread"), params)
        (axes,) = drawn(figure)
        assert any(line.get_marker() == "*" for line in axes.lines) == best
        assert ("best step per spread of the study" in texts(figure)) == best
        assert "step_per_spread" not in " ".join(texts(figure))


def test_the_axis_of_the_error_has_room_for_the_models_that_are_compared():
    near, far = curve(), curve().assign(error=lambda rows: 1e3 * rows["error"])
    (alone,) = drawn(anatomy(near, shown()))
    (axes,) = drawn(anatomy(near, shown(), None, [far]))
    assert axes.get_ylim()[1] > far["error"].max() > alone.get_ylim()[1]
    (other,) = drawn(anatomy(far, shown(), None, [near]))
    assert axes.get_ylim() == other.get_ylim()


def test_a_chosen_step_is_marked_also_where_there_is_no_other():
    chosen = curve(steps=np.array([3e-6]), chosen=True)
    for table in (pd.concat([curve(), chosen]), chosen):
        figure = anatomy(table, shown())
        (axes,) = drawn(figure)
        (mark,) = [line for line in axes.lines if line.get_marker() == "D"]
        np.testing.assert_array_equal(mark.get_xydata(), chosen[["setting", "error"]])
        assert "step chosen at run time" in texts(figure)
    assert "best step of the study" not in texts(figure)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 6, 7])
def test_every_method_has_a_panel_with_its_name_and_size(count):
    methods = [f"method_{number}" for number in range(count)]
    table = pd.concat([curve(method=name, n=number + 3) for number, name in enumerate(methods)])
    figure = anatomy(table, shown(*methods[::-1]))
    panels = drawn(figure)
    assert [axes.get_title() for axes in panels] == [f"Method {n}\nn = {n + 3}" for n in reversed(range(count))]
    # Every column ends with the name of the axis, also where the last row is shorter.
    assert sum(axes.get_xlabel() != "" for axes in panels) == len({axes.get_position().x0 for axes in panels})
    assert "data set: digits, model: CNN" in " ".join(texts(figure))


def test_an_error_of_zero_is_left_out():
    table = curve(steps=np.array([0.01, 0.1, 1.0]))
    table["error"] = [0.0, 1e-9, 1e-8]
    assert drawn(anatomy(table, shown()))


def test_a_model_without_any_gradient_has_a_picture_that_says_so():
    figure = anatomy(curve()[:0], shown())
    figure.draw_without_rendering()
    assert "No error is defined: what attributions are compared with is zero." in texts(figure)


def test_a_method_without_rows_is_one_clear_line():
    with pytest.raises(ValueError, match=r"^metrics: no rows of the method other$"):
        anatomy(curve(), shown("other"))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(("places", "scale"), [([0], "log"), ([20, 30], "log"), (range(45), "linear")], ids=str)
def test_errors_of_zero_are_drawn(places, scale):
    table = curve()
    table.loc[list(places), ["error", "lower_quartile"]] = 0.0
    (axes,) = drawn(anatomy(table, shown()))
    assert axes.get_yscale() == scale


def test_each_kind_of_setting_has_panels_of_its_own():
    budgets = 2.0 ** np.arange(3, 15)
    rows = {**NAMES, "family": "directions", "setting_name": "evaluations", "dtype": "float32", "chosen": False, "n": 7}
    error = 0.3 / np.sqrt(budgets)
    columns = {"setting": budgets, "error": error, "lower_quartile": error, "upper_quartile": error}
    table = pd.concat([curve(), pd.DataFrame(rows | {"method": "saliency"} | columns)])
    figure = anatomy(table, shown())
    steps, evaluations = drawn(figure)
    assert tuple(axes.get_xlabel().replace("\n", " ") for axes in (steps, evaluations)) == (
        "step size h (units of the model's inputs)",
        "evaluations per gradient",
    )
    assert [text.get_text() for text in evaluations.texts] == ["directions float32: -0.50, none", "exponents:"]
    assert steps.get_xlim() != evaluations.get_xlim()
    # A method may have one of them only.
    panels = drawn(anatomy(pd.concat([table, curve(method="other")]), shown("saliency", "other")))
    assert [axes.get_title().partition("\n")[0] for axes in panels] == ["Saliency", "Saliency", "Other"]
