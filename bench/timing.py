"""Timing several ways of doing the same work in turns, so that a slow moment of the machine meets all of them."""

from __future__ import annotations

import contextlib
import multiprocessing
import time
from collections.abc import Callable, Mapping
from functools import partial
from multiprocessing.connection import Connection

import pandas as pd
import torch

Work = Callable[[], int]
"""Does some work and returns how many units of it."""


def interleaved(ways: Mapping[str, Work], repeats: int, seconds: float, device: torch.device) -> pd.DataFrame:
    """Time all ways in turns, after a warm-up; in each turn a way is repeated until so many seconds have passed.

    Returns
    -------
    DataFrame
        Columns ``way``, ``repeat``, ``units`` and ``seconds``.
    """
    for work in ways.values():
        work()
    return _turns({way: partial(_timed, work, device) for way, work in ways.items()}, repeats, seconds)


def interleaved_in_turn(
    ways: Mapping[str, Callable[[], Work]], repeats: int, seconds: float, device: torch.device
) -> pd.DataFrame:
    """Time all ways as :func:`interleaved_processes` does, but in this process: a GPU's context costs each its own."""
    return interleaved({way: make() for way, make in ways.items()}, repeats, seconds, device)


def interleaved_processes(
    ways: Mapping[str, Callable[[], Work]], repeats: int, seconds: float, device: torch.device
) -> pd.DataFrame:
    """Time all ways as :func:`interleaved` does, each in a process of its own, where no other leaves traces.

    A way is a callable that can be pickled and makes the work in its process.
    """
    context = multiprocessing.get_context("spawn")
    pipes: dict[str, Connection] = {}
    for way, make in ways.items():
        pipes[way], there = context.Pipe()
        context.Process(target=_serve, args=(there, make, device), daemon=True).start()
        there.close()
        pipes[way].recv()  # Warmed up: so one after the other.
    table = _turns({way: partial(_asked, pipe) for way, pipe in pipes.items()}, repeats, seconds)
    for pipe in pipes.values():
        pipe.close()
    return table


def _serve(pipe: Connection, make: Callable[[], Work], device: torch.device) -> None:
    """Do a way's work whenever the other end of the pipe asks for it, until that is closed."""
    work = make()
    work()
    with contextlib.suppress(EOFError):
        pipe.send(None)
        while True:
            pipe.send(_timed(work, device, pipe.recv()))


def _asked(pipe: Connection, seconds: float) -> tuple[int, float]:
    pipe.send(seconds)
    units, passed = pipe.recv()
    return units, passed


def _timed(work: Work, device: torch.device, seconds: float) -> tuple[int, float]:
    """Repeat some work until so much time has passed; return how much was done, and the time."""
    synchronise(device)
    start, units = time.perf_counter(), 0
    while units == 0 or time.perf_counter() - start < seconds:
        units += work()
        synchronise(device)
    return units, time.perf_counter() - start


def _turns(ways: Mapping[str, Callable[[float], tuple[int, float]]], repeats: int, seconds: float) -> pd.DataFrame:
    rows = [(way, repeat, *turn(seconds)) for repeat in range(repeats) for way, turn in ways.items()]
    return pd.DataFrame(rows, columns=["way", "repeat", "units", "seconds"])


def rates(timings: pd.DataFrame) -> pd.DataFrame:
    """Return the median, lowest and highest units per second of every way, as columns in the ways' order."""
    rate = (timings["units"] / timings["seconds"]).groupby(timings["way"], sort=False)
    return rate.agg(["median", "min", "max"]).reset_index()


def synchronise(device: torch.device) -> None:
    """Wait until a GPU has done all work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
