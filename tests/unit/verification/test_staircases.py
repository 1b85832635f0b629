import math
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from approxgrad import FiniteDifference
from approxgrad.descriptions import read
from approxgrad.models.kind import MODELS
from approxgrad.storage.attributions import Attributions, write_attributions
from approxgrad.storage.splits import Split, write_split
from approxgrad.study.study import Study
from approxgrad.verification.comparison import map_difference, measured_tolerance
from approxgrad.verification.staircases import noise_tolerance, seen_noise

CONFIG = Path(__file__).resolve().parents[3] / "config" / "config.yaml"
EPS = float(np.finfo(np.float32).eps)
STEP, ROWS, FEATURES = 0.25, 40, 12
WEIGHTS = torch.from_numpy(np.random.default_rng(0).normal(size=FEATURES)).float()

FUNCTION = f"""
import numpy as np
import torch

def stairs(rows):
    # Stairs so low that rounding of the sum decides for some rows.
    scores = torch.as_tensor(rows).flatten(1) @ torch.tensor({WEIGHTS.tolist()})
    return (scores * 2**18).round()[:, None] / 2**18
"""


def steps(rows):
    """A staircase whose first stair begins at 1."""
    return torch.floor(rows[:, :1].double())


def test_noise_is_seen_beside_a_stair_and_nowhere_else():
    beside, between = torch.ones(4, 3), torch.full((4, 3), 1.5)
    found = seen_noise(steps, beside, None, "float32")
    # Four ninths of the units are negative, and cross the stair; 17 changes of 4 rows were squared and averaged.
    assert found**2 == pytest.approx(4 / 9 * 16 / 17, abs=4 * math.sqrt(0.25 / 64))
    assert seen_noise(steps, between, None, "float32") == 0
    # Half precision rounds 1.99 to 2.
    assert seen_noise(steps, torch.full((4, 3), 1.99), None, "float32") == 0
    assert seen_noise(steps, torch.full((4, 3), 1.99), None, "bfloat16") > 0


def test_noise_of_a_smooth_function_is_that_of_its_inputs():
    rows = torch.ones(200, 3, dtype=torch.float64)
    # Units of -4 to 4 have a variance of 60 / 9; the first of 17 changes is 0.
    expected = EPS * math.sqrt(60 / 9 * 14 * 16 / 17)
    found = seen_noise(lambda x: x @ torch.tensor([[1.0], [2.0], [3.0]], dtype=x.dtype), rows, None, "float32")
    assert found == pytest.approx(expected, rel=0.1)


def test_a_row_that_depends_on_the_batch_is_noise():
    noise = seen_noise(lambda rows: rows[:, :1] + len(rows), torch.zeros(3, 2), None, "float32")
    assert noise == pytest.approx(math.sqrt(4 / 17))


def test_the_tolerance_is_that_of_four_outputs_over_the_step():
    maps, factors = np.full((2, 3), 2.0), np.full((2, 3), 5.0)
    assert noise_tolerance(0.1, factors, maps, 0.5) == pytest.approx(3 * 2 * 0.1 * 5 / (0.5 * 2))
    assert noise_tolerance(0.1, factors, 0 * maps, 0.5) == 0


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A study of a staircase, its data, and the maps that it gives."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own_stairs.py").write_text(FUNCTION)
    config = yaml.safe_load(CONFIG.read_text())
    config["models"] = {"own": {"function": "own_stairs:stairs"}}
    config["gradients"] = {"own": {"difference": "forward", "steps": [STEP]}}
    entry = {"datasets": ["synthetic_linear"], "models": ["own"], "methods": ["input_x_gradient"], "gradients": ["own"]}
    config["experiments"] = [entry | {"samples": ROWS, "reference": "forward-h0.25"}]
    study = Study(config)
    rows = np.random.default_rng(1).normal(size=(ROWS, FEATURES)).astype(np.float32)
    (tmp_path / "data" / "synthetic_linear").mkdir(parents=True)
    for name in ("train", "test"):
        part = Split(rows, rows[:, 0].astype(np.float64), feature_shape=(FEATURES,))
        write_split(tmp_path / "data" / "synthetic_linear" / f"{name}.parquet", part, {})

    def maps(function):
        inputs = torch.from_numpy(rows)
        return (inputs * FiniteDifference(STEP, check_rows=False)(function, inputs)[0]).numpy()

    def written(found, **metadata):
        document = {"family": "forward", "setting": STEP, "setting_name": "step", "chosen": False, "dtype": "float32"}
        document |= {"evaluations": 13, "provenance": {}, "rounding_step": STEP} | metadata
        path = tmp_path / "again.parquet"
        write_attributions(path, Attributions(np.arange(ROWS), found, rows, None, None, document))
        return path

    (cell,) = (cell for cell in study.cells if cell.method == "input_x_gradient")
    return study, cell, maps, written


def otherwise(rows):
    """The staircase with the products added in another order."""
    scores = (rows.flip(1) * WEIGHTS.flip(0)).cumsum(dim=1)[:, -1]
    return (scores * 2**18).round()[:, None] / 2**18


def test_stairs_that_rounding_chooses_are_accepted_and_wrong_maps_are_not(place):
    study, cell, maps, written = place
    here, there = maps(lambda rows: ((rows @ WEIGHTS) * 2**18).round()[:, None] / 2**18), maps(otherwise)
    assert (here != there).any()
    tolerance = measured_tolerance(study, cell, written(here))
    assert map_difference(there, here, tolerance) == ""
    # The tolerance is that of stairs: of the size of their height over the step.
    assert tolerance < 2**-18 / STEP * 100
    for wrong in (here * np.float32(1.001), here[:, ::-1], np.where(np.arange(ROWS)[:, None] == 3, 0, here)):
        assert "expected at most" in map_difference(wrong, here, tolerance)


def test_without_a_step_nothing_is_measured(place):
    study, cell, maps, written = place
    assert measured_tolerance(study, cell, written(maps(otherwise), rounding_step=None)) == math.inf


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"exported": {"of": "net", "as": "bfloat16"}}, "bfloat16"),
        ({"exported": {"of": "net", "as": "int8-static"}}, "float32"),
        ({"service": "grpc://127.0.0.1:8001"}, None),
    ],
)
def test_a_model_rounds_to_what_it_computes_in_and_a_service_is_not_asked(options, expected):
    assert read(MODELS[next(iter(options))], options).rounds_to == expected
