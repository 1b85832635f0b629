"""Files of other configurations in the folder of a study: found, told from a user's own, and removed."""

import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from approxgrad.provenance.dependencies import PACKAGE_ROOT
from approxgrad.running.terminal import leftovers_line
from approxgrad.storage.splits import Split, write_split
from approxgrad.study.leftovers import BY_KEYS, BY_PATH, leftovers, remove

CELL = "results/attributions/dataset=d/model=m/method=ig/gradient={}/part-0.parquet"
SHARD = "results/shards/attributions/dataset=d/model=m/method=ig/gradient=forward-h1/shard-{}.parquet"
SHARED = "results/gradients/dataset=d/model=m/samples=5/gradient=exact/part-0.parquet"
STEP = "results/steps/dataset=d/model=m/points=inputs/gradient=forward-auto/part-0.parquet"
MOVED = "results/sensitivity/dataset=d/model=m/method=ig/gradient={}/part-0.parquet"
SPECTRUM = "results/spectra/dataset=d/model=m/gradient=cosine-pilots5/part-0.parquet"
MADE = [
    *(CELL.format("forward-h1"), SHARD.format("1-of-2"), SHARED, STEP, SPECTRUM, MOVED.format("forward-h1")),
    *("results/metrics/dataset=d/model=m/method=ig/part-0.parquet", "results/figures/dataset=d/model=m/anatomy.svg"),
    "results/faithfulness/dataset=d/model=m/method=ig/part-0.parquet",
    "results/summary/summary.csv",
    "results/figures/dataset=d/overview.svg",
    # What several models share stands under the name of their twin; an exported model is a file of its own.
    *("results/figures/dataset=d/model=twin/method=ig/twins.svg", "results/models/dataset=d/model=m/model.onnx"),
]
OTHER = [
    *(CELL.format("forward-h2"), SHARD.format("1-of-3"), SHARED.replace("=5", "=6"), STEP.replace("inputs", "path")),
    *(SPECTRUM.replace("pilots5", "pilots2"), MOVED.format("forward-h2")),
    "results/faithfulness/dataset=d/model=m/method=old/part-0.parquet",
    *("results/metrics/dataset=d/model=m/method=old/part-0.parquet", "results/figures/dataset=old/model=m/anatomy.svg"),
    *(
        "results/models/dataset=d/model=old/weights.safetensors",
        "results/test_metrics/dataset=d/model=old/part-0.parquet",
    ),
    # The model was exported in another form before.
    "results/models/dataset=d/model=m/weights.safetensors",
    *("results/figures/dataset=d/model=m/method=old/boxplots.png", "results/figures/dataset=old/model=m/cost2.png"),
    *("results/figures/dataset=d/model=twin/method=old/twins.svg", "results/models/dataset=d/model=old/model.onnx"),
]
OWN = [
    *("results/notes.csv", "results/attributions/notes.csv", "results/attributions/mine/part-0.parquet"),
    *(CELL.format("forward-h2").replace("part-0", "Notes"), "results/figures/dataset=old/model=m/My Figure.svg"),
    *("results/published/metrics/source=s/method=old/part-0.parquet", "data/old/archive.tar.gz", "data/d/x.parquet"),
    *("data/old/validation.parquet", "elsewhere/results/attributions/dataset=a/part-0.parquet"),
]


def cell(path, *jobs):
    return SimpleNamespace(path=path, jobs=jobs or (path,))


@pytest.fixture
def study(tmp_path, monkeypatch):
    """A study of one cell in two shards, in a folder with files of its own, of other configurations and of a user."""
    monkeypatch.chdir(tmp_path)
    for path in map(Path, [*MADE, *OTHER, *OWN]):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(str(path))
    keys = {"dataset": "d", "model": "m", "method": "ig", "gradient": "forward-h1"}
    moved = SimpleNamespace(keys=keys, gradient=SimpleNamespace(name="forward-h1"))
    cut = cell(CELL.format("forward-h1"), SHARD.format("1-of-2"), SHARD.format("2-of-2"))
    kind = SimpleNamespace(sources=lambda name: ["data/source/test.parquet"])
    return SimpleNamespace(
        **{
            "cells": [cut],
            "evaluating": [cut, cell(SHARED)],
            "gradients": {SHARED: None},
            "choices": {STEP: None},
            "spectra": {SPECTRUM: None},
        },
        **{"datasets": ["d"], "models": [("d", "m")], "comparisons": [("d", "m", "ig")], "dataset": lambda name: kind},
        config=SimpleNamespace(faithfulness=SimpleNamespace(sensitivity=True)),
        references=lambda *names: [],
        approximated=lambda *names: [moved],
        twin=lambda model: "twin",
        model_file=lambda dataset, model: f"results/models/dataset={dataset}/model={model}/model.onnx",
    )


def files():
    return {path.as_posix() for path in Path().rglob("*") if path.is_file()}


def test_just_the_files_of_other_configurations_are_found_and_removed(study):
    found = leftovers(study)
    assert [path.as_posix() for path in found] == sorted(OTHER)
    counts = remove(found)
    assert counts == {"results/attributions": 1, "results/figures": 4, "results/gradients": 1, "results/metrics": 1} | {
        f"results/{name}": 1 for name in ("faithfulness", "sensitivity", "shards", "spectra", "steps", "test_metrics")
    } | {"results/models": 3}
    assert files() == {*MADE, *OWN}
    assert not Path("results/test_metrics").exists()
    assert not Path("results/steps/dataset=d/model=m/points=path").exists()
    assert Path("results").is_dir()
    assert leftovers(study) == []


def test_every_folder_of_results_that_a_rule_fills_by_keys_is_looked_through():
    texts = [path.read_text() for path in (PACKAGE_ROOT.parent).rglob("*") if path.suffix in (".py", ".smk")]
    folders = {name for text in texts for name in re.findall(r"results/([a-z_]+)/dataset=", text)}
    assert {"attributions", "metrics"} < folders <= {*BY_PATH, *BY_KEYS}


def test_prepared_data_of_other_data_sets_is_found_unless_it_is_read(study):
    split = Split(np.zeros((2, 1), np.float32), np.zeros(2, np.float32), feature_shape=(1,))
    for name in ("d", "old", "source"):
        write_split(f"data/{name}/test.parquet", split, {})
    assert [path for path in leftovers(study) if path.parts[0] == "data"] == [Path("data/old/test.parquet")]


def test_links_are_not_followed(study, tmp_path):
    far = tmp_path.parent / f"{tmp_path.name}-far"
    (far / "dataset=a").mkdir(parents=True)
    (far / "dataset=a" / "part-0.parquet").write_text("")
    Path("results/attributions/dataset=a").symlink_to(far / "dataset=a")
    Path("results/completeness").symlink_to(far)
    Path(CELL.format("exact")).parent.mkdir()
    Path(CELL.format("exact")).symlink_to(far / "dataset=a" / "part-0.parquet")
    assert [path.as_posix() for path in leftovers(study)] == sorted(OTHER)


def test_one_line_says_how_many_there_are_and_what_removes_them():
    assert leftovers_line(0) == ""
    assert leftovers_line(1).startswith("1 file here belongs to other configurations. ")
    assert leftovers_line(1200).startswith("1,200 files here belong to other configurations. ")
    assert "the target tidy" in leftovers_line(2)
