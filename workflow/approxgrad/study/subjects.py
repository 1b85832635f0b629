"""What a job evaluates: a model in some precision, at drawn test rows, perhaps along paths from a baseline to them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from approxgrad.gradients.checks import Model
from approxgrad.gradients.exact import ExactGradient
from approxgrad.gradients.finite_differences import FiniteDifference
from approxgrad.gradients.prepared import PreparedModel
from approxgrad.gradients.targets import target_indices
from approxgrad.models.architectures import load_model
from approxgrad.seeds import draw_samples
from approxgrad.storage.tables import Split, read_mean_input

MEBIBYTE = 2**20

LOOKED_AT = 8
"""Test rows, the first that are drawn, among which are those that a model is looked at with."""


def gradient_source(
    step: float | None, scheme: str, batch_size: int | None, memory_mib: int | None
) -> ExactGradient | FiniteDifference:
    """Return the source of exact gradients, or of finite differences where there is a step."""
    if step is None:
        return ExactGradient(batch_size)
    budget = None if memory_mib is None else memory_mib * MEBIBYTE
    return FiniteDifference(step, scheme, batch_size=batch_size, memory_budget=budget)


def loaded_network(weights: Path | str, device: torch.device, dtype: str) -> torch.nn.Module:
    """Return a model in a precision, ``float32`` or ``float64``."""
    return load_model(weights, device).to(getattr(torch, dtype))


def prepared_network(
    model: Model,
    source: ExactGradient | FiniteDifference,
    split: Split,
    sample_seed: int,
    device: torch.device,
    dtype: str,
    check_rows: bool,
) -> PreparedModel:
    """Return a model as a gradient source evaluates it, looked at with test rows.

    The same rows are taken whichever share of the samples a job has, so that results do not depend on shards.

    Raises
    ------
    ValueError
        If the model fails, or its rows are not independent and repeatable.
    """
    part = split.rows(draw_samples(len(split.target), min(LOOKED_AT, len(split.target)), sample_seed))
    points = model_points(part, device, dtype)
    indices = target_indices(explained_target(part), len(points), device)
    return source.prepare(model, (points,), (), indices, check_rows=check_rows)


def model_points(part: Split, device: torch.device, dtype: str) -> torch.Tensor:
    """Return the normalised features of some rows where the model is and in its precision."""
    return torch.from_numpy(part.model_inputs()).to(device, getattr(torch, dtype))


def explained_target(part: Split, rows: slice = slice(None)) -> torch.Tensor | None:
    """Return the explained output of some rows: their class, or none for a model with one output."""
    return torch.from_numpy(np.array(part.target[rows])) if part.classes else None


def path_arguments(
    options: Mapping[str, Any], training: Path | str | None, shape: tuple[int, ...], device: torch.device
) -> dict[str, Any]:
    """Return ``baselines`` and ``n_steps`` of a path for :func:`approxgrad.attribute`; nothing without a path.

    Parameters
    ----------
    options : mapping
        ``baseline`` and ``n_steps``, if there is a path.
    training, shape
        As in :func:`baseline_values`.
    device : torch.device
        Where the model runs.
    """
    if "n_steps" not in options:
        return {}
    baseline = torch.from_numpy(baseline_values(options["baseline"], training, shape))
    return {"baselines": baseline.to(device), "n_steps": options["n_steps"]}


def baseline_values(
    baseline: str | float | list[float], training: Path | str | None, shape: tuple[int, ...]
) -> NDArray[np.float32]:
    """Return a baseline in normalised features: a single number, or one for every feature.

    Parameters
    ----------
    baseline : str, float or list of float
        ``zero``, ``mean`` (of the training features), a number, or one number for each feature.
    training : path or None
        The training split, for ``mean``.
    shape : tuple of int
        Shape of one input.

    Raises
    ------
    ValueError
        If a list does not have one number for each feature.
    """
    if baseline == "mean":
        if training is None:
            raise ValueError("baseline: mean needs the training split")
        return read_mean_input(training)
    values = np.asarray(0 if baseline == "zero" else baseline, np.float32)
    if values.ndim == 0:
        return values.reshape((1,) * len(shape))
    if values.size != np.prod(shape):
        raise ValueError(f"baseline: got {values.size} numbers, expected {int(np.prod(shape))}, one for each feature")
    return values.reshape(shape)
