"""How fast this machine is: short timings of what jobs do, each in a fresh process, as a job is."""

from __future__ import annotations

import gc
import json
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from approxgrad.descriptions import plain, read, written
from approxgrad.extensions import load
from approxgrad.models.kind import MODELS

if TYPE_CHECKING:
    from approxgrad.models.kind import ModelKind

SHORTEST_SECONDS = 0.1  # a timing is repeated with twice the work until it takes at least this long
EXACT_INPUTS = 32  # inputs in the smallest timing of exact gradients: few enough for a slow model
INPUT_BYTES, LARGEST_INPUTS = 2**26, 4096  # bytes and number of random inputs in a timing, at most


class CalibrationError(ValueError):
    """A model cannot be timed, for example because it does not fit the shape of the data."""


@dataclass(frozen=True)
class Speed:
    """What was measured for one model on inputs of one shape."""

    start_up: float  # seconds from the start of a process to its first model output
    forward: float  # evaluations for finite differences per second
    exact: float  # exact gradients per second; 0 for a model without them
    training: float  # seconds per training row and epoch; 0 for a model that is not trained
    gpu: bool  # whether the model ran on a GPU


def measure_model(
    shape: tuple[int, ...],
    model: ModelKind,
    *,
    device: str,
    threads: int,
    memory_mib: int | None,
    outputs: int = 1,
    training_rows: int | None = None,
    file: str = "",
    extensions: Iterable[str] = (),
) -> Speed:
    """Time a model, with random weights if it has any, in a fresh process: a few seconds.

    The speed of a model that is opened and not built hardly depends on its number of `outputs`. Training is timed only
    with the number of its rows; `file` is what the study made of the model. A CalibrationError gives the reason why a
    model cannot be built or run.
    """
    if fault := model.shape_fault(shape):
        raise CalibrationError(fault)
    request = {
        "shape": list(shape),
        "extensions": extensions,
        "kind": model.name,
        "options": written(model),
        "device": device,
        "threads": threads,
        "memory_mib": memory_mib,
        "outputs": outputs,
        "training_rows": training_rows,
        "file": file,
    }
    # YAML, because the options of a factory may have numbers as keys.
    seconds, answer = _in_fresh_process("model", yaml.safe_dump(plain(request), sort_keys=False))
    measured = json.loads(answer)
    if "error" in measured:
        raise CalibrationError(measured["error"])
    return Speed(start_up=seconds - measured.pop("measuring"), **measured)


def measure_job() -> float:
    """Return the seconds of a job without a model: one that imports what reads tables, and draws a plain figure."""
    return _in_fresh_process("job")[0]


def _in_fresh_process(kind: str, request: str = "") -> tuple[float, str]:
    """Return the seconds that :func:`main` took in its own process, and the last line that it printed."""
    start = time.perf_counter()
    command = [sys.executable, "-P", "-m", "approxgrad.planning.calibration", kind]
    done = subprocess.run(command, input=request, capture_output=True, text=True, check=False)  # noqa: S603 - own module
    seconds = time.perf_counter() - start
    if done.returncode:
        raise CalibrationError((done.stderr.strip() or f"exit status {done.returncode}").splitlines()[-1])
    return seconds, (done.stdout.splitlines() or [""])[-1]


def main(kind: str) -> None:
    """Do what is timed; for a model, print what was measured."""
    import approxgrad.running.startup  # noqa: F401 - as in jobs

    if kind == "job":
        _draw()
        return
    try:
        answer = _measured(yaml.safe_load(sys.stdin))
    except (ValueError, TypeError, RuntimeError, OSError, MemoryError, ImportError, KeyError) as error:
        answer = {"error": " ".join(str(error).split()) or type(error).__name__}
    sys.stdout.write(f"\n{json.dumps(answer)}\n")


def _draw() -> None:
    import numpy as np
    from matplotlib.figure import Figure

    import approxgrad.evaluation.metric_tables  # noqa: F401 - the import is timed
    from approxgrad.figures.style import save

    figure = Figure(figsize=(8, 5), layout="constrained")
    for axes in figure.subplots(2, 3).flat:
        axes.boxplot(np.random.default_rng(0).normal(size=(50, 4)))
    with tempfile.TemporaryDirectory() as folder:
        save(figure, Path(folder) / "figure.svg", Path(folder) / "figure.png")


