"""Faithfulness of maps: closed forms on linear models, and what a worse map loses."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch

from approxgrad.evaluation.faithful_sources import MEASURES, compare_faithfulness, judged_sources
from approxgrad.evaluation.faithfulness import areas, curves, infidelities
from approxgrad.evaluation.uncertainty import Bootstrap
from approxgrad.storage.names import Names
from approxgrad.storage.tables import write_table
from figure_data import described

WEIGHTS = torch.tensor([4.0, -2.0, 1.0, 0.5, -0.25])


def linear(points):
    return (points @ WEIGHTS).double().numpy()


def bent(points):
    return ((points @ WEIGHTS) + torch.sin(3 * points).sum(dim=1)).double().numpy()


def inputs(rows=6, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(rows, 5)).astype(np.float32))


def test_the_output_falls_by_the_largest_contributions_first():
    x, baseline = inputs(), torch.full((5,), 0.5)
    contributions = ((x - baseline) * WEIGHTS).double().numpy()
    falls, rises = curves(linear, x, contributions, baseline, 5)
    expected = np.cumsum(-np.sort(-contributions, axis=1), axis=1)
    np.testing.assert_allclose(falls[:, 0], 0, atol=0)
    # Sums of five terms in single precision.
    np.testing.assert_allclose(falls[:, 1:], expected, atol=1e-5)
    np.testing.assert_allclose(rises[:, 1:], expected, atol=1e-5)
    np.testing.assert_allclose(areas(np.tile([0.0, 1, 1, 1, 1, 1], (1, 1)), 5), 0.9)


def test_no_order_is_more_faithful_to_a_linear_model_than_that_of_its_contributions():
    x, baseline, generator = inputs(40), torch.zeros(5), np.random.default_rng(3)
    best = (x * WEIGHTS).double().numpy()
    own = [areas(found, 5) for found in curves(linear, x, best, baseline, 5)]
    other = [areas(found, 5) for found in curves(linear, x, generator.normal(size=best.shape), baseline, 5)]
    for known, worse in zip(own, other, strict=True):
        assert (known >= worse - 1e-5).all()
        assert np.median(known - worse) > 0.3


def test_features_of_a_group_are_removed_together_by_their_sum():
    x, baseline, names = inputs(), torch.zeros(5), Names(tuple("abcde"), ("p", "q", "p", "r", "p"))
    assert names.members == [0, 1, 0, 2, 0]
    contributions = (x * WEIGHTS).double().numpy()
    totals = np.stack([contributions[:, [0, 2, 4]].sum(axis=1), contributions[:, 1], contributions[:, 3]], axis=1)
    np.testing.assert_allclose(names.totals(contributions), totals)
    falls, rises = curves(linear, x, totals, baseline, 3, names.members)
    expected = np.cumsum(-np.sort(-totals, axis=1), axis=1)
    # Sums of five terms in single precision.
    np.testing.assert_allclose(falls[:, 1:], expected, atol=1e-5)
    np.testing.assert_allclose(rises[:, 1:], expected, atol=1e-5)


def test_steps_may_be_fewer_or_more_than_the_features():
    x = inputs()
    for steps in (1, 2, 7, 50):
        falls, _ = curves(linear, x, x.numpy(), torch.zeros(5), steps)
        assert falls.shape == (6, steps + 1)
        np.testing.assert_allclose(falls[:, -1], linear(x), atol=1e-5)


@pytest.mark.parametrize("factor", [torch.ones(6, 5), inputs(seed=4)])
def test_the_gradient_of_a_linear_model_tells_every_move(factor):
    x, noise = inputs(), 0.1 * torch.randn(30, 5, generator=torch.Generator().manual_seed(0))
    exact = WEIGHTS * factor
    spread = float(((noise @ WEIGHTS) ** 2).mean())
    assert (infidelities(linear, x, exact, factor, noise) < 1e-5 * spread).all()
    # Its size does not matter, its pattern does.
    assert (infidelities(linear, x, 7 * exact, factor, noise) < 1e-5 * spread).all()
    wrong = exact.flip(1) * 1.0
    assert (infidelities(linear, x, wrong, factor, noise) > 0.1 * spread).all()


def test_rows_do_not_touch_each_other():
    x, noise = inputs(), torch.randn(8, 5, generator=torch.Generator().manual_seed(1))
    maps = inputs(seed=9)
    ones = torch.ones_like(x)
    whole = infidelities(bent, x, maps, ones, noise)
    alone = [infidelities(bent, x[row : row + 1], maps[row : row + 1], ones[:1], noise)[0] for row in range(6)]
    np.testing.assert_allclose(whole, alone, rtol=1e-4)


def table(values):
    """The measures of sources of one comparison, by the name and setting of the source."""
    parts = []
    for (family, setting), own in values.items():
        frame = pd.DataFrame(dict.fromkeys(MEASURES, own)).assign(**described(family, setting), sample=range(len(own)))
        parts.append(frame.assign(dataset="d", model="m", method="a"))
    return pd.concat(parts, ignore_index=True)


def test_an_approximation_is_judged_by_the_same_rows_of_the_reference():
    exact = np.random.default_rng(5).uniform(1, 9, 20)
    found = compare_faithfulness(
        table({("exact", None): exact, ("forward", 1.0): exact - 0.1, ("forward", 0.1): exact}),
        {("d", "m", "a", "float32"): "exact"},
        Bootstrap(0, resamples=200),
    ).set_index(["gradient", "measure"])
    assert found.loc[("forward-h1", "deletion"), "verdict"] == "worse"
    # Less of it is better.
    assert found.loc[("forward-h1", "infidelity"), "verdict"] == "better"
    assert found.loc[("forward-h1", "deletion"), "gain"] == pytest.approx(-0.1)
    assert set(found.loc["forward-h0.1", "verdict"]) == {"open"}
    assert set(found.loc["exact", "verdict"]) == {""}
    # A difference of two medians would drown in the spread of the rows.
    assert found.loc[("forward-h1", "deletion"), "low"] < found.loc[("exact", "deletion"), "median"]


def test_a_measure_without_values_is_left_out():
    values = table({("exact", None): np.ones(8), ("forward", 1.0): np.ones(8)}).assign(infidelity=np.nan)
    found = compare_faithfulness(values, {("d", "m", "a", "float32"): "exact"}, Bootstrap(0, resamples=200))
    assert set(found["measure"]) == {"deletion", "insertion"}


def test_maps_of_zeros_alone_leave_nothing_to_compare():
    values = table({("exact", None): np.full(8, np.nan), ("forward", 1.0): np.full(8, np.nan)})
    found = compare_faithfulness(values, {("d", "m", "a", "float32"): "exact"}, Bootstrap(0, resamples=200))
    assert found.empty
    assert {"measure", "gain", "gain_low", "median", "n", "p_adjusted", "verdict"} <= set(found.columns)


def stored(path, frame):
    write_table(path, pa.Table.from_pandas(frame, preserve_index=False), {})
    return str(path)


def test_sensitivity_is_compared_under_the_name_that_a_source_has_in_the_comparison(tmp_path):
    names = ["d", "m", "a"]
    rows = table({("exact", None): np.ones(8), ("forward", 1.0): np.ones(8)}).drop(
        columns=["dataset", "model", "method"]
    )
    told = rows["gradient"].replace({"exact": "exact of twin"})
    errors = rows[rows["gradient"] != "exact"].assign(reference="exact of twin", relative_error=0.25)
    sensitive = {"exact": np.arange(8) + 1.0, "forward-h1": 3 * np.arange(8) + 3.0}
    files = {
        name: stored(
            tmp_path / f"{name}.parquet",
            # In another order than the other measures.
            rows[rows["gradient"] == name].assign(sensitivity=own)[["gradient", "sample", "sensitivity"]].iloc[::-1],
        )
        for name, own in sensitive.items()
    }
    inputs = {
        "faithfulness": [stored(tmp_path / "faithfulness.parquet", rows.assign(gradient=told))],
        "metrics": [stored(tmp_path / "metrics.parquet", errors)],
    }
    params = {"comparisons": [names], "references": [[*names, "float32", "exact of twin"]]}
    without = judged_sources(inputs, params, Bootstrap(0, resamples=200))
    assert set(without["measure"]) == set(MEASURES)
    moved = {"moved": [[*names, "exact of twin"], [*names, "forward-h1"]]}
    found = judged_sources(inputs | {"sensitivity": list(files.values())}, params | moved, Bootstrap(0, resamples=200))
    own = found[found["measure"] == "sensitivity"].set_index("gradient")
    assert own.loc["exact of twin", "median"] == 4.5
    # Row by row, and more of it is worse.
    assert own.loc["forward-h1", "gain"] == pytest.approx(-9)
    assert own.loc["forward-h1", "verdict"] == "worse"
    assert own.loc["forward-h1", "relative_error"] == 0.25
    columns = ["gradient", "measure", "median", "gain", "gain_low"]
    pd.testing.assert_frame_equal(
        found.loc[found["measure"] != "sensitivity", columns].reset_index(drop=True), without[columns]
    )
