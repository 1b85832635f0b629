"""The dense ceiling: the best rate at which the model alone evaluates ready batches, and the engine's share of it."""

from __future__ import annotations

import copy
import time
from functools import partial

import pandas as pd
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from approxgrad.gradients.evaluating.batching import LARGEST_BATCH
from approxgrad.gradients.evaluating.checks import Model
from bench.peers import chosen_batch, engine, looked_at, set_allocator
from bench.subjects import Subject, some_features
from bench.timing import Work, interleaved, rates, synchronise

FORMATS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
ENGINE, COMPILED = "engine", "engine, compiled"


def share_of_ceiling(
    subject: Subject, largest_seconds: float, compiled: bool, repeats: int, seconds: float
) -> pd.DataFrame:
    """Sweep batch sizes and memory formats of the model alone, in turns with the engine.

    Batches that should take longer than `largest_seconds` are not tried. If `compiled`, the engine is timed with the
    compiled model too, which the ceiling does not know.

    Returns
    -------
    DataFrame
        One row for each batch size and memory format, and for the engine: ``model``, ``way``, ``batch_size``,
        ``median``, ``min`` and ``max`` (evaluations per second), ``share`` (of the best median of the sweep) and
        ``gigaflops`` (at the median).
    """
    set_allocator(own=True)
    device = subject.images.device
    ready = looked_at(subject.model, subject.images)
    size = chosen_batch(ready, subject.images)
    models = {name: copy.deepcopy(subject.model).to(memory_format=layout) for name, layout in FORMATS.items()}
    ways: dict[str, Work] = {}
    sizes: dict[str, int] = {}
    for name, model in models.items():
        count = 16
        while count <= LARGEST_BATCH:
            work = partial(dense, model, torch.randn(count, *subject.images.shape[1:], device=device))
            ways[f"{name} {count}"], sizes[f"{name} {count}"] = work, count
            start = time.perf_counter()
            work()
            synchronise(device)
            if time.perf_counter() - start > largest_seconds / 2:
                break
            count *= 2
    # As many evaluations as fill whole batches, and no fewer than an image has if the time allows it.
    features = some_features(subject, max(size, min(subject.features, 2 * max(sizes.values()))))
    ways[ENGINE], sizes[ENGINE] = partial(_engine, ready, subject.images, features), size
    if compiled:
        fused = looked_at(subject.compiled, subject.images)
        ways[COMPILED] = partial(_engine, fused, subject.images, features)
        sizes[COMPILED] = chosen_batch(fused, subject.images)
    table = rates(interleaved(ways, repeats, seconds, device))
    best = table.loc[~table["way"].isin([ENGINE, COMPILED]), "median"].max()
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        subject.model(subject.images[:1])
    return pd.DataFrame(
        {
            "model": subject.name,
            "way": [way if way in (ENGINE, COMPILED) else way.partition(" ")[0] for way in table["way"]],
            "batch_size": table["way"].map(sizes),
            **{column: table[column] for column in ("median", "min", "max")},
            "share": table["median"] / best,
            "gigaflops": table["median"] * counter.get_total_flops() / 1e9,
        }
    )


def matrix_product_rate(device: torch.device, side: int, repeats: int, seconds: float) -> float:
    """Return the billions of float32 operations per second of a large matrix product (median)."""
    left, right = torch.randn(side, side, device=device), torch.randn(side, side, device=device)

    def product() -> int:
        left @ right
        return 2 * side**3

    return float(rates(interleaved({"product": product}, repeats, seconds, device))["median"].iloc[0]) / 1e9


def dense(model: nn.Module, batch: torch.Tensor) -> int:
    """Evaluate a ready batch, and return its size."""
    with torch.inference_mode():
        model(batch)
    return len(batch)


def _engine(model: Model, images: torch.Tensor, features: torch.Tensor) -> int:
    engine(model, images, features)
    return 1 + len(features)
