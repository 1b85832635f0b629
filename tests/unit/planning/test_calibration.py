import time

import pytest

from approxgrad.descriptions import read
from approxgrad.extensions import load
from approxgrad.models.kind import MODELS
from approxgrad.planning import calibration
from approxgrad.planning.calibration import CalibrationError, measure_job, measure_model, rate

TRAINING = {"epochs": 300, "batch_size": 8, "learning_rate": 10.0}
OPTIONS = {"device": "cpu", "threads": 1, "memory_mib": None}


@pytest.fixture
def clock(monkeypatch):
    """A clock that only work moves."""
    now = [0.0]
    monkeypatch.setattr(calibration.time, "perf_counter", lambda: now[0])
    return now


def test_a_rate_is_of_the_work_after_the_warm_up(clock):
    sizes = []

    def work(size):
        clock[0] += 5 if not sizes else 0.01 * size
        sizes.append(size)
        return 3 * size

    assert rate(work, 1, 1000) == pytest.approx(300)
    assert sizes == [1, 1, 2, 4, 8, 16, 16]


def test_a_rate_ends_at_the_largest_size_and_takes_the_faster_of_two(clock):
    seconds = iter([1, 0.02, 0.03, 0.04])
    sizes = []

    def work(size):
        clock[0] += next(seconds)
        sizes.append(size)
        return size

    assert rate(work, 2, 3) == pytest.approx(3 / 0.03)
    assert sizes == [2, 2, 3, 3]


def test_a_model_is_timed_in_a_fresh_process():
    mlp = read(MODELS["mlp"], {"hidden": [8], "dropout": 0.0, "training": TRAINING})
    start = time.perf_counter()
    speed = measure_model((5,), mlp, training_rows=40, **OPTIONS)
    elapsed = time.perf_counter() - start
    assert 0 < speed.start_up < elapsed
    assert speed.forward > 0
    assert speed.exact > 0
    assert 0 < speed.training < elapsed
    assert not speed.gpu


def test_a_model_that_does_not_fit_is_refused_with_the_reason():
    cnn = read(MODELS["cnn"], {"training": TRAINING})
    with pytest.raises(CalibrationError, match=r"^architecture cnn: expected images with sides of at least 4 pixels"):
        measure_model((5,), cnn, **OPTIONS)


EXTENSION = """
from dataclasses import dataclass
from typing import ClassVar

from approxgrad.models.kind import MODELS, ModelKind


@MODELS.add
@dataclass(frozen=True, kw_only=True)
class Plane(ModelKind):
    name: ClassVar[str] = "plane"
    label: ClassVar[str] = "Plane"
    differentiable: ClassVar[bool] = False

    slope: float = 1.0

    def open(self, shape, outputs, device, dtype):
        return lambda inputs: self.slope * inputs.sum(1, keepdim=True).expand(-1, outputs)
"""


def test_a_users_own_kind_without_gradient_and_training_is_timed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_plane.py").write_text(EXTENSION)
    load(["my_plane.py"])
    speed = measure_model((5,), MODELS["plane"](slope=2.0), extensions=["my_plane.py"], **OPTIONS)
    assert speed.forward > 0
    assert (speed.exact, speed.training) == (0, 0)
    assert measure_model((5,), MODELS["plane"](), extensions=["my_plane.py"], outputs=3, **OPTIONS).forward > 0
    with pytest.raises(CalibrationError, match="plane"):
        measure_model((5,), MODELS["plane"](slope=2.0), **OPTIONS)


def test_a_job_without_a_model_is_timed_too():
    assert 0 < measure_job() < 60
