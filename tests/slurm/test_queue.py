"""The same study on a queue: same bytes, whatever happens to its jobs and to Snakemake itself."""

import os
import re
import signal
import threading
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch

from cluster import running, what_is_missing
from queued import QueuedRun, wait_for
from running import TINY, Place
from same_results import differing, result_files

pytestmark = [
    pytest.mark.soak,
    pytest.mark.workflow,
    pytest.mark.skipif(bool(what_is_missing()), reason=what_is_missing() or "a SLURM can be started"),
]

GROUPED = ("--group-components", "preparation=10", "attributions=12", "evaluation=20", "report=100")
MODEL = "dataset=digits/model=cnn"
SLOW = {
    "methods": {"integrated_gradients": {"n_steps": 50}},
    "gradients": {"slow": {"difference": "forward", "steps": [0.1, 0.2]}},
    "experiments": [
        {
            "datasets": ["digits"],
            "models": ["cnn"],
            "methods": ["integrated_gradients"],
            "gradients": ["slow"],
            "samples": 40,
        }
    ],
}
"""A study with two cells that take some seconds each, and two blocks of samples of which shards can be made."""
TARGETS = ("attributions", "metrics")
CELLS = [f"results/attributions/{MODEL}/method=integrated_gradients/gradient=forward-h{h}" for h in ("0.1", "0.2")]
WORKING = "logs/attribute_shard/digits/cnn/integrated_gradients/forward-h0.1/1-of-2.log"
"""Exists as soon as the script of the first shard of the first of them is at work."""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """A SLURM of two processors."""
    with running(tmp_path_factory.mktemp("slurm")) as own:
        yield own


@pytest.fixture
def queue(tmp_path):
    """An empty folder for the run through the queue."""
    return Place(_folder(tmp_path / "queue"), overlays=(TINY,))


@pytest.fixture
def cut(queue, slow):
    """The study with the slow cells cut into shards, which changes no result."""
    return replace(queue, overlays=(*slow.overlays, queue.overlay({"shards": 2})))


@pytest.fixture(scope="module")
def slow(tmp_path_factory):
    """The study with the slow cells, run on this machine."""
    place = Place(tmp_path_factory.mktemp("local"), overlays=(TINY,))
    place = replace(place, overlays=(TINY, place.overlay(SLOW)))
    outcome = place.run(*TARGETS)
    assert outcome.code == 0, outcome.text
    return place


@pytest.mark.parametrize("overlays", [(TINY,), ()], ids=["tiny", "default study"])
def test_a_study_gives_the_bytes_of_a_local_run(cluster, tmp_path, overlays, capsys):
    local, queue = (Place(_folder(tmp_path / name), overlays=overlays) for name in ("local", "queue"))
    seconds, outcomes, before = [], [], len(cluster.completed())
    for run in (local.run, lambda: QueuedRun(queue, cluster, limit=3600).run(*GROUPED)):
        start = time.monotonic()
        outcomes.append(run())
        seconds.append(time.monotonic() - start)
        assert outcomes[-1].code == 0, outcomes[-1].text
    records = cluster.completed()[before:]
    steps = sum(outcomes[1].jobs.values())
    with capsys.disabled():
        print(
            f"\n{steps} jobs of Snakemake in {len(records)} of SLURM, {dict(Counter(r['JobState'] for r in records))}; "
            f"local {seconds[0]:.0f} s, queue {seconds[1]:.0f} s, load {os.getloadavg()[0]:.1f}"
        )
    assert {record["JobState"] for record in records} == {"COMPLETED"}
    # Cheap jobs share one of SLURM.
    assert len(records) < steps / 5
    assert len(result_files(queue.directory)) > 50
    assert differing(local.directory, queue.directory) == []


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without GPU, where the job fails")
def test_a_failing_job_has_its_gpu_and_comes_back_with_more_memory(cluster, queue):
    before = len(cluster.completed())
    place = replace(queue, overlays=(TINY, queue.overlay({"device": "cuda"})))
    weights = "results/models/dataset=synthetic_linear/model=mlp/weights.safetensors"
    outcome = QueuedRun(place, cluster, limit=600).run(weights)
    assert outcome.code == 1, outcome.text
    tries = [record for record in cluster.completed()[before:] if record["JobState"] == "FAILED"]
    assert [("mem=8000M" in r["Tres"], "mem=16000M" in r["Tres"], "mem=24000M" in r["Tres"]) for r in tries] == [
        (True, False, False),
        (False, True, False),
        (False, False, True),
    ]
    for record in tries:
        assert "gpu:1" in cluster.ask("scontrol", "show", "job", record["JobId"])
    assert not (place.directory / weights).exists()


