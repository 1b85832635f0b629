"""The same numbers whatever the number of cores, and figures from cached attributions alone."""

import shutil
from collections import Counter

import pyarrow.parquet as pq
import pytest

from approxgrad import read_provenance
from counts import ONCE, TINY_JOBS
from running import REPOSITORY, TINY, Place

pytestmark = pytest.mark.workflow

MODEL = "dataset=synthetic_linear/model=mlp"
CELL = f"results/attributions/{MODEL}/method=saliency/gradient=forward-h0.5/part-0.parquet"
MAKING_TABLES = ("differentiate", "derive", "attribute", "evaluate", "evaluate_completeness", *ONCE)
SCRIPTS = {
    "differentiate": "attribute.py",
    "evaluate_completeness": "evaluate.py",
    **dict.fromkeys(ONCE, "tabulate.py"),
}
"""Scripts that serve other rules than those of their names."""
CURVES = f"results/learning_curves/{MODEL}/part-0.parquet"
WEIGHTS = f"results/models/{MODEL}/weights.safetensors"


def test_one_core_gives_the_numbers_of_two(tiny, empty):
    outcome = empty.run(CELL, cores=1, overlays=[TINY])
    assert outcome.code == 0, outcome.text
    assert outcome.jobs == {"prepare_data": 1, "train_model": 1, "differentiate": 1, "derive": 1}
    for path in (CELL, CURVES, WEIGHTS, "data/synthetic_linear/test.parquet"):
        assert (empty.directory / path).read_bytes() == (tiny.directory / path).read_bytes(), path


def test_every_table_and_all_weights_say_what_they_came_from(tiny):
    files = [path for suffix in ("parquet", "safetensors") for path in tiny.directory.rglob(f"[!.]*.{suffix}")]
    scripts = Counter(read_provenance(path)["script"] for path in files)
    parts = {"prepare_data": 3, "train_model": 3, **dict.fromkeys(MAKING_TABLES, 1)}
    expected = Counter()
    for rule, number in parts.items():
        # Three parts of a data set; weights, learning curves and test measures of a model.
        expected[SCRIPTS.get(rule, f"{rule}.py")] += number * TINY_JOBS[rule]
    assert scripts == expected


def test_figures_are_drawn_from_attributions_alone(tiny, empty):
    shutil.copytree(tiny.directory / "results/attributions", empty.directory / "results/attributions")
    profile = str(REPOSITORY / "workflow" / "profiles" / "redraw")
    place = Place(empty.directory, overlays=(TINY,))
    outcome = place.run("comparison_figures", "metrics", "--workflow-profile", profile)
    assert outcome.code == 0, outcome.text
    assert not outcome.jobs.keys() & {"prepare_data", "train_model", "differentiate", "derive", "attribute"}
    drawn, all_figures = (
        {path.relative_to(root.directory) for path in root.directory.glob("results/figures/**/*.*g")}
        for root in (empty, tiny)
    )
    assert drawn == {path for path in all_figures if path.stem != "learning_curves"}
    assert (empty.directory / "results/summary/summary.csv").is_file()
    assert not (empty.directory / "data").exists()
    for path in (tiny.directory / "results/metrics").rglob("*.parquet"):
        again = empty.directory / path.relative_to(tiny.directory)
        assert pq.read_table(again).equals(pq.read_table(path))
