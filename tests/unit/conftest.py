"""Settings of the unit tests."""

import os

import pytest
import torch
from hypothesis import HealthCheck, is_hypothesis_test, settings

# A few examples, the same every time; `make soak` tries many, and others every time (--hypothesis-seed repeats a run).
settings.register_profile("few", max_examples=12, derandomize=True, deadline=None)
settings.register_profile(
    "many", max_examples=300, deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)


def pytest_configure(config):
    settings.load_profile("many" if config.option.markexpr == "soak" else "few")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config, items):
    """Let the properties take part in `make soak` as well."""
    if config.option.markexpr == "soak":
        for item in items:
            if is_hypothesis_test(getattr(item, "obj", None)):
                item.add_marker("soak")


def pytest_runtest_setup(item):
    if item.get_closest_marker("gpu") and not torch.cuda.is_available():
        pytest.skip("needs a GPU")


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    """The models are tiny: threads would cost more than they save."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def _same_environment():
    """Take back what a test sets: tests that run the workflow hand their environment on."""
    before = dict(os.environ)
    yield
    for name in os.environ.keys() - before.keys():
        del os.environ[name]
    os.environ.update(before)


@pytest.fixture
def fresh_compiler():
    """Forget what was compiled before: all models of layers in sequence count as one, which is compiled a few times."""
    torch._dynamo.reset()


@pytest.fixture
def no_gpu_cache(monkeypatch):
    """Let tests raise out-of-memory errors of a GPU on machines without one."""
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
