import time

import pytest

from approxgrad.planning import calibration
from approxgrad.planning.calibration import CalibrationError, measure_figure_job, measure_model, measure_table_job, rate

MLP = {"architecture": "mlp", "hidden": [8], "dropout": 0.0}
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


def test_a_model_is_timed_in_a_process_of_its_own():
    training = {"epochs": 300, "batch_size": 8, "learning_rate": 10.0, "rows": 40}
    start = time.perf_counter()
    speed = measure_model((5,), MLP, training=training, **OPTIONS)
    elapsed = time.perf_counter() - start
    assert 0 < speed.start_up < elapsed
    assert speed.forward > 0
    assert speed.exact > 0
    assert 0 < speed.training < elapsed
    assert not speed.gpu


def test_a_model_that_does_not_fit_is_refused_with_the_reason():
    with pytest.raises(CalibrationError, match=r"^architecture cnn: expected images with sides of at least 4 pixels"):
        measure_model((5,), {"architecture": "cnn"}, **OPTIONS)


def test_jobs_without_a_model_are_timed_too():
    assert 0 < measure_table_job() < 60
    assert 0 < measure_figure_job() < 60
