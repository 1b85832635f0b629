"""A real run of the tiny study: what it writes, and that it is complete."""

import json

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from approxgrad.evaluation.metrics import METRICS
from approxgrad.evaluation.truths import TRUTHS
from counts import study_of, work
from running import TINY

pytestmark = pytest.mark.workflow

LINEAR, DIGITS = ("synthetic_linear", "mlp"), ("digits", "cnn")
CELLS = {  # data set, model, method, gradient -> samples
    (*LINEAR, "saliency", "exact"): 6,
    (*LINEAR, "saliency", "forward-h0.5"): 6,
    (*LINEAR, "saliency", "forward-h2"): 6,
    (*LINEAR, "saliency", "exact-float64"): 6,
    (*LINEAR, "saliency", "forward-h0.5-float64"): 6,
    (*LINEAR, "saliency", "forward-h2-float64"): 6,
    (*LINEAR, "integrated_gradients", "exact"): 5,
    (*LINEAR, "integrated_gradients", "forward-h0.1"): 5,
    (*LINEAR, "integrated_gradients_published", "forward-h0.1"): 5,
    (*DIGITS, "integrated_gradients", "exact"): 3,
    (*DIGITS, "integrated_gradients", "forward-h0.1"): 3,
}
PUBLISHED = (*LINEAR, "integrated_gradients_published")
TRUTH_KNOWN = [(*LINEAR, "saliency"), (*LINEAR, "integrated_gradients"), PUBLISHED]
COMPLETE = [(*LINEAR, "integrated_gradients"), (*DIGITS, "integrated_gradients")]
COMPARISONS = [*TRUTH_KNOWN, (*DIGITS, "integrated_gradients")]
KEYS = ["dataset", "model", "method", "gradient"]
FEATURES = {"synthetic_linear": [12], "digits": [1, 8, 8]}
STUDY = study_of(TINY)
WORK = work(STUDY)
SOURCE = ["family", "setting", "setting_name", "chosen", "dtype", "evaluations"]


@pytest.fixture(scope="module")
def results(tiny):
    return tiny.directory / "results"


@pytest.fixture(scope="module")
def attributions(results):
    return pd.read_parquet(results / "attributions")


@pytest.fixture(scope="module")
def metrics(results):
    return pd.read_parquet(results / "metrics")


def rows_by(table, keys):
    return table.groupby(keys, observed=True).size().to_dict()


def test_a_second_run_has_nothing_to_do(tiny):
    outcome = tiny.run()
    assert outcome.code == 0
    assert "Nothing to be done" in outcome.text
    assert not outcome.jobs


def test_all_attributions_are_one_table(attributions):
    own = {"sample", "origin", "target", "attribution", "input", "truth", "output", "baseline_output"}
    assert set(attributions) == {*KEYS, *SOURCE, *own}
    assert rows_by(attributions, KEYS) == CELLS


def test_the_columns_of_a_source_agree_with_the_folder(attributions):
    exact = attributions["family"] == "exact"
    names = attributions["family"] + ("-h" + attributions["setting"].map("{:g}".format)).mask(exact, "")
    names += ("-" + attributions["dtype"]).mask(attributions["dtype"] == "float32", "")
    assert (names == attributions["gradient"].astype(str)).all()
    assert (attributions["setting"].isna() == exact).all()
    assert ((attributions["setting_name"] == "") == exact).all()
    assert set(attributions["setting_name"]) == {"", "step"}
    assert not attributions["chosen"].any()


def test_maps_have_one_finite_value_per_feature(attributions):
    for row in attributions.itertuples():
        size = np.prod(FEATURES[row.dataset])
        assert len(row.attribution) == len(row.input) == size
        assert np.isfinite(row.attribution).all()
        if row.dataset == "digits":
            assert row.truth is None
            assert 0 <= row.target <= 9
        else:
            assert len(row.truth) == size
            assert np.isnan(row.target)


def test_every_gradient_attributes_the_same_samples(attributions):
    for _, table in attributions.groupby("dataset", observed=True):
        drawn = [list(cell["sample"]) for _, cell in table.groupby(KEYS, observed=True)]
        longest = max(drawn, key=len)
        assert all(samples == longest[: len(samples)] for samples in drawn)
        assert len(set(longest)) == len(longest)


