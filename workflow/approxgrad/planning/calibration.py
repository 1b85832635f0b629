"""How fast this machine is: short timings of what a job does, each in a process of its own as a job is."""

from __future__ import annotations

import gc
import json
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

Shape = tuple[int, ...]

SHORTEST_SECONDS = 0.1
"""A timing is repeated with twice the work until it takes so long."""

EXACT_INPUTS = 32
"""Inputs of the smallest timing of exact gradients: fewer than in most jobs, and few enough for a slow model."""

INPUT_BYTES = 2**26
"""Bytes of random inputs that a timing takes at most."""

LARGEST_INPUTS = 4096


class CalibrationError(ValueError):
    """A model that cannot be timed, such as one that does not fit the data's shape."""


@dataclass(frozen=True)
class Speed:
    """What was measured for one model on inputs of one shape.

    Attributes
    ----------
    start_up : float
        Seconds from the start of a process to its first model output: imports, loading the model, first evaluation.
    forward : float
        Evaluations per second of the finite-difference engine.
    exact : float
        Exact gradients (forward and backward passes) per second.
    training : float
        Seconds per training row and epoch; 0 for a model that is not trained.
    gpu : bool
        Whether the model ran on a GPU.
    """

    start_up: float
    forward: float
    exact: float
    training: float
    gpu: bool


def measure_model(
    shape: Shape,
    architecture: dict[str, Any],
    *,
    device: str,
    threads: int,
    memory_mib: int | None,
    rows: int | None = None,
    training: dict[str, Any] | None = None,
) -> Speed:
    """Time an untrained model in a fresh process: a few seconds.

    Parameters
    ----------
    shape : tuple of int
        Shape of one input.
    architecture : dict
        Arguments of :func:`approxgrad.models.architectures.build_model` besides the shape and the number of outputs.
    device, threads, memory_mib
        As in the configuration.
    rows : int, optional
        Of each evaluation: the `batch_size` of the model.
    training : dict, optional
        Options of the training, which is timed too, and ``rows``, the number of training rows.

    Raises
    ------
    CalibrationError
        With the reason why the model could not be built or run.
    """
    request = {
        "shape": shape,
        "architecture": architecture,
        "device": device,
        "threads": threads,
        "memory_mib": memory_mib,
        "batch": rows,
        "training": training,
    }
    # YAML, because options of a factory may have numbers as keys.
    seconds, answer = _in_fresh_process("model", yaml.safe_dump(request, sort_keys=False))
    measured = json.loads(answer)
    if "error" in measured:
        raise CalibrationError(measured["error"])
    measuring = measured.pop("measuring")
    return Speed(start_up=seconds - measuring, **measured)


def measure_table_job() -> float:
    """Return the seconds that a job takes to start when it needs no model, such as one that compares tables."""
    return _in_fresh_process("table")[0]


def measure_figure_job() -> float:
    """Return the seconds of a job that draws a plain figure and writes it as SVG and PNG."""
    return _in_fresh_process("figure")[0]


def _in_fresh_process(kind: str, request: str = "") -> tuple[float, str]:
    """Return the seconds that :func:`main` took in a process of its own, and the last line that it printed."""
    start = time.perf_counter()
    command = [sys.executable, "-P", "-m", "approxgrad.planning.calibration", kind]
    done = subprocess.run(command, input=request, capture_output=True, text=True, check=False)  # noqa: S603 - own module
    seconds = time.perf_counter() - start
    if done.returncode:
        last = (done.stderr.strip() or f"ended with exit status {done.returncode}").splitlines()[-1]
        raise CalibrationError(last)
    return seconds, (done.stdout.splitlines() or [""])[-1]


def main(kind: str) -> None:
    """Do what is timed: import what the jobs of a kind import, and for a model answer with what was measured."""
    import approxgrad.running.startup

    if kind == "table":
        import approxgrad.evaluation.metric_tables  # noqa: F401 - the import is what is timed
    elif kind == "figure":
        _draw()
    else:
        try:
            answer = _measured(**yaml.safe_load(sys.stdin))
        except (ValueError, TypeError, RuntimeError, OSError, MemoryError) as error:
            answer = {"error": " ".join(str(error).split()) or type(error).__name__}
        sys.stdout.write(f"\n{json.dumps(answer)}\n")


