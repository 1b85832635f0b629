"""Settings of the unit tests."""

import pytest
import torch


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    """The models are tiny: threads would cost more than they save."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def no_gpu_cache(monkeypatch):
    """Let tests raise out-of-memory errors of a GPU on machines without one."""
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
