"""Timing several ways of doing the same work in turns, so that a slow moment of the machine meets all of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import pandas as pd
import torch

Work = Callable[[], int]
"""Does some work and returns how many units of it."""


def interleaved(
    ways: Mapping[str, Work],
    repeats: int,
    seconds: float,
    device: torch.device,
    prepare: Callable[[str], None] | None = None,
) -> pd.DataFrame:
    """Time all ways in turns.

    Parameters
    ----------
    ways : mapping of str to callable
        What is timed; each is called once beforehand to warm up.
    repeats : int
        Turns.
    seconds : float
        In a turn each way is repeated until so much time has passed.
    device : torch.device
        Where the work is done; a GPU is waited for.
    prepare : callable, optional
        Called with a way before its turn, untimed, as is one unit of its work then: for what one way must not leave
        to the next.

    Returns
    -------
    DataFrame
        Columns ``way``, ``repeat``, ``units`` and ``seconds``.
    """
    for way, work in ways.items():
        if prepare is not None:
            prepare(way)
        work()
    rows = []
    for repeat in range(repeats):
        for way, work in ways.items():
            if prepare is not None:
                prepare(way)
                work()
            synchronise(device)
            start, units = time.perf_counter(), 0
            while units == 0 or time.perf_counter() - start < seconds:
                units += work()
                synchronise(device)
            rows.append((way, repeat, units, time.perf_counter() - start))
    return pd.DataFrame(rows, columns=["way", "repeat", "units", "seconds"])


def rates(timings: pd.DataFrame) -> pd.DataFrame:
    """Return the median, lowest and highest units per second of every way, as columns in the ways' order."""
    rate = (timings["units"] / timings["seconds"]).groupby(timings["way"], sort=False)
    return rate.agg(["median", "min", "max"]).reset_index()


def synchronise(device: torch.device) -> None:
    """Wait until a GPU has done all work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
