"""A study of two thousand jobs is planned and read in little time, measured in imports of the libraries."""

import re
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest

from approxgrad.storage.attributions import Attributions, write_attributions
from approxgrad.study.grid import ATTRIBUTIONS
from counts import counts, study_of

pytestmark = [pytest.mark.workflow, pytest.mark.soak]

STEPS = [float(f"{digit}e-{power}") for power in range(5) for digit in (1, 2, 3, 5, 7)]
METHODS = ["saliency", "input_x_gradient", "integrated_gradients", "integrated_gradients_published"]
MEANS = ["integrated_gradients_mean", "integrated_gradients_published_mean"]
COMMON = {"gradients": ["forward", "central"], "samples": 20}
LARGE = {
    "gradients": {
        scheme: {"difference": scheme, "steps": STEPS, "dtypes": ["float32", "float64"]}
        for scheme in ("forward", "central")
    },
    "experiments": [
        {"datasets": ["digits"], "models": ["cnn", "resnet18"], "methods": METHODS, **COMMON},
        {
            "datasets": ["synthetic_linear", "synthetic_nonlinear"],
            "models": ["mlp"],
            "methods": METHODS + MEANS,
            **COMMON,
        },
    ],
}
JOBS = counts(study_of(LARGE))


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
    empty.overlay(LARGE, "large.yaml")
    return empty


def test_a_dry_run_lists_two_thousand_jobs(large):
    assert JOBS["differentiate"] + JOBS["derive"] + JOBS["attribute"] > 2000
    outcomes = []
    times = ratio(lambda: outcomes.append(large.plan(overlays=[large.directory / "large.yaml"])))
    assert outcomes[0].jobs == JOBS
    print(f"dry run: {times:.1f} times the imports")
    assert times < 10


def test_a_plan_counts_two_thousand_jobs(large):
    outcomes = []
    times = ratio(lambda: outcomes.append(large.run("plan", overlays=[large.directory / "large.yaml"], cores=1)))
    assert outcomes[0].code == 0, outcomes[0].text
    for rule in ("differentiate", "derive", "attribute"):
        assert re.search(rf"^{rule} +{JOBS[rule]:,} +{JOBS[rule]:,} ", outcomes[0].stdout, re.MULTILINE), rule
    print(f"plan: {times:.1f} times the imports")
    assert times < 30


def test_a_folder_of_two_thousand_files_is_one_table(tmp_path):
    rows, features = 20, 64
    values = np.random.default_rng(0).normal(size=(rows, features)).astype(np.float32)
    for number in range(2000):
        step = (number + 1) / 1024
        names = {"dataset": "digits", "model": "cnn", "method": "saliency", "gradient": f"forward-h{step}"}
        metadata = {"family": "forward", "setting": step, "setting_name": "step", "chosen": False}
        metadata |= {"dtype": "float32", "evaluations": features + 1}
        result = Attributions(np.arange(rows), step * values, values, np.arange(rows), None, metadata)
        write_attributions(tmp_path / ATTRIBUTIONS.format(**names), result)
    frames = []
    times = ratio(lambda: frames.append(pd.read_parquet(tmp_path / "results" / "attributions")))
    (frame,) = frames
    assert len(frame) == 2000 * rows
    assert sorted(set(frame["setting"])) == [(number + 1) / 1024 for number in range(2000)]
    print(f"reading 2,000 files: {times:.1f} times the imports")
    assert times < 3
