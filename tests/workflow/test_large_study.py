"""A study of two thousand jobs is planned and read in little time, measured in imports of the libraries."""

import re
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest

from approxgrad.storage.tables import Attributions, write_attributions
from approxgrad.study.grid import ATTRIBUTIONS

pytestmark = [pytest.mark.workflow, pytest.mark.soak]

STEPS = [float(f"{digit}e-{power}") for power in range(5) for digit in (1, 2, 3, 5, 7)]
GRID = {"schemes": ["forward", "central"], "steps": STEPS, "dtypes": ["float32", "float64"], "samples": 20}
METHODS = ["saliency", "input_x_gradient", "integrated_gradients", "integrated_gradients_published"]
MEANS = ["integrated_gradients_mean", "integrated_gradients_published_mean"]
EXPERIMENTS = [
    {"datasets": ["digits"], "models": ["cnn", "resnet18"], "methods": METHODS, **GRID},
    {"datasets": ["synthetic_linear", "synthetic_nonlinear"], "models": ["mlp"], "methods": METHODS + MEANS, **GRID},
]
# Approximated attributions, and the exact ones of the methods that are not published variants.
JOBS = (2 * 4 + 2 * 6) * 2 * 2 * 25 + (2 * 3 + 2 * 4) * 2


def seconds(function):
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def start_up():
    """What a job takes before it begins."""
    return seconds(lambda: subprocess.run([sys.executable, "-c", "import torch, captum.attr"], check=True))


def ratio(function):
    """The time of a call over that of the libraries' imports just before and after, when the machine is as busy."""
    before = start_up()
    taken = seconds(function)
    return taken / ((before + start_up()) / 2)


@pytest.fixture
def large(empty):
    empty.overlay({"experiments": EXPERIMENTS}, "large.yaml")
    return empty


def test_a_dry_run_lists_two_thousand_jobs(large):
    outcomes = []
    times = ratio(lambda: outcomes.append(large.plan(overlays=[large.directory / "large.yaml"])))
    assert outcomes[0].jobs["attribute"] == JOBS
    print(f"dry run: {times:.1f} times the imports")
    assert times < 10


def test_a_plan_counts_two_thousand_jobs(large):
    outcomes = []
    times = ratio(lambda: outcomes.append(large.run("plan", overlays=[large.directory / "large.yaml"], cores=1)))
    assert outcomes[0].code == 0, outcomes[0].text
    assert re.search(rf"^attribute +{JOBS:,} +{JOBS:,} ", outcomes[0].stdout, re.MULTILINE)
    print(f"plan: {times:.1f} times the imports")
    assert times < 30


def test_a_folder_of_two_thousand_files_is_one_table(tmp_path):
    rows, features = 20, 64
    values = np.random.default_rng(0).normal(size=(rows, features)).astype(np.float32)
    for number in range(2000):
        step = (number + 1) / 1024
        names = {"dataset": "digits", "model": "cnn", "method": "saliency", "gradient": f"forward-h{step}"}
        metadata = {"scheme": "forward", "step": step, "dtype": "float32"}
        result = Attributions(np.arange(rows), step * values, values, np.arange(rows), None, metadata)
        write_attributions(tmp_path / ATTRIBUTIONS.format(**names), result)
    frames = []
    times = ratio(lambda: frames.append(pd.read_parquet(tmp_path / "results" / "attributions")))
    (frame,) = frames
    assert len(frame) == 2000 * rows
    assert sorted(set(frame["step"])) == [(number + 1) / 1024 for number in range(2000)]
    print(f"reading 2,000 files: {times:.1f} times the imports")
    assert times < 3
