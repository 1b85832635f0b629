"""Peak memory of the engine, each configuration in a process of its own (Linux and CUDA)."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from approxgrad import FiniteDifference, attribute
from approxgrad.gradients.evaluating.batching import memory_budget
from approxgrad.gradients.evaluating.wrapping import ModelWrapper
from bench.subjects import STEP, TARGET, subject

MEBIBYTE = 2**20


class _OutOfTime(BaseException):
    """The model has been evaluated for as long as it should."""


class _Limited(ModelWrapper):
    """A model that stops the attribution after some seconds: the peak is reached with the first batches."""

    def __init__(self, model: Any, seconds: float) -> None:
        super().__init__(model)
        self.seconds, self.start = seconds, time.perf_counter()
        self.evaluations = 0

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        if self.evaluations and time.perf_counter() - self.start > self.seconds:
            raise _OutOfTime
        self.evaluations += len(images)
        return self.__wrapped__(images)


def measure(name: str, side: int, path_points: int, device: torch.device, seconds: float) -> dict[str, Any]:
    """Return the peak of memory over what model and image take, and the evaluations until the time was up."""
    own = subject(name, side, device)
    with torch.inference_mode():
        own.model(own.images)
    _reset_peak(device)
    before = _memory(device, "VmRSS")
    model = _Limited(own.model, seconds)
    options = {"n_steps": path_points} if path_points > 1 else {}
    method = "integrated_gradients" if path_points > 1 else "saliency"
    source = FiniteDifference(STEP)
    with contextlib.suppress(_OutOfTime):
        attribute(model, own.images, target=TARGET, method=method, gradient=source, **options)
    return {
        "model": name,
        "features": own.features,
        "path_points": path_points,
        "evaluations": model.evaluations,
        "peak_mib": (_memory(device, "VmHWM") - before) / MEBIBYTE,
        "budget_mib": memory_budget(device) / MEBIBYTE,
    }


def peak_memory(cases: list[tuple[str, int, int]], device: torch.device, threads: int, seconds: float) -> pd.DataFrame:
    """Measure each case (model, side of the image, path points) in a process of its own, a row each."""
    rows = []
    for case in cases:
        command = [sys.executable, "-m", "bench.memory", *map(str, case), str(device), str(threads), str(seconds)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603 - this very module
        rows.append(json.loads(done.stdout.splitlines()[-1]))
    return pd.DataFrame(rows)


def _reset_peak(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    else:
        Path("/proc/self/clear_refs").write_text("5")


def _memory(device: torch.device, key: str) -> float:
    """Return a line of the process' status (VmRSS: now, VmHWM: peak) in bytes, or the same of a GPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_reserved(device) if key == "VmHWM" else torch.cuda.memory_reserved(device)
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(key))


if __name__ == "__main__":
    name, side, path_points, device, threads, seconds = sys.argv[1:]
    torch.set_num_threads(int(threads))
    print(json.dumps(measure(name, int(side), int(path_points), torch.device(device), float(seconds))))
