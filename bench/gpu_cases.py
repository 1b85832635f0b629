"""What is measured on a GPU besides peers and ceiling: agreement with the CPU, sources, memory, CUDA graphs."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from approxgrad import DirectionalDifference, ExactGradient, FiniteDifference, attribute
from approxgrad.methods.occlusion import occlusion
from bench.ceiling import dense
from bench.memory import measure
from bench.subjects import STEP, TARGET, Subject, some_features
from bench.timing import Work, interleaved, rates, synchronise

CPU = torch.device("cpu")
GRAPH_SIZES = (16, 64, 256, 1024)


def agreement(own: Subject, features: int) -> pd.DataFrame:
    """Compare float32 here with float64 on the CPU, over the largest number, and two runs with each other."""
    exact = copy.deepcopy(own.model).to(device=CPU, dtype=torch.float64)
    wanted, some = own.images.to(CPU, torch.float64), some_features(own, features)

    def differences(scheme: str, **options: Any) -> Callable[[Any, Tensor], Tensor]:
        def found(model: Any, images: Tensor) -> Tensor:
            source = FiniteDifference(STEP, scheme, **options)
            return source.partial_derivatives(model, (images,), some.to(images.device), TARGET)

        return found

    def gradient(make: Callable[[], Any]) -> Callable[[Any, Tensor], Tensor]:
        return lambda model, images: make()(model, images, TARGET)[0]

    ways = {
        "exact gradient": gradient(ExactGradient),
        "forward": differences("forward"),
        "central": differences("central"),
        "propagated": differences("forward", evaluation="propagated"),
        "cosines, 400 evaluations": gradient(lambda: DirectionalDifference(STEP, budget=400, basis="cosine")),
    }
    rows = []
    for name, way in ways.items():
        first, second = way(own.model, own.images), way(own.model, own.images)
        right = way(exact, wanted)
        error = float((first.to(CPU).double() - right).abs().max() / right.abs().max())
        rows.append({"model": own.name, "source": name, "error": error, "same_again": torch.equal(first, second)})
    return pd.DataFrame(rows)


def propagation(own: Subject, repeats: int, seconds: float) -> pd.DataFrame:
    """Time whole calls of propagated and dense differences of an image, and of occlusion, in turns."""
    boxes = {"window": 4, "stride": 2, "target": TARGET}
    densely, propagated = (FiniteDifference(STEP, evaluation=way) for way in ("dense", "propagated"))
    return _whole_calls(
        own,
        {
            "dense": partial(attribute, own.model, own.images, target=TARGET, gradient=densely),
            "propagated": partial(attribute, own.model, own.images, target=TARGET, gradient=propagated),
            "occlusion, dense": partial(occlusion, own.model, own.images, evaluation="dense", **boxes),
            "occlusion, propagated": partial(occlusion, own.model, own.images, evaluation="propagated", **boxes),
        },
        repeats,
        seconds,
    )


def budgets(own: Subject, sizes: tuple[int, ...], repeats: int, seconds: float) -> pd.DataFrame:
    """Time whole calls of directions within a budget, in turns."""
    ways = {
        f"{basis}, {budget} evaluations": partial(
            attribute,
            own.model,
            own.images,
            target=TARGET,
            gradient=DirectionalDifference(STEP, budget=budget, basis=basis),  # type: ignore[arg-type]
        )
        for basis in ("cosine", "orthogonal")
        for budget in sizes
    }
    return _whole_calls(own, ways, repeats, seconds)


def _whole_calls(own: Subject, ways: dict[str, Callable[[], Any]], repeats: int, seconds: float) -> pd.DataFrame:
    def once(call: Callable[[], Any]) -> int:
        call()
        return 1

    works: dict[str, Work] = {name: partial(once, call) for name, call in ways.items()}
    table = rates(interleaved(works, repeats, seconds, own.images.device))
    times = {"median": 1 / table["median"], "min": 1 / table["max"], "max": 1 / table["min"]}
    return pd.DataFrame({"model": own.name, "source": table["way"], **times})


def memory_case(name: str, side: int, path_points: int, device: torch.device, seconds: float) -> dict[str, Any]:
    """Return the peak of memory of one case, with nothing else in the cache."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
    return measure(name, side, path_points, device, seconds)


def graphs(own: Subject, repeats: int, seconds: float) -> pd.DataFrame:
    """Time the model alone on ready batches, as it is and replayed as a CUDA graph: what launches cost."""
    device = own.images.device
    ways: dict[str, Work] = {}
    for size in GRAPH_SIZES:
        batch = torch.randn(size, *own.images.shape[1:], device=device)
        ways[f"as it is, {size}"] = partial(dense, own.model, batch)
        if device.type == "cuda":
            ways[f"graph, {size}"] = _graph(own.model, batch)
    table = rates(interleaved(ways, repeats, seconds, device))
    names = table.pop("way").str.rpartition(", ")
    return table.assign(model=own.name, way=names[0], batch_size=names[2].astype(int))


def _graph(model: Any, batch: Tensor) -> Work:
    """Return what replays one evaluation of a batch."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            dense(model, batch)
    torch.cuda.current_stream().wait_stream(stream)
    synchronise(batch.device)
    graph = torch.cuda.CUDAGraph()
    with torch.inference_mode(), torch.cuda.graph(graph):
        model(batch)

    def replay() -> int:
        graph.replay()
        return len(batch)

    return replay
