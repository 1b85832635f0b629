"""What a job evaluates: a model in some precision, at drawn test rows, perhaps along paths from a baseline to them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from approxgrad.gradients.rows import check_rows
from approxgrad.models.architectures import load_model
from approxgrad.seeds import draw_samples
from approxgrad.storage.tables import Split, read_mean_input

MEBIBYTE = 2**20

CHECKED_ROWS = 8
"""Test rows, the first that are drawn, among which those are that the model is checked with."""


def loaded_network(weights: Path | str, device: torch.device, dtype: str) -> torch.nn.Module:
    """Return a model in a precision, ``float32`` or ``float64``."""
    return load_model(weights, device).to(getattr(torch, dtype))


def checked_network(
    network: torch.nn.Module,
    split: Split,
    sample_seed: int,
    device: torch.device,
    dtype: str,
    batch_size: int | None,
) -> int:
    """Check that the rows of a model are independent, repeatable and not random; return the evaluations.

    The same rows are taken whichever share of the samples a job has.

    Raises
    ------
    ValueError
        If they are not; see :func:`approxgrad.gradients.rows.check_rows`.
    """
    rows = draw_samples(len(split.target), min(CHECKED_ROWS, len(split.target)), sample_seed)
    return check_rows(network, model_points(split.rows(rows), device, dtype), batch_size=batch_size)


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
