"""A run that is killed anywhere goes on with the same command, and its results are those of one that is not."""

import hashlib
import random
import re
import shutil
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).resolve().parents[1] / "unit"))

from cifar_archive import contents, write_archive
from killing import PAUSE, Injection, Watcher, digests, files, run_and_kill
from loopback import served
from running import TINY, Place

pytestmark = pytest.mark.workflow

SEED = 1
CELL = "results/attributions/dataset=synthetic_linear/model=mlp/method=integrated_gradients/gradient=forward-h0.1"
# About 26,000 evaluations for each sample, so that four samples are two blocks.
SMALL = {"methods": {"integrated_gradients": {"n_steps": 2000}}} | {
    "gradients": {"own": {"difference": "forward", "steps": [0.1]}},
    "experiments": [
        {"datasets": ["synthetic_linear"], "models": ["mlp"], "methods": ["integrated_gradients"], "gradients": ["own"]}
        | {"samples": 4}
    ],
}
PLAN = [
    *[("download", "writing", target) for target in ("all", "job")],
    *[("prepare_data", "writing", "snakemake"), ("prepare_data", "running", "all")],
    *[("train_model", "running", "job"), ("train_model", "writing", "all"), ("train_model", "running", "snakemake")],
    *[("attribute", "running", "all"), ("attribute", "writing", "snakemake")],
    *[("attribute_shard", "running", target) for target in ("all", "snakemake")],
    *[("attribute_shard", "writing", target) for target in ("job", "all", "snakemake")],
    *[("gather_shards", "writing", target) for target in ("all", "job", "snakemake")],
    *[("evaluate", "writing", "all"), ("summarise", "writing", "snakemake")],
    *[("plot_boxplots", "writing", "all"), ("plot_anatomy", "running", "job"), ("plot_maps", "writing", "all")],
    *[("tell_story", "writing", "all"), ("build_explorer", "running", "snakemake"), ("describe_run", "writing", "all")],
]
PARTS = ("train", "validation", "test")
LINE = "{:<16} {:<8} {:<10} {:<6} {:>14} {:>10}"


@pytest.fixture
def pause(tmp_path):
    (tmp_path / "pause").mkdir()
    (tmp_path / "pause" / "sitecustomize.py").write_text(PAUSE)
    return tmp_path / "pause"


def place(tmp_path, name, config, shards):
    directory = tmp_path / name
    directory.mkdir()
    own = Place(directory).overlay(config | {"shards": shards})
    return Place(directory, overlays=(TINY, own))


def copy_model(source, target):
    """Copy the model and the data that SMALL and the tiny study share."""
    for folder in ("data/synthetic_linear", "results/models/dataset=synthetic_linear"):
        shutil.copytree(source.directory / folder, target.directory / folder)


def test_a_killed_run_goes_on_with_the_same_command(tmp_path, pause, tiny):
    cut = place(tmp_path, "cut", SMALL, 2)
    copy_model(tiny, cut)
    target = f"{CELL}/part-0.parquet"
    with Watcher(cut.directory) as watcher:
        first = run_and_kill(cut, Injection("attribute_shard", "writing", "all"), target, pause=pause)
        assert first.hit
        second = run_and_kill(cut, Injection("gather_shards", "writing", "snakemake"), target, pause=pause)
        assert second.hit
        assert "was killed; going on where it stopped" in second.text
        shards = {path: state for path, state in second.survived.items() if path.parts[1] == "shards"}
        assert len(shards) == 2
        last = cut.run(target)
        assert last.code == 0, last.text
        assert last.jobs == {"gather_shards": 1}
    assert not watcher.faults
    assert not list(cut.directory.rglob("*.unfinished-*"))
    assert not list(cut.directory.rglob("shard-*"))
    # The shards are gone, but what changes them is still a reason to make them again.
    changed = cut.plan(target, overlays=[cut.overlay({"memory_mib": 300}, "changed.yaml")])
    assert changed.jobs == {"attribute_shard": 2, "gather_shards": 1}
    whole = place(tmp_path, "whole", SMALL, 1)
    copy_model(tiny, whole)
    assert whole.run(target).jobs == {"attribute": 1}
    assert digests(whole.directory) == digests(cut.directory)


