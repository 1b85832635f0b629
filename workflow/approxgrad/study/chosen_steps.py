"""The choice of a step for one model of a study, made once for all cells and shards that take it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from approxgrad import __version__
from approxgrad.gradients.batching import memory_budget
from approxgrad.seeds import draw_samples
from approxgrad.steps.choice import StepChoice, choose_step
from approxgrad.storage.tables import read_split
from approxgrad.study.subjects import (
    MEBIBYTE,
    explained_target,
    gradient_source,
    loaded_network,
    model_points,
    path_arguments,
    prepared_network,
)


def choose_model_step(
    *,
    weights: Path | str,
    test: Path | str,
    training: Path | str | None,
    path_options: Mapping[str, Any],
    scheme: str,
    dtype: str,
    samples: int,
    sample_seed: int,
    seed: int,
    memory_mib: int | None,
    device: torch.device,
    batch_size: int | None = None,
    check_rows: bool = True,
) -> tuple[StepChoice, dict[str, Any]]:
    """Return a step for the drawn rows, or for the paths to them, and the metadata of its table.

    Parameters
    ----------
    weights, test, training, scheme, dtype, sample_seed, memory_mib, device, batch_size, check_rows
        As in :func:`approxgrad.study.cells.attribute_cell`.
    path_options : mapping
        ``baseline`` and ``n_steps`` of a path; empty for the inputs themselves.
    samples : int
        Rows that the step is chosen with; all test rows if there are fewer.
    seed : int
        Of all that :func:`approxgrad.choose_step` draws.

    Raises
    ------
    ValueError
        If a table or model cannot be read, or the model's rows are not independent, repeatable and finite.
    """
    split = read_split(test)
    network = loaded_network(weights, device, dtype)
    budget = memory_budget(device) if memory_mib is None else memory_mib * MEBIBYTE
    # Whatever the step, the model is evaluated in the same way.
    source = gradient_source(1.0, scheme, batch_size, memory_mib)
    ready = prepared_network(network, source, split, sample_seed, device, dtype, check_rows)
    count = min(samples, len(split.target))
    part = split.rows(draw_samples(len(split.target), count, sample_seed))
    points = model_points(part, device, dtype)
    choice = choose_step(
        ready,
        points,
        explained_target(part),
        scheme,
        **path_arguments(path_options, training, part.feature_shape, device),
        seed=seed,
        batch_size=batch_size or ready.rows_at_once(device, budget),
    )
    return choice, {
        "dtype": dtype,
        "path": dict(path_options),
        "samples": count,
        "check_evaluations": ready.evaluations,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "threads": torch.get_num_threads(),
        "versions": {"approxgrad": __version__, "torch": torch.__version__},
    }
