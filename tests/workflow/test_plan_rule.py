"""The plan of a study: it writes nothing but its log, and agrees with what a run does."""

import json
import re

import pyarrow.parquet as pq
import pytest

from running import TINY

pytestmark = pytest.mark.workflow


def files(directory):
    return {path.relative_to(directory).as_posix() for path in directory.rglob("*") if path.is_file()}


def visible(directory):
    return {path for path in files(directory) if not path.startswith(".")}


def jobs(text):
    """Rules of the plan's second table with the number of their jobs and of those left."""
    return {rule: (int(all_), int(left)) for rule, all_, left in re.findall(r"^(\w+) +(\d+) +(\d+) +\d", text, re.M)}


def test_a_plan_before_anything_exists_writes_only_its_log(empty):
    expected = empty.plan(overlays=[TINY]).jobs
    outcome = empty.run("plan", overlays=[TINY], cores=1)
    assert outcome.code == 0, outcome.text
    assert visible(empty.directory) == {"logs/plan.log"}
    assert jobs(outcome.stdout) == {rule: (n, n) for rule, n in expected.items() if rule != "all"}
    assert "Finished in" not in outcome.text
    assert "unknown" not in outcome.stdout


def test_a_finished_study_has_nothing_left_and_stays_as_it_is(tiny):
    before = visible(tiny.directory)
    outcome = tiny.run("plan", cores=1)
    assert outcome.code == 0, outcome.text
    assert "Still to run: nothing is left" in outcome.stdout
    assert visible(tiny.directory) - before == {"logs/plan.log"}
    results = tiny.directory / "results"
    derived = set((results / "attributions").glob("*/*/method=saliency/*/*"))
    paths = {*(results / "gradients").rglob("*.parquet"), *(results / "attributions").rglob("*.parquet")} - derived
    cells = [json.loads(pq.read_schema(path).metadata[b"approxgrad"]) for path in paths]
    exact = sum(cell["model_evaluations"] for cell in cells if cell["family"] == "exact")
    forward = sum(cell["model_evaluations"] for cell in cells if cell["family"] != "exact")
    assert derived
    assert f"{forward:,} model evaluations and {exact:,} forward and backward passes" in outcome.stdout
    (tiny.directory / "logs" / "plan.log").unlink()
    assert not tiny.plan().jobs


def test_keys_that_are_set_to_null_are_left_out_of_the_plan_too(empty):
    changes = {
        "map_setting": None,
        "verify": None,
        "datasets": {"synthetic_nonlinear": None, "synthetic_linear": {"normalisation": None}},
        "models": {"resnet18": None, "mlp": {"training": {"decay": None, "patience": None}}},
        "methods": dict.fromkeys(("integrated_gradients_mean", "integrated_gradients_published_mean")),
        "gradients": {"forward_on_tables": None},
    }
    overlay = empty.overlay(changes)
    expected = empty.plan(overlays=[TINY, overlay]).jobs
    outcome = empty.run("plan", overlays=[TINY, overlay], cores=1)
    assert outcome.code == 0, outcome.text
    assert "Note:" not in outcome.stdout
    assert jobs(outcome.stdout) == {rule: (n, n) for rule, n in expected.items() if rule != "all"}
