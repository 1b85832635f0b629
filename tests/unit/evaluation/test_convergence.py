"""Error curves taken apart: synthetic ones, whose branches are known, and those of a smooth model."""

import warnings

import numpy as np
import pandas as pd
import pytest
import torch

from approxgrad import FiniteDifference, attribute
from approxgrad.evaluation.convergence import (
    AWAY,
    Branch,
    convergence,
    error_curves,
    recommended_settings,
    textbook_step,
)
from approxgrad.evaluation.metrics import relative_error
from approxgrad.gradients.stencils import stencil
from approxgrad.study.cells import rounding_ratios
from figure_data import described
from problems import points, softplus_mlp

ORDERS = {"forward": 1, "central": 2}
ROUNDING, TRUNCATION = 1e-12, 0.05


def grid(low, high, per_decade=4):
    """Return powers of ten."""
    return 10.0 ** (np.arange(low * per_decade, high * per_decade + 1) / per_decade)


def two_terms(steps, order):
    return ROUNDING / steps + TRUNCATION * steps**order


@pytest.mark.parametrize("order", [1, 2, 4])
def test_the_branches_of_two_terms_are_recovered(order):
    steps = grid(-11, 0)
    found = convergence(steps[::-1], two_terms(steps, order)[::-1], "float64")
    # Near the minimum the other term bends the slope by a twentieth, at the other points by much less.
    assert found.truncation.slope == pytest.approx(order, rel=0.02)
    assert found.rounding.slope == pytest.approx(-1, rel=0.01)
    assert found.truncation.coefficient == pytest.approx(TRUNCATION, rel=0.05)
    assert found.rounding.coefficient == pytest.approx(ROUNDING, rel=0.2)
    optimum = (ROUNDING / (order * TRUNCATION)) ** (1 / (order + 1))
    assert abs(np.log10(found.best_setting / optimum)) <= 0.125
    assert found.best_error == two_terms(steps, order).min()


def test_outliers_do_not_move_a_slope():
    steps = grid(-11, 0)
    errors = two_terms(steps, 1)
    errors[[3, -5, -9]] *= [4, 0.3, 3]
    found = convergence(steps, errors, "float64")
    assert found.truncation.slope == pytest.approx(1, rel=0.02)
    assert found.rounding.slope == pytest.approx(-1, rel=0.02)


def test_saturated_errors_belong_to_no_branch():
    steps = grid(-14, 3)
    errors = np.minimum(two_terms(steps, 1), 1)
    found = convergence(steps, errors, "float64")
    assert found.truncation.slope == pytest.approx(1, rel=0.01)
    assert found.rounding.slope == pytest.approx(-1, rel=0.01)
    assert errors[steps == found.truncation.high] <= 0.1 < errors[steps > found.truncation.high].min()
    assert errors[steps == found.rounding.low] <= 0.3 < errors[steps < found.rounding.low].min()


def test_few_points_make_no_branch():
    steps = grid(-2, 0, per_decade=1)
    assert convergence(steps, TRUNCATION * steps, "float32").truncation is None
    steps = grid(-3, 0, per_decade=1)
    found = convergence(steps, TRUNCATION * steps, "float32")
    assert (found.truncation.points, found.truncation.low, found.truncation.high) == (3, pytest.approx(0.01), 1.0)
    assert found.rounding is None
    assert found.best_setting == pytest.approx(0.001)


def test_a_branch_begins_past_the_jump_at_the_kinks():
    # Rounding alone up to 1e-4, then as many kinks as the step reaches.
    steps = grid(-10, 0, per_decade=2)
    errors = np.where(steps < 2e-4, 1e-13 / steps, 0.2 * steps)
    errors[12] = 1e-6
    found = convergence(steps, errors, "float64")
    assert found.best_setting == steps[11]
    assert (found.truncation.slope, found.truncation.low) == (pytest.approx(1), steps[13])
    assert found.rounding.slope == pytest.approx(-1)
    rows = pd.concat(
        [metric_rows([step], dtype="float64").assign(relative_error=e) for step, e in zip(steps, errors, strict=True)]
    )
    (row,) = recommended_settings(rows, {}).to_dict("records")
    np.testing.assert_allclose(row["jump"], 0.2 * steps[11] / errors[11], rtol=1e-6)


def test_an_error_that_stays_has_no_branch():
    found = convergence(grid(-6, 0), np.full(25, 0.05), "float32")
    assert (found.truncation, found.rounding) == (None, None)
    assert (found.low, found.high) == (1e-6, 1.0)


def test_steps_within_ten_percent_are_those_around_the_best_one():
    errors = [1.05, 3, 1.09, 1, 1.1, 1.11, 1]
    found = convergence([1, 2, 3, 4, 5, 6, 7], errors, "float32")
    assert (found.best_setting, found.low, found.high) == (4, 3, 5)


