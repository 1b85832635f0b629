"""Chosen steps are within a factor of two of the best of a grid, for trained models of the default study."""

import subprocess
import sys

import pytest

from running import REPOSITORY

pytestmark = [pytest.mark.workflow, pytest.mark.soak]


@pytest.mark.parametrize("seed", [1, 2])
def test_the_error_is_within_twice_the_best_of_a_grid(seed, tmp_path):
    command = [sys.executable, "-m", "bench.steps", "--models", "mlp", "--seeds", str(seed), "--folder", tmp_path]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "above 2: 0 of 32 cases" in done.stdout