def test_jobs_of_a_group_share_partition_and_gpu(cluster, queue):
    folder = "results/gradients/dataset=synthetic_linear/model=mlp/samples=6"
    cells = [f"{folder}/gradient=forward-h{step}/part-0.parquet" for step in ("0.5", "2")]
    settings = ("--set-resources", "differentiate:gpu=1", "differentiate:slurm_partition=accelerated", *GROUPED)
    outcome = QueuedRun(queue, cluster, limit=600).run(*cells, *settings)
    assert outcome.code == 0, outcome.text
    record = cluster.completed()[-1]
    assert record["Partition"] == "accelerated"
    # One after the other on the one GPU.
    assert "cpu=1," in record["Tres"]
    assert "gpu:1" in cluster.ask("scontrol", "show", "job", record["JobId"])
    assert all((queue.directory / cell).is_file() for cell in cells)


def test_a_cancelled_job_is_repeated(cluster, cut, slow):
    before = len(cluster.completed())
    run = QueuedRun(cut, cluster, limit=900)
    head = run.start(*TARGETS)
    wait_for((cut.directory / WORKING).exists, "a cell at work")
    cluster.ask("scancel", *cluster.jobs())
    assert head.wait() == 0, run.log.read_text()
    records = cluster.completed()[before:]
    lost = [record for record in records if record["JobState"] == "CANCELLED"]
    assert lost
    # They are repeated with twice the memory, which is also what a training asks for.
    ample = [record for record in records if record["JobState"] == "COMPLETED" and "mem=8000M" in record["Tres"]]
    assert len(ample) == len(lost) + 1
    assert differing(slow.directory, cut.directory) == []


@pytest.mark.parametrize("cancel", [False, True], ids=["its jobs run on", "its jobs are cancelled by name"])
def test_a_killed_run_is_taken_up_again(cluster, cut, slow, cancel):
    run = QueuedRun(cut, cluster, limit=900)
    head = run.start(*TARGETS)
    wait_for((cut.directory / WORKING).exists, "a cell at work")
    _kill_with_children(head.pid)
    head.wait()
    orphans = cluster.jobs()
    at_work = [job for job, state in orphans.items() if state == "RUNNING"]
    assert at_work
    if cancel:
        name = re.search(r"^SLURM run ID: (approxgrad_\S+)$", run.log.read_text(), re.MULTILINE)[1]
        cluster.ask("scancel", "--name", name)
        wait_for(lambda: not cluster.jobs(), "the end of the cancelled jobs")
    else:
        # Held, so that they are at work beside those of the second call however long that takes to start.
        cluster.ask("scontrol", "suspend", ",".join(at_work))
    with Watcher([cut.directory / cell / "part-0.parquet" for cell in CELLS]) as watcher:
        head = run.start(*TARGETS)
        wait_for(lambda: "RUNNING" in _new(cluster.jobs(), orphans), "jobs of the second call")
        if not cancel:
            cluster.ask("scontrol", "resume", ",".join(at_work))
        assert head.wait() == 0, run.log.read_text()
        wait_for(lambda: not cluster.jobs(), "the end of all jobs")
    assert watcher.read > 0
    assert watcher.broken == []
    assert differing(slow.directory, cut.directory) == []


class Watcher(threading.Thread):
    """Reads files again and again, as long as it is entered; one that is there must be whole."""

    def __init__(self, paths):
        super().__init__(daemon=True)
        self.paths, self.read, self.broken, self._end = paths, 0, [], threading.Event()

    def run(self):
        while not self._end.wait(0.05):
            for path in self.paths:
                try:
                    pq.ParquetFile(path).read()
                    self.read += 1
                except FileNotFoundError:
                    continue
                except Exception as error:  # noqa: BLE001 - whatever a reader meets
                    self.broken.append((path, error))

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self._end.set()
        self.join()


def _new(jobs, known):
    """Return the states of jobs that are not among the known ones."""
    return {state for job, state in jobs.items() if job not in known}


def _kill_with_children(pid):
    """End `timeout` and the Snakemake below it at once."""
    children = map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
    for number in (*children, pid):
        os.kill(number, signal.SIGKILL)


def _folder(path):
    path.mkdir()
    return path
