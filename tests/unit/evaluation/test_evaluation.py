import numpy as np
import pandas as pd
import pytest

from approxgrad.evaluation.frames import KEYS, read_metrics, read_shown, write_both
from approxgrad.evaluation.metric_tables import arrays_table, evaluate_method, published_table, summarise
from approxgrad.evaluation.metrics import METRICS, Metric, compare
from approxgrad.evaluation.paired import compare_sources
from approxgrad.evaluation.uncertainty import Bootstrap, intervals
from approxgrad.storage.attributions import Attributions, write_attributions
from approxgrad.storage.table_checks import TableError
from approxgrad.storage.tables import read_table, write_table
from figure_data import described

SAMPLES = np.array([7, 3, 11, 5])


def maps(seed, rows=4, features=6):
    return np.random.default_rng(seed).normal(size=(rows, features)).astype(np.float32)


def store(path, attribution, samples, family="exact", setting=None, truth=None, **options):
    """Write an attribution file and return its path."""
    metadata = described(family, setting, **options)
    write_attributions(path, Attributions(samples, attribution, attribution, None, truth, metadata))
    return path


@pytest.fixture
def exact(tmp_path):
    return store(tmp_path / "exact.parquet", maps(0), SAMPLES)


def test_rows_are_aligned_by_sample_and_not_by_position(tmp_path, exact):
    order = np.array([2, 0, 3])
    path = store(tmp_path / "forward.parquet", maps(1)[order], SAMPLES[order], "forward", 0.5)
    table = evaluate_method([exact], [path]).to_pandas()
    assert list(table["sample"]) == [11, 7, 5]
    for name, values in compare(maps(1), maps(0)).items():
        np.testing.assert_array_equal(table[name], values[order])


def test_the_features_of_a_categorical_column_are_compared_as_one(tmp_path):
    groups = ["age", "city", "city", "city", "rooms", "rooms"]
    paths = []
    for seed, step in ((0, None), (1, 0.5)):
        named = described("exact" if step is None else "forward", step) | {"feature_groups": groups}
        paths.append(tmp_path / f"{seed}.parquet")
        truth = maps(9) if step is None else None
        write_attributions(paths[-1], Attributions(SAMPLES, maps(seed), maps(seed), None, truth, named))
    table = evaluate_method(paths[:1], paths[1:]).to_pandas()

    def summed(own):
        own = own.astype(float)
        return np.stack([own[:, 0], own[:, 1:4].sum(axis=1), own[:, 4:].sum(axis=1)], axis=1)

    for reference, pair in (("exact", (1, 0)), ("truth", (0, 9))):
        own = table[table["reference"] == reference]
        assert len(own) == 4
        for name, values in compare(*(summed(maps(seed)) for seed in pair)).items():
            np.testing.assert_array_equal(own[name], values)


def test_rows_of_each_gradient_follow_each_other(tmp_path, exact):
    paths = [store(tmp_path / f"{h}.parquet", maps(h), SAMPLES, "central", float(h)) for h in (1, 2)]
    table = evaluate_method([exact], paths).to_pandas()
    assert list(table["gradient"]) == ["central-h1"] * 4 + ["central-h2"] * 4
    assert list(table["setting"]) == [1.0] * 4 + [2.0] * 4
    assert set(table["family"]) == {"central"}
    assert set(table["setting_name"]) == {"step"}
    assert set(table["evaluations"]) == {24}
    assert set(table["reference"]) == {"exact"}


def test_the_truth_is_a_reference_for_exact_and_approximated_attributions(tmp_path):
    exact = store(tmp_path / "exact.parquet", maps(0), SAMPLES, truth=maps(9))
    order = np.array([1, 0])
    path = store(tmp_path / "forward.parquet", maps(1)[order], SAMPLES[order], "forward", 1.0, maps(9)[order])
    table = evaluate_method([exact], [path]).to_pandas()
    counts = table.groupby(["gradient", "reference"]).size().to_dict()
    assert counts == {("exact", "truth"): 4, ("forward-h1", "exact"): 2, ("forward-h1", "truth"): 2}
    chosen = table[(table["gradient"] == "forward-h1") & (table["reference"] == "truth")]
    np.testing.assert_array_equal(chosen["pearson"], compare(maps(1), maps(9))["pearson"][order])
    assert table.loc[table["gradient"] == "exact", "setting"].isna().all()


