"""What is to be known about a GPU, most important first, within some minutes: ``python -m bench --minutes``.

All ways take turns in one process, since a GPU's context costs each process seconds and memory. Every table is written
again after each case, so that a stop loses nothing. On a CPU it is a rehearsal.
"""

from __future__ import annotations

import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from approxgrad.gradients.evaluating.full_float32 import full_float32
from approxgrad.storage.files import write_atomically
from bench.ceiling import matrix_product_rate, share_of_ceiling
from bench.gpu_cases import agreement, budgets, graphs, memory_case, propagation
from bench.peers import compare
from bench.report import machine_line
from bench.scaling import scaling
from bench.subjects import ARCHITECTURES, subject

FULL = {
    "side": 32,
    "timing": {"repeats": 3, "seconds": 0.15},
    "largest_seconds": 0.5,
    "features": 256,
    "path_points": 50,
    "sizes": {
        "cnn": {"loop": 300, "batched": 3072},
        "resnet18": {"loop": 100, "batched": 3072},
        "resnet50": {"loop": 30, "batched": 3072},
    },
    "scaling": {"features": [384, 768, 1536, 3072], "inputs": [1, 2, 4, 8, 16], "path points": [5, 10, 20, 50]},
    "memory": [("cnn", 32, 50), ("resnet18", 224, 1), ("resnet50", 224, 1), ("resnet50", 224, 50)],
    "memory_seconds": 3.0,
    "product_side": 8192,
    "budgets": (200, 1000),
}
QUICK = FULL | {
    "side": 8,
    "timing": {"repeats": 2, "seconds": 0.0},
    "largest_seconds": 0.02,
    "features": 8,
    "path_points": 3,
    "sizes": {name: {"loop": 2, "batched": 16} for name in ARCHITECTURES},
    "scaling": {"features": [48, 96], "inputs": [1, 2], "path points": [2, 4]},
    "memory": [("cnn", 8, 2)],
    "memory_seconds": 0.2,
    "product_side": 256,
    "budgets": (40,),
}
GPU_TABLES = Path("docs", "performance", "gpu")
SMALL = ("cnn", "resnet18")
TESTS_SHARE = 0.3  # of the time, for the tests at most

Rows = pd.DataFrame | dict[str, Any]


def run(device: torch.device, threads: int, minutes: float, folder: Path, quick: bool) -> int:
    """Measure for so many minutes, and return the number of cases that failed."""
    start, settings = time.perf_counter(), QUICK if quick else FULL
    tables = Tables(folder)
    failed = 0

    def left() -> float:
        return 60 * minutes - (time.perf_counter() - start)

    tables.add("cases", {"case": machine_line(device, threads), "seconds": 0.0, "outcome": f"{minutes:g} minutes"})
    with full_float32():
        for name, table, work in cases(device, threads, settings, folder, left):
            begun, outcome = time.perf_counter(), "done"
            if left() <= 0:
                outcome = "no time was left"
            else:
                print(f"{name} ... ({left():.0f} s left)", flush=True)
                try:
                    tables.add(table, work())
                except Exception as error:  # noqa: BLE001 - the next case may work
                    outcome, failed = f"failed: {' '.join(str(error).split())}", failed + 1
                    traceback.print_exc()
            tables.add("cases", {"case": name, "seconds": time.perf_counter() - begun, "outcome": outcome})
            if device.type == "cuda":
                torch.cuda.empty_cache()
    return failed


class Tables:
    """Tables in a folder, whole after every addition."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._rows: dict[str, list[pd.DataFrame]] = {}
        folder.mkdir(parents=True, exist_ok=True)

    def add(self, name: str, rows: Rows) -> None:
        """Add rows to a table and print them."""
        table = pd.DataFrame([rows]) if isinstance(rows, dict) else rows
        self._rows.setdefault(name, []).append(table)
        whole = pd.concat(self._rows[name], ignore_index=True)
        write_atomically(self._folder / f"{name}.csv", partial(whole.to_csv, index=False, float_format="%.6g"))
        if name != "cases":
            print(table.to_string(index=False), flush=True)


def cases(
    device: torch.device, threads: int, settings: dict[str, Any], folder: Path, left: Callable[[], float]
) -> Iterator[tuple[str, str, Callable[[], Rows]]]:
    """Yield the names of all cases with the table that each adds to, and what measures it."""
    timing, points, side = settings["timing"], settings["path_points"], settings["side"]

    def own(name: str, images: int = 1) -> Any:
        return subject(name, side, device, images)

    def peers(name: str, path_points: int) -> Callable[[], Rows]:
        sizes = settings["sizes"][name]
        return lambda: compare(own(name), path_points, sizes, False, threads, **timing, processes=False)

    def ceiling(name: str, compiled: bool = False) -> Callable[[], Rows]:
        return lambda: share_of_ceiling(own(name), settings["largest_seconds"], compiled, **timing)

    def growth() -> Rows:
        return scaling(own("cnn", max(settings["scaling"]["inputs"])), settings["scaling"], **timing)

    def product() -> Rows:
        rate = matrix_product_rate(device, settings["product_side"], **timing)
        return {"model": "matrix product", "way": "float32", "batch_size": settings["product_side"], "gigaflops": rate}

    yield "tests", "tests", lambda: tests(device, folder, TESTS_SHARE * left())
    for name in SMALL:
        yield f"agreement, {name}", "agreement", lambda name=name: agreement(own(name), settings["features"])
    yield "matrix product", "ceiling", product
    for name in SMALL:
        yield f"peers, {name}", "peers", peers(name, 1)
        yield f"ceiling, {name}", "ceiling", ceiling(name)
    yield "peers, resnet50", "peers", peers("resnet50", 1)
    yield "ceiling, resnet50", "ceiling", ceiling("resnet50")
    for name in SMALL:
        yield f"path points, {name}", "peers", peers(name, points)
    yield "growth, cnn", "growth", growth
    for name in SMALL:
        yield f"propagation, {name}", "sources", lambda name=name: propagation(own(name), **timing)
        yield f"budget, {name}", "sources", lambda name=name: budgets(own(name), settings["budgets"], **timing)
    for case in settings["memory"]:
        yield f"memory, {case}", "memory", partial(memory_case, *case, device, settings["memory_seconds"])
    for name in ARCHITECTURES:
        yield f"graphs, {name}", "graphs", lambda name=name: graphs(own(name), **timing)
    for name in ARCHITECTURES:
        yield f"compiled, {name}", "compiled", ceiling(name, compiled=True)


def tests(device: torch.device, folder: Path, seconds: float) -> Rows:
    """Run the tests of devices in a process of their own, for so many seconds; what they print is in ``tests.txt``."""
    place = Path(__file__).resolve().parents[1] / "tests" / "unit" / "gpu"
    chosen = ["-m", "gpu"] if device.type == "cuda" else []
    command = [sys.executable, "-m", "pytest", "-q", "--tb=short", "-p", "no:cacheprovider", *chosen, str(place)]
    path = folder / "tests.txt"
    with path.open("w") as log:
        try:
            code = subprocess.run(command, stdout=log, stderr=log, timeout=seconds, check=False).returncode  # noqa: S603
        except subprocess.TimeoutExpired:
            code = None
    lines = path.read_text().splitlines() or [""]
    return {"tests": "stopped" if code is None else "passed" if code == 0 else "failed", "last_line": lines[-1]}
