"""The benchmark runs through and its peers agree; what it measures in so short a time means nothing."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from running import REPOSITORY

pytestmark = [pytest.mark.workflow, pytest.mark.slow]


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bench")
    command = [sys.executable, "-m", "bench", "--quick", "--output", folder, "--threads", "2"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


def test_every_model_and_method_is_compared_with_its_peers(results):
    peers = pd.read_parquet(results / "performance" / "peers.parquet")
    assert len(peers) == 3 * 2 * 4 + 2  # the CNN is compiled too
    assert (peers["min"] > 0).all()
    assert (peers["min"] <= peers["median"]).all()
    assert (peers["median"] <= peers["max"]).all()
    # All compute the same differences: float32 rounding of outputs of order one over h = 0.01, over a gradient.
    assert (peers["error"] < 64 * np.finfo(np.float32).eps / 0.01 * 100).all()


def test_the_engine_stands_among_the_sweep_of_every_model(results):
    ceiling = pd.read_parquet(results / "performance" / "ceiling.parquet")
    for _, own in ceiling.groupby("model"):
        best = own.loc[~own["way"].str.startswith("engine"), "median"].max()
        engine = own[own["way"] == "engine"].iloc[0]
        assert engine["share"] == pytest.approx(engine["median"] / best)


def test_the_page_and_the_figure_are_written(results):
    page = (results / "performance.md").read_text()
    for part in ("## Peers", "## Share of the dense ceiling", "## Scaling", "## Peak memory", "ResNet-50"):
        assert part in page
    assert (results / "performance.png").stat().st_size > 10_000


PREPARED = """
import sys
import torch
from pathlib import Path
from bench import prepared

def cases(*arguments):
    yield "first", "numbers", lambda: {"number": 1}
    yield "second", "numbers", lambda: 1 / 0
    yield "third", "numbers", lambda: {"number": 3}

prepared.cases = cases
print(prepared.run(torch.device("cpu"), 1, float(sys.argv[1]), Path(sys.argv[2]), True))
"""


@pytest.mark.parametrize(("minutes", "failed", "numbers"), [("5", "1", [1, 3]), ("0", "0", [])])
def test_the_benchmark_of_a_gpu_keeps_what_it_has(tmp_path, minutes, failed, numbers):
    command = [sys.executable, "-c", PREPARED, minutes, tmp_path]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == failed
    outcomes = pd.read_csv(tmp_path / "cases.csv")["outcome"].tolist()[1:]
    if numbers:
        assert pd.read_csv(tmp_path / "numbers.csv")["number"].tolist() == numbers
        assert outcomes == ["done", "failed: division by zero", "done"]
    else:
        assert outcomes == ["no time was left"] * 3


def test_every_case_of_the_benchmark_of_a_gpu_has_a_title():
    code = (
        "import torch; from bench import gpu_page, prepared; from pathlib import Path\n"
        "found = prepared.cases(torch.device('cpu'), 1, prepared.QUICK, Path(), lambda: 1.0)\n"
        "print(sorted({table for _, table, _ in found} - set(gpu_page.TITLES)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.stdout == "[]\n", done.stderr


def test_peak_memory_is_within_the_budget(results):
    memory = pd.read_parquet(results / "performance" / "memory.parquet")
    assert (memory["evaluations"] > 0).all()
    assert (memory["peak_mib"] < memory["budget_mib"]).all()