def test_maps_are_compared_in_their_own_precision(tmp_path, exact):
    exact64 = store(tmp_path / "exact64.parquet", maps(0) + 1, SAMPLES, truth=maps(9), dtype="float64")
    paths = [
        store(tmp_path / "32.parquet", maps(1), SAMPLES, "forward", 0.5),
        store(tmp_path / "64.parquet", maps(1), SAMPLES, "forward", 0.5, dtype="float64"),
    ]
    table = evaluate_method([exact, exact64], paths).to_pandas()
    names = list(zip(table["gradient"], table["dtype"], table["reference"], strict=True))[::4]
    assert names == [
        ("exact-float64", "float64", "truth"),
        ("forward-h0.5", "float32", "exact"),
        ("forward-h0.5-float64", "float64", "exact"),
    ]
    np.testing.assert_array_equal(table["pearson"][4:8], compare(maps(1), maps(0))["pearson"])
    errors = compare(maps(1), (maps(0) + 1))["mean_squared_error"]
    np.testing.assert_array_equal(table["mean_squared_error"][8:], errors)
    with pytest.raises(TableError, match=r"64\.parquet: has no exact attribution of float64"):
        evaluate_method([exact], paths)


def test_a_difference_far_below_float32_is_measured(tmp_path):
    values = maps(0).astype(np.float64)
    exact = store(tmp_path / "exact.parquet", values, SAMPLES, dtype="float64")
    path = store(tmp_path / "f.parquet", values * (1 + 1e-12), SAMPLES, "forward", 0.5, dtype="float64")
    # Relative rounding of the product, eps / 2, against 1e-12.
    errors = evaluate_method([exact], [path])["relative_error"].to_numpy()
    np.testing.assert_allclose(errors, 1e-12, rtol=2e-4)


def test_a_chosen_step_has_its_own_name_and_its_value(tmp_path, exact):
    path = store(tmp_path / "auto.parquet", maps(1), SAMPLES, "forward", "auto", used=0.0625)
    table = evaluate_method([exact], [path]).to_pandas()
    assert set(zip(table["gradient"], table["setting"], table["chosen"], strict=True)) == {
        ("forward-auto", 0.0625, True)
    }


def test_figures_over_the_steps_show_one_precision_and_the_steps_of_the_study(tmp_path, exact):
    exact64 = store(tmp_path / "exact64.parquet", maps(0), SAMPLES, truth=maps(9), dtype="float64")
    auto = store(tmp_path / "auto.parquet", maps(1), SAMPLES, "forward", "auto", used=0.0625)
    auto64 = store(tmp_path / "auto64.parquet", maps(1), SAMPLES, "forward", "auto", used=0.1, dtype="float64")
    budget = store(tmp_path / "budget.parquet", maps(1), SAMPLES, "directions", 8.0)
    fixed = store(tmp_path / "32.parquet", maps(1), SAMPLES, "forward", 0.5)
    fixed64 = store(tmp_path / "64.parquet", maps(1), SAMPLES, "forward", 0.5, dtype="float64")

    def shown(*approximated):
        write_table(tmp_path / "metrics.parquet", evaluate_method([exact, exact64], approximated), {})
        return list(dict.fromkeys(read_shown(tmp_path / "metrics.parquet", "d", "m", "a")["gradient"]))

    assert shown(auto, auto64, fixed, fixed64) == ["forward-h0.5"]
    assert shown(auto64, fixed64) == ["exact-float64", "forward-h0.5-float64"]
    assert shown(auto) == ["forward-auto"]
    assert shown(auto, budget) == ["forward-auto", "directions-n8"]
    assert shown(auto64) == ["exact-float64", "forward-auto-float64"]


