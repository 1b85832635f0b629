"""Seeds that depend on names and not on the order of jobs, and the test rows drawn with them."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray


def derive_seed(seed: int, *names: str) -> int:
    """Return a 63-bit seed for what `names` describe, the same on every machine and with every version."""
    digest = hashlib.sha256("\0".join([str(seed), *names]).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def draw_samples(rows: int, count: int, seed: int) -> NDArray[np.int64]:
    """Return `count` of `rows` row numbers in random order; a smaller count gives the first of a larger one.

    Raises a ValueError if there are fewer than `count` rows.
    """
    if not 1 <= count <= rows:
        raise ValueError(f"samples: got {count}, expected 1 to {rows}, the number of test rows")
    return np.random.default_rng(seed).permutation(rows)[:count].astype(np.int64)
