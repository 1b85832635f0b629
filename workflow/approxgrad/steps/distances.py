"""Distances at which something is met for the first time, from answers of yes or no."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from approxgrad.steps.arrays import Array, Flags, Rows

INWARDS = 16  # distances tried below the one at which something is met, each the square root of two from the next


def distances(met: Callable[[Array, Rows], Flags], items: Rows, first: Array, outwards: int) -> Array:
    """Return the distance at which each point first meets something, to a factor of the square root of two.

    `met(distances, items)` returns whether each item meets something within its distance. Every point has equally
    many items, one after the other, of which the first to meet something counts. The distance is `first`, doubled up to
    `outwards` times while no item meets something. If none ever does, the result is twice the largest distance that was
    tried, or infinite if only one was.
    """
    owner = np.repeat(np.arange(len(first)), len(items) // len(first))
    found = first.astype(np.float64)
    hit = met(found[owner], items)
    for _ in range(outwards):
        left = np.flatnonzero(~np.isin(owner, owner[hit]))
        if not len(left):
            break
        found[np.unique(owner[left])] *= 2
        hit[left] = met(found[owner[left]], items[left])
    without = ~np.isin(np.arange(len(first)), owner[hit])
    near = np.flatnonzero(hit)
    for _ in range(INWARDS):
        if not len(near):
            break
        near = near[met(found[owner[near]] / math.sqrt(2), items[near])]
        found[np.unique(owner[near])] /= math.sqrt(2)
    found[without] = 2 * found[without] if outwards else np.inf
    return found