def test_undefined_measures_are_null(tmp_path, exact):
    attribution = maps(1)
    attribution[1] = 0.25
    path = store(tmp_path / "forward.parquet", attribution, SAMPLES, "forward", 1.0)
    table = evaluate_method([exact], [path])
    assert table["pearson"].is_null().to_pylist() == [False, True, False, False]
    assert table["relative_error"].null_count == 0
    assert table["cosine"].null_count == 0


def test_a_sample_without_exact_attribution_is_an_error(tmp_path, exact):
    path = store(tmp_path / "forward.parquet", maps(1), np.array([7, 3, 4, 5]), "forward", 1.0)
    with pytest.raises(TableError, match=r"forward\.parquet: sample 4 has no exact attribution"):
        evaluate_method([exact], [path])


def test_maps_of_other_size_are_an_error(tmp_path, exact):
    path = store(tmp_path / "forward.parquet", maps(1, features=5), SAMPLES, "forward", 1.0)
    with pytest.raises(TableError, match=r"forward\.parquet: has 5 features, the exact attribution 6"):
        evaluate_method([exact], [path])


def test_metrics_are_read_with_their_keys(tmp_path, exact):
    path = store(tmp_path / "forward.parquet", maps(1), SAMPLES, "forward", 1.0)
    write_table(tmp_path / "metrics.parquet", evaluate_method([exact], [path]), {})
    frame = read_metrics(tmp_path / "metrics.parquet", "d", "m", "a")
    assert (frame[["dataset", "model", "method"]] == ["d", "m", "a"]).all(axis=None)
    assert set(frame) == {*KEYS, "sample", "origin", *METRICS}


def test_another_table_in_place_of_the_metrics_is_refused(tmp_path):
    path = store(tmp_path / "forward.parquet", maps(1), SAMPLES, "forward", 1.0)
    with pytest.raises(TableError, match=r"forward\.parquet: lacks the columns gradient, reference"):
        read_metrics(path, "d", "m", "a")


def metric_rows(family, setting, values):
    keys = {"dataset": "d", "model": "m", "method": "a", **described(family, setting)}
    rows = pd.DataFrame(dict.fromkeys(METRICS, values)).assign(**keys, reference="truth", sample=range(len(values)))
    return rows.assign(cosine=-rows["cosine"])


def test_summary_statistics_are_those_of_numpy():
    values = np.random.default_rng(0).normal(size=11)
    other = np.array([1.0, np.nan, 4.0, np.nan])
    summary = summarise(
        pd.concat([metric_rows("forward", 0.5, values), metric_rows("exact", np.nan, other)]), Bootstrap(0)
    )
    assert len(summary) == 2 * len(METRICS)
    for family, expected, undefined in (("forward", values, 0), ("exact", other[[0, 2]], 2)):
        for metric, sign in (("pearson", 1), ("cosine", -1)):
            (row,) = summary[(summary["family"] == family) & (summary["metric"] == metric)].to_dict("records")
            x = sign * expected
            np.testing.assert_allclose([row["mean"], row["std"], row["median"]], [x.mean(), x.std(), np.median(x)])
            np.testing.assert_allclose([row["lower_quartile"], row["upper_quartile"]], np.quantile(x, [0.25, 0.75]))
            assert (row["n"], row["undefined"]) == (len(x), undefined)
            (interval,) = intervals([x], Bootstrap(0)).to_dict("records")
            np.testing.assert_array_equal([row[name] for name in interval], [*interval.values()])


def test_a_summary_shows_the_tail_that_a_median_hides():
    """Half of the errors are 10 %, so their median and both quartiles are, but one row is off by 125 %."""
    errors = np.array([0.1] * 28 + [0.9, 1.25])
    summary = summarise(metric_rows("forward", 0.5, errors), Bootstrap(0)).set_index("metric")
    row = summary.loc["relative_error"]
    assert (row["median"], row["upper_quartile"]) == (0.1, 0.1)
    assert (row["worst"], row["worst_sample"]) == (1.25, 29)
    assert row["tail"] == pytest.approx(np.quantile(errors, 0.95))
    # The tail of a correlation is at its lower end.
    assert summary.loc["pearson", "worst"] == 0.1
    assert summary.loc["pearson", "tail"] == pytest.approx(1 - np.quantile(1 - errors, 0.95))


