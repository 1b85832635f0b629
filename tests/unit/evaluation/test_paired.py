import numpy as np
import pandas as pd
import pytest
from scipy import stats

from approxgrad.evaluation.frames import KEYS, SOURCE
from approxgrad.evaluation.metrics import METRICS
from approxgrad.evaluation.paired import WITHIN, compare_sources, holm, sign_test, source_pairs
from approxgrad.evaluation.uncertainty import Bootstrap, intervals
from figure_data import described


def rows(family, setting, values, samples=None, dtype="float32", **keys):
    """Return the metrics of one source; `values` are those of every metric, or of each by name."""
    measures = values if isinstance(values, dict) else dict.fromkeys(METRICS, values)
    frame = pd.DataFrame({name: np.asarray(column, float) for name, column in measures.items()})
    names = dict.fromkeys(WITHIN, "x") | described(family, setting, dtype) | keys
    return frame.assign(**names, sample=samples or range(len(frame))).astype({"setting": float})


def compared(*frames, **options):
    return compare_sources(pd.concat(frames), Bootstrap(0, **options))


def verdict(first, second, metric="pearson", **options):
    return chosen(compared(rows("forward", 1.0, first), rows("forward", 2.0, second), **options), metric)["verdict"]


def chosen(table, metric="relative_error"):
    (row,) = table[table["metric"] == metric].to_dict("records")
    return row


def pairs(*sources):
    return source_pairs(pd.DataFrame([described(*source) for source in sources]).astype({"setting": float}))


def test_pairs_are_neighbouring_settings_families_at_one_setting_and_the_exact_gradient():
    forward = [("forward", setting) for setting in (0.5, 0.1, 2.0)]
    central = [("central", setting) for setting in (2.0, 1.0)]
    assert pairs(*forward, ("exact",), *central) == [
        ("setting", "central-h1", "central-h2"),
        ("setting", "forward-h0.1", "forward-h0.5"),
        ("setting", "forward-h0.5", "forward-h2"),
        ("family", "central-h2", "forward-h2"),
        ("exact", "central-h1", "exact"),
        ("exact", "central-h2", "exact"),
        ("exact", "forward-h0.1", "exact"),
        ("exact", "forward-h0.5", "exact"),
        ("exact", "forward-h2", "exact"),
    ]


def test_another_source_without_a_setting_is_no_exact_gradient():
    shapley = described("exact") | {"gradient": "shapley", "family": "shapley"}
    found = pd.DataFrame([described("forward", 0.5), described("exact"), shapley])
    assert source_pairs(found.astype({"setting": float})) == [
        ("exact", "forward-h0.5", "exact"),
        ("shapley", "forward-h0.5", "shapley"),
    ]


def test_a_chosen_setting_is_paired_with_another_family_and_the_exact_gradient_only():
    assert pairs(("forward", 0.5), ("forward", "auto", "float32", 0.1), ("central", "auto"), ("exact",)) == [
        ("family", "central-auto", "forward-auto"),
        ("exact", "central-auto", "exact"),
        ("exact", "forward-h0.5", "exact"),
        ("exact", "forward-auto", "exact"),
    ]
    # Not even where the chosen setting is that of another source.
    assert pairs(("forward", 0.5), ("central", "auto", "float32", 0.5)) == []


def test_settings_of_different_kinds_are_not_paired():
    assert pairs(("forward", 8.0), ("directions", 8.0), ("directions", 64.0)) == [
        ("setting", "directions-n8", "directions-n64")
    ]


def test_one_source_has_no_pair_but_the_columns_are_there():
    one = rows("forward", 1.0, np.arange(4.0))
    assert compared(one).empty
    assert list(compared(one)) == list(compared(one, rows("forward", 2.0, np.arange(4.0))))


@pytest.mark.parametrize("name", METRICS)
def test_better_is_what_is_nearer_to_the_best_value_of_the_metric(name):
    metric = METRICS[name]
    inward = -1 if metric.best == metric.upper else 1
    good, bad = (np.full(5, metric.best + inward * distance) for distance in (0.1, 0.3))
    for first, second, better in ((good, bad, 1), (bad, good, 0)):
        row = chosen(compared(rows("forward", 1.0, first), rows("forward", 2.0, second)), name)
        assert row["first_better"] == better
        assert row["equal"] == 0
        assert row["median_difference"] == pytest.approx(first[0] - second[0])