def _measured(request: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of :class:`Speed` except the start, and the seconds spent on what a job would not do."""
    import torch

    from approxgrad.gradients.evaluating.batching import memory_budget
    from approxgrad.gradients.evaluating.targets import target_indices
    from approxgrad.gradients.exact import ExactGradient
    from approxgrad.gradients.finite_differences import FiniteDifference
    from approxgrad.models.device import set_up_torch
    from approxgrad.study.subjects import MEBIBYTE

    gc.enable()
    device = set_up_torch(request["device"], request["threads"])
    load(request["extensions"])
    description: Any = read(MODELS[request["kind"]], request["options"])
    shape, batch = request["shape"], description.batch_size
    # A network is built with one output, which needs no target.
    if description.trained or description.fitted:
        outputs, model = 1, description.build(tuple(shape), 1).to(device).eval()
    else:
        outputs = request["outputs"]
        made = {"file": Path(request["file"])} if request["file"] else {}
        model = description.open(tuple(shape), outputs, device, torch.float32, **made)
    target = None if outputs == 1 else 0
    features = math.prod(shape)
    rows = max(1, min(LARGEST_INPUTS, INPUT_BYTES // (4 * features)))
    inputs = torch.randn(rows, *shape, device=device)
    budget = None if request["memory_mib"] is None else request["memory_mib"] * MEBIBYTE
    engine = FiniteDifference(step=0.1, batch_size=batch, memory_budget=budget)
    indices = target_indices(target, rows, device)
    ready = engine.prepare(model, (inputs,), (), indices)
    # For large inputs only as many features as fill a batch: the rate is the same.
    batch = batch or ready.rows_at_once(device, memory_budget(device) if budget is None else budget)
    columns = torch.arange(min(features, max(1, batch - 1)), device=device)

    def forward(count: int) -> int:
        float(engine.partial_derivatives(ready, (inputs[:count],), columns, target).sum())
        return count * (len(columns) + 1)

    forward(1)
    start = time.perf_counter()
    result = {
        "forward": rate(forward, min(rows, math.ceil(batch / (len(columns) + 1))), rows),
        "exact": 0.0,
        "training": 0.0,
        "gpu": device.type == "cuda",
    }
    if description.differentiable:
        gradient = ExactGradient(description.batch_size)
        watched = gradient.prepare(model, (inputs,), (), indices)

        def exact(count: int) -> int:
            float(gradient(watched, inputs[:count], target)[0].sum())
            return count

        result["exact"] = rate(exact, min(rows, EXACT_INPUTS), rows)
    if description.trained and request["training_rows"] is not None:
        result["training"] = _training_seconds(model, shape, description.training, request["training_rows"], device)
    return result | {"measuring": time.perf_counter() - start}


def _training_seconds(model: Any, shape: list[int], training: Any, rows: int, device: Any) -> float:
    """Return the seconds per row of an epoch on random rows, its evaluations included."""
    import numpy as np

    from approxgrad.models.training import train
    from approxgrad.storage.splits import Split

    random = np.random.default_rng(0)
    width = math.prod(shape)
    smallest = 2 * training.batch_size
    rows = max(smallest, min(rows, INPUT_BYTES // (4 * width)))
    features = random.normal(size=(rows, width)).astype(np.float32)
    split = Split(features, random.normal(size=rows).astype(np.float32), feature_shape=tuple(shape))
    # A small learning rate keeps the weights finite, although they are fitted to noise.
    options = written(training) | {"epochs": 1, "learning_rate": 1e-6}

    def epoch(count: int) -> int:
        part = split.rows(np.arange(count))
        train(model, part, part.rows(np.arange(count // 4 + 1)), options, device)
        return count

    return 1 / rate(epoch, smallest, rows)


def rate(work: Callable[[int], int], smallest: int, largest: int) -> float:
    """Return how many units of work are done per second; a first call warms up, and sizes grow from the smallest."""

    def timed(size: int) -> tuple[float, float]:
        start = time.perf_counter()
        units = work(size)
        seconds = max(time.perf_counter() - start, 1e-9)
        return seconds, units / seconds

    size = smallest
    work(size)
    seconds, first = timed(size)
    while seconds < SHORTEST_SECONDS and size < largest:
        size = min(largest, 2 * size)
        seconds, first = timed(size)
    # The faster of two: the slower one was disturbed.
    return max(first, timed(size)[1])


if __name__ == "__main__":
    main(sys.argv[1])