def _draw() -> None:
    """Draw as the jobs do: a figure of six axes with some boxes each."""
    import numpy as np
    from matplotlib.figure import Figure

    from approxgrad.figures.style import save

    figure = Figure(figsize=(8, 5), layout="constrained")
    for axes in figure.subplots(2, 3).flat:
        axes.boxplot(np.random.default_rng(0).normal(size=(50, 4)))
    with tempfile.TemporaryDirectory() as folder:
        save(figure, Path(folder) / "figure.svg", Path(folder) / "figure.png")


def _measured(
    shape: list[int],
    architecture: dict[str, Any],
    device: str,
    threads: int,
    memory_mib: int | None,
    batch: int | None,
    training: dict[str, Any] | None,
) -> dict[str, Any]:
    """Return the fields of :class:`Speed`, and the seconds of all that a job would not do."""
    import torch

    from approxgrad.gradients.batching import memory_budget
    from approxgrad.gradients.exact import ExactGradient
    from approxgrad.gradients.finite_differences import FiniteDifference
    from approxgrad.models.architectures import build_model, load_model, save_model
    from approxgrad.models.device import set_up_torch
    from approxgrad.study.cells import attribute_cell  # noqa: F401 - what a job imports
    from approxgrad.study.subjects import MEBIBYTE

    gc.enable()
    place = set_up_torch(device, threads)
    start = time.perf_counter()
    # The number of outputs hardly matters; with a single one no target is needed.
    description = {"input_shape": shape, "outputs": 1, **architecture}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "weights.safetensors"
        save_model(path, build_model(**description), description, checked=False)
        measuring = time.perf_counter() - start
        model = load_model(path, place)
    features = int(torch.tensor(shape).prod())
    rows = max(1, min(LARGEST_INPUTS, INPUT_BYTES // (4 * features)))
    inputs = torch.randn(rows, *shape, device=place)
    budget = None if memory_mib is None else memory_mib * MEBIBYTE
    engine = FiniteDifference(step=0.1, batch_size=batch, memory_budget=budget)
    exact_gradient = ExactGradient(batch)
    ready, watched = engine.prepare(model, (inputs,)), exact_gradient.prepare(model, (inputs,))
    # Of a large input only as many features as fill a batch: the rate is the same.
    batch = batch or ready.rows_at_once(place, memory_budget(place) if budget is None else budget)
    columns = torch.arange(min(features, max(1, batch - 1)), device=place)
    filled = min(rows, math.ceil(batch / (len(columns) + 1)))

    def forward(count: int) -> int:
        float(engine.partial_derivatives(ready, (inputs[:count],), columns).sum())
        return count * (len(columns) + 1)

    def exact(count: int) -> int:
        float(exact_gradient(watched, inputs[:count])[0].sum())
        return count

    forward(1)
    start = time.perf_counter()
    result = {
        "forward": rate(forward, filled, rows),
        "exact": rate(exact, min(rows, EXACT_INPUTS), rows),
        "training": 0.0 if training is None else _training_seconds(model, tuple(shape), training, place),
        "gpu": place.type == "cuda",
    }
    return result | {"measuring": measuring + time.perf_counter() - start}


def _training_seconds(model: Any, shape: Shape, options: dict[str, Any], device: Any) -> float:
    """Return the seconds per row of an epoch on random rows, its evaluations included."""
    import numpy as np

    from approxgrad.models.training import train
    from approxgrad.storage.tables import Split

    random = np.random.default_rng(0)
    width = int(np.prod(shape))
    smallest = 2 * options["batch_size"]
    rows = max(smallest, min(options["rows"], INPUT_BYTES // (4 * width)))
    features = random.normal(size=(rows, width)).astype(np.float32)
    split = Split(features, random.normal(size=rows).astype(np.float32), feature_shape=shape)

    def epoch(count: int) -> int:
        part = split.rows(np.arange(count))
        # A small rate: the weights must stay finite, whatever the noise is that they are fitted to.
        train(model, part, part.rows(np.arange(count // 4 + 1)), options | {"epochs": 1, "learning_rate": 1e-6}, device)
        return count

    return 1 / rate(epoch, smallest, rows)


def rate(work: Callable[[int], int], smallest: int, largest: int) -> float:
    """Return how many units of work are done in a second.

    Parameters
    ----------
    work : callable
        Given a size, does work and returns how many units that was. The first call is a warm-up.
    smallest, largest : int
        Sizes to begin with and to go up to.
    """

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


def as_text(speed: Speed) -> str:
    """Return what was measured as one line for a log."""
    return json.dumps(asdict(speed))


if __name__ == "__main__":
    main(sys.argv[1])