def test_directions_are_known_for_errors_and_correlations():
    low, high = np.full(5, 0.2), np.full(5, 0.7)
    factors = {"best_factor": 1 + low}, {"best_factor": 1 - high}
    low, high = (dict.fromkeys(METRICS, own) | factor for own, factor in zip((low, high), factors, strict=True))
    table = compared(rows("forward", 1.0, low), rows("forward", 2.0, high)).set_index("metric")["first_better"]
    assert set(table[table == 1].index) == {"mean_squared_error", "relative_error", "scale_free_error", "best_factor"}
    assert set(table[table == 0].index) == {"pearson", "spearman", "cosine", "sign_agreement", "top_overlap"}


def test_a_source_does_not_differ_from_itself():
    values = np.random.default_rng(0).uniform(size=9)
    table = compared(rows("forward", 1.0, values), rows("forward", 2.0, values))
    assert (table[["median_difference", "low", "high", "first_better"]] == 0).all(axis=None)
    assert (table[["equal", "p_value", "p_adjusted"]] == 1).all(axis=None)


def test_values_are_paired_by_sample():
    samples = [4, 8, 1, 6]
    values = np.array([0.4, 0.8, 0.1, 0.6])
    other = rows("forward", 2.0, [0.9, 0.2, 0.7, 0.3], samples=[8, 1, 6, 5])
    row = chosen(compared(rows("forward", 1.0, values, samples=samples), other))
    assert row["n"] == 3
    assert row["undefined"] == 0
    assert row["median_difference"] == pytest.approx(-0.1)
    assert row["first_better"] == 1
    assert row["first_median"] == 0.6
    assert row["second_median"] == 0.7


def test_a_measure_that_is_undefined_for_one_source_counts_for_neither():
    first = {name: [np.nan, 0.2, 0.3, 0.9] for name in METRICS}
    second = {name: [0.5, 0.1, np.nan, 0.9] for name in METRICS}
    row = chosen(compared(rows("forward", 1.0, first), rows("forward", 2.0, second)))
    assert (row["n"], row["undefined"]) == (2, 2)
    assert (row["first_better"], row["equal"]) == (0, 0.5)
    assert row["first_median"] == pytest.approx(0.55)
    assert row["median_difference"] == pytest.approx(0.05)


def test_a_measure_that_is_undefined_everywhere_has_no_numbers():
    nothing = {name: [np.nan if name == "pearson" else value for value in (0.1, 0.2)] for name in METRICS}
    table = compared(rows("forward", 1.0, nothing), rows("forward", 2.0, [0.1, 0.3]))
    row = chosen(table, "pearson")
    assert (row["n"], row["undefined"]) == (0, 2)
    numbers = ["first_median", "median_difference", "low", "high", "first_better", "equal", "p_value", "p_adjusted"]
    assert np.isnan([row[name] for name in numbers]).all()
    known = [name for name in numbers if name not in ("low", "high")]
    assert table.loc[table["metric"] != "pearson", known].notna().all(axis=None)


def test_only_sources_with_the_same_other_keys_are_compared():
    frames = [
        rows("forward", step, np.arange(3.0) + step, **{key: name})
        for key in WITHIN
        for name in (("float32", "float64") if key == "dtype" else ("a", "b"))
        for step in (1.0, 2.0)
    ]
    table = compared(*frames, rows("exact", None, np.zeros(3), reference="a"))
    assert set(table) >= set(KEYS) - (set(SOURCE) - {"dtype"})
    assert len(table) == (2 * len(WITHIN) + 2) * len(METRICS)
    assert set(table.loc[table["differ"] == "exact", "reference"]) == {"a"}
    assert (table.loc[table["differ"] == "setting", "median_difference"] == -1).all()


def test_pairing_narrows_the_interval_of_correlated_sources():
    generator = np.random.default_rng(0)
    hardness = generator.lognormal(size=60)
    first, second = (hardness * (1 + 0.05 * generator.normal(size=60)) + shift for shift in (0, 0.1))
    row = chosen(compared(rows("forward", 1.0, first), rows("forward", 2.0, second)))
    alone = intervals([first, second], Bootstrap(0))
    unpaired = np.hypot(*(alone["median_high"] - alone["median_low"]))
    assert row["low"] < -0.1 < row["high"] < 0
    assert row["high"] - row["low"] < unpaired / 4