def test_an_error_of_zero_is_the_best_and_bends_no_fit():
    # A linear model has none of truncation, and a central difference of it may have no rounding either.
    steps = grid(-8, 0)
    errors = 1e-16 / steps
    errors[-4:] = 0
    found = convergence(steps, errors, "float64")
    assert (found.best_setting, found.best_error) == (steps[-4], 0)
    assert (found.low, found.high) == (steps[-4], 1.0)
    assert found.rounding.slope == pytest.approx(-1)
    # Five eps are 1.1e-15, which 1e-16 / h exceeds below 0.09.
    assert found.rounding.high == pytest.approx(10**-1.25)
    assert found.truncation is None


@pytest.mark.parametrize("zeros", [[0], [9], [0, 9], [8, 9, 14], [16, 17, 24], range(25)], ids=str)
def test_steps_are_recommended_whatever_errors_are_zero(zeros):
    # At the smallest step, at the best one, inside a branch, at the largest step, everywhere.
    steps = grid(-6, 0)
    errors = two_terms(steps, 1)
    errors[list(zeros)] = 0
    rows = [
        metric_rows([step], dtype="float64").assign(relative_error=e) for step, e in zip(steps, errors, strict=True)
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (row,) = recommended_settings(pd.concat(rows), {("d", "m", "a", "float64"): 1.0}).to_dict("records")
    assert (row["best_setting"], row["best_error"]) == (steps[zeros[0]], 0)
    assert np.isnan(row["jump"])
    if row["truncation_points"]:
        assert row["truncation_slope"] == pytest.approx(1, rel=0.02)
        assert 0 < row["textbook_step"] < 1


@pytest.mark.parametrize(
    ("steps", "errors", "complaint"),
    [
        ([1, 2], [1], "settings: expected as many as errors and at least one"),
        ([], [], "settings: expected as many as errors and at least one"),
        ([1, 1], [1, 2], "settings: expected positive numbers, each once"),
        ([0, 1], [1, 2], "settings: expected positive numbers, each once"),
        ([1, 2], [1, np.nan], "errors: expected numbers that are not negative"),
        ([1, 2], [1, -1], "errors: expected numbers that are not negative"),
    ],
)
def test_what_is_no_curve_is_refused(steps, errors, complaint):
    with pytest.raises(ValueError, match=f"^{complaint}"):
        convergence(steps, errors, "float32")


def measured_curve(scheme, dtype, steps):
    """Return the median relative error of Saliency of a smooth model, and its rounding scale."""
    precision = getattr(torch, dtype)
    model, inputs = softplus_mlp(8).to(precision), points(50, 8, dtype=precision)
    target = [row % 3 for row in range(50)]
    exact = attribute(model, inputs, target=target).double().numpy()
    errors = []
    for step in steps:
        maps = attribute(model, inputs, target=target, gradient=FiniteDifference(step, scheme))
        errors.append(np.median(relative_error(maps.double().numpy(), exact)))
    with torch.no_grad():
        outputs = model(inputs)[range(50), target].numpy()
    return np.array(errors), np.median(rounding_ratios(outputs, np.ones_like(exact), exact))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("scheme", ORDERS)
def test_a_smooth_model_has_the_slopes_of_the_theory(scheme, dtype):
    steps = grid(-13 if dtype == "float64" else -6, 1)
    errors, scale = measured_curve(scheme, dtype, steps)
    found = convergence(steps, errors, dtype)
    assert found.truncation.slope == pytest.approx(ORDERS[scheme], abs=0.1)
    assert found.rounding.slope == pytest.approx(-1, abs=0.2)
    textbook = textbook_step(found.truncation, stencil(scheme), dtype, scale)
    # The rounding of a dozen terms is between a tenth of and ten times eps |f|, which enters as its root.
    assert abs(np.log10(textbook / found.best_setting)) < 1 / (ORDERS[scheme] + 1)


def test_the_textbook_step_is_that_of_the_formulae():
    # f = exp(x) at x = 0.7 with one feature: all derivatives are |f|, so |f| / |f'| is 1.
    eps = 2.0**-52
    forward = textbook_step(Branch(1.0, 1 / 2, 1e-4, 1e-2, 5), stencil("forward"), "float64", 1.0)
    central = textbook_step(Branch(2.0, 1 / 6, 1e-4, 1e-2, 5), stencil("central"), "float64", 1.0)
    np.testing.assert_allclose([forward, central], [2 * eps**0.5, (3 * eps) ** (1 / 3)], rtol=1e-12)
    # A slope that is a little off counts at the middle of the branch.
    off = Branch(1.1, 1 / 2 * 1e-3**-0.1, 1e-4, 1e-2, 5)
    np.testing.assert_allclose(textbook_step(off, stencil("forward"), "float64", 1.0), forward, rtol=1e-12)


def test_rounding_ratios_are_those_of_the_maps_that_are_not_zero():
    maps = np.array([[3.0, 4.0], [0.0, 0.0], [0.6, 0.8], [0.0, 2.0]])
    factors = np.array([[1.0, 0.0], [1.0, 1.0], [0.0, 2.0], [1.0, 0.0]])
    outputs = np.array([-10.0, 5.0, 3.0, 1.0])
    assert rounding_ratios(outputs, factors, maps).tolist() == [2.0, 6.0, 0.5]
    assert rounding_ratios(outputs[:2], factors[:2], np.zeros((2, 2))).tolist() == []


def metric_rows(steps, family="forward", dtype="float32", auto=None, **keys):
    names = {"dataset": "d", "model": "m", "method": "a", "reference": "exact"}
    sources = [(described(family, step, dtype), two_terms(step, ORDERS.get(family, 1))) for step in steps]
    if auto is not None:
        sources.append((described(family, "auto", dtype, auto), two_terms(auto, ORDERS[family])))
    spread = np.array([0.5, 1, 2, 1, 1])
    return pd.concat(
        [pd.DataFrame(names | keys | source | {"relative_error": spread * error}) for source, error in sources]
    )


def test_curves_are_medians_and_quartiles_of_the_exact_reference():
    rows = metric_rows([0.1, 0.01])
    rows.iloc[0, rows.columns.get_loc("relative_error")] = np.nan
    curves = error_curves(pd.concat([rows, metric_rows([5.0], reference="truth")]))
    assert list(curves["setting"]) == [0.01, 0.1]
    assert list(curves["n"]) == [5, 4]
    np.testing.assert_allclose(curves["error"], two_terms(curves["setting"], 1))
    np.testing.assert_allclose(curves["lower_quartile"][0], two_terms(0.01, 1))
    np.testing.assert_allclose(curves["upper_quartile"][1], 1.25 * two_terms(0.1, 1))
    assert not curves["chosen"].any()


def test_recommendations_name_the_best_setting_of_every_curve():
    steps = grid(-11, 0)
    metrics = pd.concat(
        [
            metric_rows(steps, dtype="float64", auto=3e-6),
            metric_rows(steps, family="central", dtype="float64"),
            metric_rows([0.1, 1.0]),
            metric_rows([], auto=0.25, method="b"),
        ]
    )
    table = recommended_settings(metrics, {("d", "m", "a", "float64"): 2.0}).set_index(["method", "family", "dtype"])
    assert table.index.is_unique
    assert len(table) == 4
    forward, central = table.loc[("a", "forward", "float64")], table.loc[("a", "central", "float64")]
    assert forward["best_setting"] == steps[two_terms(steps, 1).argmin()]
    assert (forward["chosen_setting"], forward["chosen_error"]) == (3e-6, pytest.approx(two_terms(3e-6, 1)))
    assert (forward["settings"], forward["n"]) == (len(steps), 5)
    assert forward["truncation_slope"] == pytest.approx(1, rel=0.01)
    assert central["truncation_slope"] == pytest.approx(2, rel=0.01)
    assert np.isnan(central["chosen_setting"])
    # b is the coefficient of the truncation, |f| |w| / |w f'| was given as 2.
    np.testing.assert_allclose(forward["textbook_step"], (2 * 2.0**-52 * 2 / TRUNCATION) ** 0.5, rtol=0.02)
    np.testing.assert_allclose(central["textbook_step"], (2.0**-52 * 2 / (2 * TRUNCATION)) ** (1 / 3), rtol=0.02)
    coarse = table.loc[("a", "forward", "float32")]
    assert coarse["best_setting"] == 0.1
    assert (coarse["truncation_points"], coarse["rounding_points"]) == (0, 0)
    assert coarse[["truncation_slope", "rounding_slope", "textbook_step"]].isna().all()
    chosen = table.loc[("b", "forward", "float32")]
    assert np.isnan(chosen["best_setting"])
    assert (chosen["chosen_setting"], chosen["settings"]) == (0.25, 0)


def test_a_branch_begins_at_five_times_the_smallest_error():
    # 4.9 times the smallest error is too near; the points from 5.1 times on are a line of their own.
    errors = [1e-4, 4.9e-4, 5.1e-4, 1.02e-3, 2.04e-3]
    found = convergence(2.0 ** np.arange(5), errors, "float64")
    assert AWAY == 5
    assert (found.truncation.low, found.truncation.points) == (4, 3)
    assert found.truncation.slope == pytest.approx(1)


def test_other_settings_have_no_textbook_step_and_precisions_are_in_order():
    counts = metric_rows([8.0, 64.0, 512.0], family="directions")
    table = recommended_settings(
        pd.concat([counts, metric_rows(grid(-11, 0), dtype="float64"), metric_rows([0.1])]),
        {("d", "m", "a", dtype): 1.0 for dtype in ("float32", "float64")},
    )
    assert table[["family", "setting_name", "dtype"]].to_numpy().tolist() == [
        ["directions", "evaluations", "float32"],
        ["forward", "step", "float32"],
        ["forward", "step", "float64"],
    ]
    assert table["textbook_step"].notna().tolist() == [False, False, True]


def test_the_exact_gradient_has_no_curve():
    exact = metric_rows([0.1]).assign(**described("exact"))
    assert list(error_curves(pd.concat([metric_rows([0.1]), exact]))["family"]) == ["forward"]
