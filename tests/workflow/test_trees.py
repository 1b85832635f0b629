"""Ensembles of trees in a study: trained by it, and from a user's own file."""

import numpy as np
import pandas as pd
import pytest

from running import TINY, Place

pytestmark = pytest.mark.workflow
pytest.importorskip("skops", reason="needs the extra trees")
xgboost = pytest.importorskip("xgboost", reason="needs the extra trees")

FEATURES = 12
TINY_STEP = 1e-6
"""No split of a tree is so near to a row: the maps are zeros, and their correlation is undefined."""

STUDY = {
    "models": {
        "boosted": {"trees": "scikit-learn", "training": {"trees": 20, "depth": 2}},
        "own": {"trees": "xgboost", "file": "own.json"},
    },
    "gradients": {"central": {"difference": "central", "steps": [TINY_STEP, 0.5, 1]}},
    "experiments": [
        {
            "datasets": ["synthetic_linear"],
            "models": ["boosted", "own"],
            "methods": ["input_x_gradient"],
            "gradients": ["central"],
            "reference": "central-h0.5",
            "samples": 4,
        }
    ],
    "verify": {"cells": 10},
}


def write_own(path, seed):
    """Write a model of the user's that returns about a weighted sum of the features."""
    rows = np.random.default_rng(seed).normal(size=(200, FEATURES))
    model = xgboost.XGBRegressor(n_estimators=10, max_depth=3, n_jobs=1).fit(rows, rows @ np.arange(FEATURES))
    model.save_model(path)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trees")
    write_own(folder / "own.json", 0)
    place = Place(folder, overlays=(TINY,))
    place = Place(folder, overlays=(TINY, place.overlay(STUDY)))
    outcome = place.run()
    assert outcome.code == 0, outcome.text
    return place, outcome


def test_a_study_trains_one_and_opens_the_other(place):
    place, outcome = place
    assert outcome.jobs["make_model_skops"] == outcome.jobs["measure_model"] == 1
    assert not place.plan().jobs
    maps = pd.read_parquet(place.directory / "results/attributions")
    assert maps.groupby(["model", "gradient"], observed=True).size().to_dict() == {
        (model, f"central-h{step}"): 4 for model in ("boosted", "own") for step in ("0.000001", 0.5, 1)
    }
    nothing = maps["setting"] == TINY_STEP
    assert ((maps["attribution"].map(np.abs).map(np.sum) > 0) == ~nothing).all()


def test_rows_without_a_correlation_are_counted_and_shown(place):
    place, _ = place
    results = place.directory / "results"
    summary = pd.read_parquet(results / "summary/summary.parquet")
    rows = summary[(summary["setting"] == TINY_STEP) & (summary["metric"] == "pearson")]
    assert len(rows) > 0
    assert (rows["undefined"] == 4).all()
    assert (rows["n"] == 0).all()
    assert "4 of 4" in (results / "report/story.html").read_text()


def test_verify_computes_them_again(place):
    place, _ = place
    outcome = place.run("verify")
    assert outcome.code == 0, outcome.text
    assert "6 cell(s)" in outcome.text


def test_another_file_of_the_user_makes_only_its_own_jobs_again(place):
    place, _ = place
    write_own(place.directory / "own.json", 1)
    jobs = place.plan().jobs
    assert "make_model_skops" not in jobs
    assert jobs["measure_model"] == 1
    assert jobs["differentiate"] == 3


def test_a_pickle_ends_the_run_in_one_line(place):
    place, _ = place
    (place.directory / "own.json").write_bytes(b"\x80\x04K\x01.")
    outcome = place.run("models")
    assert outcome.code != 0
    assert "own.json: is a pickle, which can run any code" in outcome.text
    assert "Traceback" not in outcome.text