def test_the_interval_is_that_of_the_median_of_the_differences():
    first, second = np.random.default_rng(1).uniform(size=(2, 25))
    row = chosen(compared(rows("forward", 1.0, first), rows("forward", 2.0, second), level=0.8))
    (expected,) = intervals([first - second], Bootstrap(0, level=0.8)).to_dict("records")
    assert [row["median_difference"], row["low"], row["high"]] == [
        expected["median"], expected["median_low"], expected["median_high"],
    ]  # fmt: skip


def test_the_order_of_rows_makes_no_difference():
    generator = np.random.default_rng(2)
    metrics = pd.concat([rows("forward", step, generator.uniform(size=12)) for step in (1.0, 2.0, 3.0)])
    shuffled = metrics.sample(frac=1, random_state=0)
    order = ["first", "second", "metric"]
    tables = [
        compare_sources(table, Bootstrap(0)).sort_values(order, ignore_index=True) for table in (metrics, shuffled)
    ]
    pd.testing.assert_frame_equal(*tables, check_exact=True)


def test_medians_that_are_better_are_no_better_source():
    """The first source is worse on most rows, but the few large gains lift its median above that of the second."""
    second = np.concatenate([np.full(11, 0.1), np.linspace(0.5, 0.9, 10)])
    first = np.concatenate([np.full(11, 0.95), second[11:] - 0.05])
    first[:2] = 0.05
    assert np.median(first) > np.median(second)
    assert verdict(first, second) == "open"
    flat = np.linspace(0.3, 0.9, 21)
    shifted = np.roll(flat, -1) - 0.05
    shifted[:1] = 2.0
    assert verdict(flat, flat - 0.05) == "better"
    assert verdict(flat - 0.05, flat) == "worse"


def test_a_difference_below_the_smallest_that_matters_is_none():
    """With many rows every difference is significant, however small."""
    values = np.random.default_rng(4).uniform(0.2, 0.8, 300)
    row = chosen(compared(rows("forward", 1.0, values + 1e-4), rows("forward", 2.0, values)), "pearson")
    assert row["p_adjusted"] < 1e-50
    assert row["verdict"] == "alike"
    assert (
        compare_sources(
            pd.concat([rows("forward", 1.0, values + 1e-4), rows("forward", 2.0, values)]), Bootstrap(0), 1e-5
        )["verdict"]
        .isin(["better", "worse"])
        .all()
    )


def test_a_verdict_waits_for_the_adjusted_p_value():
    # Nine of ten rows: p = 0.021 by itself, not among all metrics.
    values = np.linspace(0.2, 0.6, 10)
    row = chosen(
        compared(rows("forward", 1.0, values + np.repeat([0.1, -0.1], [9, 1])), rows("forward", 2.0, values)), "pearson"
    )
    assert row["p_value"] < 0.05 < row["p_adjusted"]
    assert row["verdict"] == "open"


def test_a_factor_is_better_where_it_is_nearer_to_one():
    assert verdict(np.linspace(0.85, 0.95, 20), np.linspace(1.9, 2.1, 20), "best_factor") == "better"
    assert verdict(np.linspace(2.9, 3.1, 20), np.linspace(1.9, 2.1, 20), "best_factor") == "worse"


@pytest.mark.parametrize(("better", "worse"), [(0, 5), (5, 0), (7, 3), (4, 4), (150, 200), (0, 0)])
def test_the_sign_test_is_that_of_scipy(better, worse):
    expected = stats.binomtest(better, better + worse).pvalue if better + worse else 1
    assert sign_test(np.array([better]), np.array([worse])) == pytest.approx(expected)


def test_p_values_are_adjusted_by_holm():
    adjusted = holm(pd.Series([0.01, np.nan, 0.04, 0.03, 0.005, 0.9], index=list("abcdef")))
    np.testing.assert_allclose(adjusted, [0.04, np.nan, 0.09, 0.09, 0.025, 0.9])
    assert list(adjusted.index) == list("abcdef")


def test_adjustment_counts_the_rows_of_one_comparison_only():
    values = np.random.default_rng(3).uniform(size=(2, 2, 8))
    alone = compared(rows("forward", 1.0, values[0, 0]), rows("forward", 2.0, values[0, 1]))
    other = [rows("forward", 1.0 + step, values[1, step], model="other") for step in (0, 1)]
    both = compared(rows("forward", 1.0, values[0, 0]), rows("forward", 2.0, values[0, 1]), *other)
    assert list(both["p_adjusted"][: len(alone)]) == list(alone["p_adjusted"])