def test_maps_without_signs_have_no_row_of_signs(tmp_path, exact):
    values = metric_rows("forward", 0.5, np.linspace(0, 1, 8)).assign(sign_agreement=np.nan)
    assert "sign_agreement" not in set(summarise(values, Bootstrap(0))["metric"])
    other = values.assign(gradient="other", setting=1.0)
    pairs = compare_sources(pd.concat([values, other]), Bootstrap(0))
    assert len(pairs)
    assert "sign_agreement" not in set(pairs["metric"])


def test_a_measure_that_is_undefined_everywhere_is_summarised_without_numbers():
    summary = summarise(metric_rows("forward", 0.5, np.array([np.nan, np.nan])), Bootstrap(0))
    assert summary[["mean", "std", "median", "mean_low", "median_high"]].isna().all(axis=None)
    assert set(summary["n"]) == {0}
    assert set(summary["undefined"]) == {2}


def test_both_files_of_a_table_hold_the_same_and_parquet_its_origin(tmp_path):
    frame = pd.DataFrame({"name": ["a", "b"], "value": [0.1, np.nan]})
    write_both(frame, tmp_path / "t.parquet", tmp_path / "t.csv", {"seed": 3})
    table, document = read_table(tmp_path / "t.parquet")
    pd.testing.assert_frame_equal(table.to_pandas(), frame)
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "t.csv"), frame)
    assert document == {"seed": 3}


def test_cached_maps_are_measured_like_those_of_a_study(tmp_path):
    np.savez(tmp_path / "a.npz", arr1=maps(0), arr2=maps(1))
    table = arrays_table(
        {"arrays": [tmp_path / "a.npz"]},
        {"steps": [0.5], "scheme": "forward", "arrays": {"exact": "arr1", "approximated": "arr2"}},
    )
    write_table(tmp_path / "metrics.parquet", table, {})
    for name, values in compare(maps(1), maps(0)).items():
        np.testing.assert_array_equal(table[name], values)
    expected = {name: [value] * 4 for name, value in described("forward", 0.5, features=6).items()}
    assert table.select([*expected]).to_pydict() == expected
    params = {"sources": [("thesis", "saliency")], "seed": 0, "uncertainty": {"level": 0.9, "resamples": 100}}
    summary, metadata = published_table({"metrics": [tmp_path / "metrics.parquet"]}, params)
    assert list(summary)[:3] == ["source", "method", "gradient"]
    assert set(summary["source"]) == {"thesis"}
    assert metadata["uncertainty"]["level"] == 0.9


def test_a_metric_of_ones_own_is_in_every_table(tmp_path, exact, monkeypatch):
    def largest(attribution, reference):
        return np.abs(attribution - reference).max(axis=1)

    for held in ("_members", "_modules"):
        monkeypatch.setattr(METRICS, held, dict(getattr(METRICS, held)))
    METRICS.add(Metric("largest", "Largest error", "How large is the worst error?", largest, 0, np.inf, 0))
    with pytest.raises(ValueError, match="the name largest is taken by another metric"):
        METRICS.add(Metric("largest", "", "", largest, 0, 1, 0))
    paths = [store(tmp_path / f"{h}.parquet", maps(h), SAMPLES, "forward", float(h)) for h in (1, 2)]
    write_table(tmp_path / "metrics.parquet", evaluate_method([exact], paths), {})
    frame = read_metrics(tmp_path / "metrics.parquet", "d", "m", "a")
    np.testing.assert_array_equal(frame["largest"][:4], np.abs(maps(1).astype(float) - maps(0)).max(axis=1))
    assert "largest" in set(summarise(frame, Bootstrap(0))["metric"])
    assert "largest" in set(compare_sources(frame, Bootstrap(0))["metric"])
