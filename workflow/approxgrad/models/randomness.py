"""Random states of all that a network may draw from."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


def seed_all(seed: int) -> None:
    """Seed torch, numpy's shared generator and Python's own."""
    torch.manual_seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 - what networks of users draw from
    random.seed(seed)


def seed_anew() -> None:
    """Seed them with a number that nobody can foresee."""
    torch.seed()
    np.random.seed()  # noqa: NPY002
    random.seed()


@contextmanager
def kept_randomness() -> Iterator[None]:
    """Put all random states back afterwards, those of GPUs too."""
    of_numpy, of_python = np.random.get_state(), random.getstate()  # noqa: NPY002
    try:
        with torch.random.fork_rng():
            yield
    finally:
        np.random.set_state(of_numpy)  # noqa: NPY002
        random.setstate(of_python)
