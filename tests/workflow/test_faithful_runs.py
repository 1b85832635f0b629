"""A study that asks its models about the maps: which jobs that adds, and what it leaves alone."""

import json

import pandas as pd
import pyarrow.parquet as pq
import pytest

from counts import counts, study_of
from running import TINY

pytestmark = pytest.mark.workflow

ASKED = {"samples": 4, "steps": 3, "perturbations": 5}
SENSITIVE = ASKED | {"sensitivity": {"moves": 2}}
PAGES = ("show_tables", "tell_story", "describe_run", "all")
TABLES = ("compare_faithfulness", "plot_faithfulness", *PAGES)


def jobs(asked, *rules):
    """How many jobs some rules have in the tiny study with an option of faithfulness."""
    expected = counts(study_of(TINY, {"faithfulness": asked}))
    return {rule: expected[rule] for rule in rules}


def test_sensitivity_is_added_to_a_finished_study_and_makes_nothing_else_again(tiny_copy):
    asked = tiny_copy.overlay({"faithfulness": ASKED}, "asked.yaml")
    moved = tiny_copy.overlay({"faithfulness": SENSITIVE}, "moved.yaml")
    assert tiny_copy.plan(overlays=[asked]).jobs == jobs(ASKED, "evaluate_faithfulness", *TABLES)
    done = tiny_copy.run(overlays=[asked])
    assert done.code == 0, done.text
    assert tiny_copy.plan(overlays=[moved]).jobs == jobs(SENSITIVE, "evaluate_sensitivity", *TABLES)
    done = tiny_copy.run(overlays=[moved])
    assert done.code == 0, done.text
    assert not tiny_copy.plan(overlays=[moved]).jobs
    # Without it everything that was there is as it was, but for the pages and what compares.
    assert tiny_copy.plan(overlays=[asked]).jobs == jobs(ASKED, *TABLES)
    results = tiny_copy.directory / "results"
    found = pd.read_csv(results / "summary" / "faithfulness.csv")
    keys = ["dataset", "model", "method", "gradient"]
    study = study_of(TINY, {"faithfulness": SENSITIVE})
    sensitive = found[found["measure"] == "sensitivity"].set_index(keys)
    # A network of pieces that are linear may not bend between an input and where it is moved.
    assert (sensitive["median"] >= 0).all()
    assert (sensitive["median"] > 0).any()
    assert set(sensitive.index) >= {tuple(cell.keys.values()) for cell in study.cells}
    for cell in study.cells:
        (file,) = results.glob("/".join(["sensitivity", *(f"{key}={own}" for key, own in cell.keys.items()), "*"]))
        cost = json.loads(pq.read_schema(file).metadata[b"approxgrad"])
        whole = json.loads(pq.read_schema(tiny_copy.directory / cell.path).metadata[b"approxgrad"])
        rows = min(4, cell.samples)
        assert cost["model_evaluations"] == pytest.approx(whole["evaluations"] * 2 * rows)
    pictures = [path for path in results.rglob("faithfulness.png") if "figures" in path.parts]
    assert len(pictures) == len(study.comparisons)