def test_of_two_runs_that_are_started_at_once_one_is_refused_in_one_line(tmp_path):
    own = place(tmp_path, "cut", SMALL, 1)
    with Watcher(own.directory) as watcher, ThreadPoolExecutor(2) as pool:
        # Long enough that the one is at work when the other asks, however late that is.
        outcomes = list(pool.map(lambda target: own.run(target, cores=1), ["models", "models"]))
    done, refused = sorted(outcomes, key=lambda outcome: outcome.code)
    assert (done.code, refused.code) == (0, 1)
    usual = ("Using workflow specific", "Assuming unrestricted")
    lines = [line for line in refused.text.splitlines() if line and not line.startswith(usual)]
    assert len(lines) == 1
    assert re.fullmatch(r"approxgrad: another run \(process \d+, .*\) is at work in this folder; wait.*", lines[0])
    assert not watcher.faults
    assert set(digests(own.directory)) > {Path(f"data/synthetic_linear/{part}.parquet") for part in PARTS}
    assert not own.plan("models").jobs


def study(address, archive):
    """Everything from a download on: twelve blocks, in two cells of six."""
    download = {"addresses": [address], "md5": hashlib.md5(archive).hexdigest(), "retries": 3, "timeout": 5}
    return {
        "datasets": {"small": {"kind": "cifar10", "download": download, "validation": 20, "limit": {"test": 12}}},
        "models": {"mlp": {"training": {"epochs": 2}}},
        "methods": {"integrated_gradients": {"n_steps": 10}},
        "gradients": {"own": {"difference": "forward", "steps": [0.1, 1]}},
        "experiments": [
            {"datasets": ["small"], "models": ["mlp"], "methods": ["integrated_gradients"], "gradients": ["own"]}
            | {"samples": 12}
        ],
    }


@pytest.mark.soak
def test_a_study_survives_kills_everywhere(tmp_path, pause, capsys):
    archive = write_archive(tmp_path / "cifar.tar.gz", contents()).read_bytes()
    draw = random.Random(SEED)
    rows, gone, forced = [], {}, 0
    with capsys.disabled():
        print("\n" + LINE.format("during", "moment", "killed", "hit", "files survived", "files lost"))
    with served(archive) as (_, address):
        cut = place(tmp_path, "cut", study(f"{address}/slow", archive), 6)
        with Watcher(cut.directory) as watcher:
            for rule, moment, target in PLAN:
                injection = Injection(rule, moment, target, draw.uniform(0, 0.4))
                ending = run_and_kill(cut, injection, pause=pause)
                assert kept(gone, cut.directory) == [], "finished files were made again"
                if not ending.hit and ending.code == 0:  # The study is complete: its last steps once more.
                    forced = time.time_ns()
                    ending = run_and_kill(cut, injection, "--forcerun", rule, pause=pause)
                # Older files may follow from a forced job, and are then to be made again.
                gone = {path: state for path, state in ending.survived.items() if state[2] > forced}
                rows.append((rule, moment, target, ending.hit, len(ending.survived), ending.lost))
                with capsys.disabled():
                    print(LINE.format(*map(str, rows[-1])), flush=True)
            last = cut.run(no_proxy="127.0.0.1")
            assert last.code == 0, last.text
            again = cut.run()
            assert not again.jobs
        whole = place(tmp_path, "whole", study(f"{address}/range", archive), 1)
        outcome = whole.run(no_proxy="127.0.0.1")
        assert outcome.code == 0, outcome.text
    assert not watcher.faults
    assert sum(hit for *_, hit, _, _ in rows) >= 20
    assert not list(cut.directory.rglob("*.unfinished-*"))
    assert digests(whole.directory) == digests(cut.directory)


def kept(before, directory):
    """Return the files that were finished at a kill and are others now; shards vanish when they are gathered."""
    now = files(directory)
    return [path for path, state in before.items() if now.get(path, state) != state]
