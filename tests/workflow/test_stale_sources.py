"""A source of data, weights or maps that is gone or another one is noticed, whatever was made from it before."""

import os
import shutil

import numpy as np
import pandas as pd
import pytest
import torch

from running import REPOSITORY, TINY, Place

pytestmark = pytest.mark.workflow

NETWORK = """
from torch import nn

def build(input_shape, outputs):
    return nn.Sequential(nn.Linear(*input_shape, outputs))
"""
TABLE = {"kind": "table", "task": "regression", "path": "own.csv", "features": ["a", "b"], "target": "y"}
MODEL = {"factory": "own_network:build", "weights": {"file": "own.pt"}}
EXPERIMENT = {
    "datasets": ["csv"],
    "models": ["own"],
    "methods": ["saliency"],
    "gradients": ["tenth"],
    "samples": 3,
}
ARRAYS = {"folder": "maps", "pattern": "CNN_{method}_{step}.npz", "methods": {"sal": "saliency"}, "steps": {"1": 0.1}}
PUBLISHED = "results/published/metrics/source=others/method=saliency/part-0.parquet"
REDRAW = ("metrics", "--workflow-profile", REPOSITORY / "workflow" / "profiles" / "redraw")


def write_maps(path):
    maps = np.random.default_rng(path.exists()).normal(size=(2, 5, 4))
    np.savez(path, arr1=maps[0], arr2=maps[1])


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A study of a user's own table, weights and network, and of maps that others made."""
    folder = tmp_path_factory.mktemp("own") / "run"
    (folder / "maps").mkdir(parents=True)
    frame = pd.DataFrame(np.random.default_rng(0).normal(size=(30, 3)), columns=["a", "b", "y"])
    frame.to_csv(folder / "own.csv", index=False)
    torch.save(torch.nn.Sequential(torch.nn.Linear(2, 1)).state_dict(), folder / "own.pt")
    (folder / "own_network.py").write_text(NETWORK)
    write_maps(folder / "maps" / "CNN_sal_1.npz")
    place = Place(folder, overlays=(TINY, folder / "overlay.yaml"))
    config = {"datasets": {"csv": TABLE}, "models": {"own": MODEL}, "experiments": [EXPERIMENT]}
    place.overlay(config | {"cached_arrays": {"others": ARRAYS}})
    outcome = place.run("metrics", "attributions", PUBLISHED)
    assert outcome.code == 0, outcome.text
    return place


@pytest.fixture
def place(finished, tmp_path):
    shutil.copytree(finished.directory, tmp_path / "run", symlinks=True)
    return Place(tmp_path / "run", overlays=(TINY, tmp_path / "run" / "overlay.yaml"))


def remove(path):
    path.unlink()


def to_folder(path):
    path.unlink()
    path.mkdir()


def to_dangling_link(path):
    path.unlink()
    path.symlink_to("gone")


@pytest.mark.parametrize(
    ("file", "change", "line"),
    [
        ("own.csv", remove, "datasets.csv.path: own.csv: no such file in {here}"),
        ("own.pt", to_folder, "models.own.weights.file: own.pt: is a folder, expected a file"),
        (
            "own_network.py",
            to_dangling_link,
            "models.own.factory: no module own_network in {here}, and none of that name is installed",
        ),
    ],
    ids=["data", "weights", "network"],
)
def test_a_lost_source_is_one_line_and_redrawing_does_not_need_it(place, file, change, line):
    change(place.directory / file)
    for arguments in (["attributions"], ["metrics", "--dry-run"]):
        outcome = place.run(*arguments)
        assert outcome.code != 0
        assert outcome.stderr.splitlines()[-1] == f"Configuration error: {line.format(here=place.directory)}"
        assert "Traceback" not in outcome.text
    shutil.rmtree(place.directory / "results" / "metrics")
    outcome = place.run(*REDRAW)
    assert outcome.code == 0, outcome.text
    assert list((place.directory / "results" / "metrics").rglob("*.parquet"))


def test_a_mistyped_path_is_one_line_also_for_the_plan_and_does_not_hide_other_changes(place):
    changes = place.overlay({"datasets": {"csv": {"path": "owm.csv", "features": ["a"]}}}, "changes.yaml")
    line = f"datasets.csv.path: owm.csv: no such file in {place.directory}"
    outcome = place.run("data", overlays=[changes])
    assert outcome.code != 0
    assert outcome.stderr.splitlines()[-1] == f"Configuration error: {line}"
    outcome = place.run("plan", overlays=[changes])
    assert outcome.code != 0
    assert f"approxgrad: plan: {line} (details: logs/plan.log)" in outcome.stderr.splitlines()
    # What does not follow from it is made all the same.
    place.plan("data/digits/test.parquet", overlays=[changes, place.overlay(BOTH, "both.yaml")])
    shutil.copy(place.directory / "own.csv", place.directory / "owm.csv")
    assert place.plan("data", overlays=[changes]).jobs["prepare_data"] == 1


BOTH = {"experiments": [EXPERIMENT, EXPERIMENT | {"datasets": ["digits"], "models": ["cnn"]}]}


@pytest.mark.parametrize(
    ("file", "key", "job"),
    [
        ("own.csv", "datasets.csv.path", "prepare_data dataset=csv"),
        ("own.pt", "models.own.weights.file", "load_model dataset=csv, model=own"),
    ],
)
def test_a_source_that_became_unusable_says_its_key(place, file, key, job):
    path = place.directory / file
    path.write_bytes(b"")
    os.utime(path, (0, 0))
    outcome = place.run("models", cores=1)
    assert outcome.code != 0
    (line,) = [line for line in outcome.stderr.splitlines() if line.startswith("approxgrad:")]
    assert line.startswith(f"approxgrad: {job}: {key}: {file}: ")


def test_maps_of_others_that_were_replaced_by_older_ones_are_evaluated_again(place):
    assert place.plan(PUBLISHED).jobs == {}
    path = place.directory / "maps" / "CNN_sal_1.npz"
    write_maps(path)
    os.utime(path, (0, 0))
    assert place.plan(PUBLISHED).jobs["evaluate_published"] == 1
    shutil.rmtree(path.parent)
    outcome = place.run(PUBLISHED, "--dry-run")
    assert outcome.code != 0
    line = f"cached_arrays.others.folder: maps: no such folder in {place.directory}"
    assert outcome.stderr.splitlines()[-1] == f"Configuration error: {line}"