def test_inputs_are_the_drawn_test_rows(tiny, attributions):
    test = pd.read_parquet(tiny.directory / "data/synthetic_linear/test.parquet")
    for row in attributions[attributions["dataset"] == "synthetic_linear"].itertuples():
        np.testing.assert_array_equal(row.input, test["features"][row.sample])
        np.testing.assert_array_equal(row.truth, test["effects"][row.sample])


@pytest.mark.parametrize("cell", STUDY.cells, ids=lambda cell: "/".join(cell.keys.values()))
def test_metadata_is_complete(tiny, cell):
    document = json.loads(pq.read_schema(tiny.directory / cell.path).metadata[b"approxgrad"])
    samples, features = CELLS[tuple(cell.keys.values())], int(np.prod(FEATURES[cell.dataset]))
    setting = cell.gradient.setting
    # One pass, or an evaluation of the input and one for each feature; at four points of a path.
    evaluations = (1 if setting is None else features + 1) * (1 if cell.method == "saliency" else 4)
    assert {key: document[key] for key in SOURCE} == {
        "family": cell.gradient.family,
        "setting": setting,
        "setting_name": "" if setting is None else "step",
        "chosen": False,
        "dtype": cell.gradient.dtype,
        "evaluations": evaluations,
    }
    assert document["gradient"] == cell.gradient.name
    assert document["feature_shape"] == FEATURES[cell.dataset]
    assert document["method"]["attribution"] == cell.method
    assert document["method"].get("n_steps") == (None if cell.method == "saliency" else 4)
    assert document["signed"] == (cell.method != "saliency")
    assert document["model_evaluations"] == samples * evaluations
    assert document["batch_size"] >= 1
    assert document["device"]
    assert set(document["versions"]) == {"approxgrad", "torch", "numpy"}


def test_metrics_of_every_sample_gradient_and_reference(metrics):
    assert set(metrics) == {*KEYS, *SOURCE, "reference", "sample", "origin", *METRICS}
    expected = {}
    for (*comparison, gradient), samples in CELLS.items():
        if not gradient.startswith("exact"):
            expected[(*comparison, gradient, "exact")] = samples
        if tuple(comparison) in TRUTH_KNOWN:
            expected |= {(*comparison, gradient, truth): samples for truth in TRUTHS}
    # The exact counterpart of the published variant is Integrated Gradients.
    expected |= {(*PUBLISHED, "exact", truth): 5 for truth in TRUTHS}
    assert rows_by(metrics, [*KEYS, "reference"]) == expected


def test_summary_counts_every_sample(results, metrics):
    summary = pd.read_parquet(results / "summary/summary.parquet")
    # In a CSV, an empty text cannot be told from a missing one.
    written = pd.read_csv(results / "summary/summary.csv").fillna({"setting_name": ""})
    pd.testing.assert_frame_equal(written, summary, check_dtype=False, check_exact=False)
    keys = [*KEYS, "reference"]
    counts = rows_by(metrics, keys)
    # Maps of Saliency have no signs to compare.
    unsigned = sum("saliency" in names for names in counts)
    assert len(summary) == len(counts) * len(METRICS) - unsigned > 0 < unsigned
    for row in summary.itertuples():
        assert row.n + row.undefined == counts[tuple(getattr(row, key) for key in keys)]


def test_sources_are_compared_in_pairs(results):
    paired = pd.read_parquet(results / "summary/paired.parquet")
    pd.testing.assert_frame_equal(
        pd.read_csv(results / "summary/paired.csv"), paired, check_dtype=False, check_exact=False
    )
    pairs = paired.groupby(["method", "reference", "first", "second"], observed=True).size().to_dict()
    variants = ("integrated_gradients", "integrated_gradients_published")
    expected = [(method, truth, "forward-h0.1", "exact") for method in variants for truth in TRUTHS]
    for precision in ("", "-float64"):
        steps, exact = (f"forward-h0.5{precision}", f"forward-h2{precision}"), f"exact{precision}"
        expected += [("saliency", reference, *steps) for reference in ("exact", *TRUTHS)]
        expected += [("saliency", truth, step, exact) for step in steps for truth in TRUTHS]
    # Maps of Saliency have no signs to compare.
    assert pairs == {pair: len(METRICS) - (pair[0] == "saliency") for pair in expected}
    assert set(paired["metric"]) == set(METRICS)


@pytest.mark.parametrize("table", ["summary", "paired"])
def test_tables_say_how_their_intervals_came_about(results, table):
    document = json.loads(pq.read_schema(results / f"summary/{table}.parquet").metadata[b"approxgrad"])
    assert document["uncertainty"] == {"seed": 0, "level": 0.95, "resamples": 2000}


def test_every_curve_has_a_recommended_step_and_its_numbers(results, metrics):
    table = pd.read_parquet(results / "summary/recommended_steps.parquet")
    compared = metrics[metrics["reference"] == "exact"]
    keys = ["dataset", "model", "method", "family", "dtype"]
    errors = compared.groupby([*keys, "setting"], observed=True)["relative_error"].median()
    assert table.set_index(keys)["best_error"].to_dict() == errors.groupby(keys, observed=True).min().to_dict()
    assert set(table["dtype"]) == {"float32", "float64"}
    curves = pd.concat(pd.read_csv(path) for path in (results / "figures").rglob("anatomy.csv"))
    numbers = curves.set_index([*keys, "setting"])["error"].to_dict()
    assert numbers == pytest.approx(errors.to_dict(), rel=1e-12)


def test_every_figure_is_there_in_all_formats_with_its_numbers(results):
    folders = {
        "boxplots": COMPARISONS,
        "truth_correlation": TRUTH_KNOWN,
        "variants": [PUBLISHED],
        "completeness": COMPLETE,
        "attribution_maps": [DIGITS],
        "features": [LINEAR],
        "anatomy": [LINEAR, DIGITS],
        "learning_curves": [LINEAR, DIGITS],
    }
    expected = {
        results.joinpath("figures", *map("=".join, zip(KEYS, names, strict=False)), f"{figure}.{suffix}")
        for figure, cases in folders.items()
        for names in cases
        for suffix in ("svg", "png", "pdf", "csv")
    }
    assert {path for path in (results / "figures").rglob("*") if path.is_file()} == expected
    for path in expected:
        assert path.read_bytes().startswith(
            {".svg": b"<?xml", ".png": b"\x89PNG\r", ".pdf": b"%PDF-", ".csv": b"dataset,model,"}[path.suffix]
        )


def test_completeness_of_every_path_attribution(results, attributions):
    residuals = pd.read_parquet(results / "completeness")
    paths = attributions[attributions["method"].astype(str) != "saliency"]
    assert paths[["output", "baseline_output"]].notna().all(axis=None)
    assert attributions.drop(paths.index)[["output", "baseline_output"]].isna().all(axis=None)
    keys = [*KEYS, "sample"]
    both = paths.astype(dict.fromkeys(KEYS, str)).merge(residuals.astype(dict.fromkeys(KEYS, str)), on=keys)
    assert len(both) == len(paths) == len(residuals)
    sums = np.array([np.sum(row, dtype=np.float64) for row in both["attribution"]])
    np.testing.assert_array_equal(both["residual"], sums - (both["output_x"] - both["baseline_output_x"]))


def test_every_job_wrote_its_log_and_benchmark(tiny):
    for folder, suffix in (("logs", ".log"), ("benchmarks", ".tsv")):
        files = {path for path in (tiny.directory / folder).rglob(f"*{suffix}") if path.parent.name != "snakemake"}
        jobs = {rule: [tiny.directory.joinpath(folder, rule, *names) for names in jobs] for rule, jobs in WORK.items()}
        expected = {path.with_name(path.name + suffix): rule for rule, paths in jobs.items() for path in paths}
        assert files == expected.keys()
        for path, rule in expected.items():
            text = path.read_text()
            assert f"rule {rule}, " in text if suffix == ".log" else len(text.splitlines()) == 2, path


def test_models_were_trained_for_the_configured_epochs(results):
    curves = pd.read_parquet(results / "learning_curves")
    epochs = curves.groupby(["dataset", "model"], observed=True)["epoch"].max().to_dict()
    assert epochs == {LINEAR: 2, DIGITS: 1}
    measures = pd.read_parquet(results / "test_metrics").groupby("dataset", observed=True)["metric"].agg(set).to_dict()
    assert measures == {
        "digits": {"loss", "accuracy"},
        "synthetic_linear": {"loss", "root_mean_squared_error", "r2", "possible_r2"},
    }
