"""The models of a study: trained here or fitted with weights from elsewhere, checked, measured and saved."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from approxgrad.gradients.rows import check_rows
from approxgrad.models.architectures import build_model, save_model
from approxgrad.models.factories import ModelError, evaluated
from approxgrad.models.randomness import seed_all
from approxgrad.models.saved import some_inputs, try_saving
from approxgrad.models.training import TrainingResult, evaluate, train
from approxgrad.models.weights import fit_weights
from approxgrad.storage.tables import Split


def trained_model(
    path: Path | str,
    description: dict[str, Any],
    parts: dict[str, Split],
    options: dict[str, Any],
    device: torch.device,
    *,
    seed: int,
    rows: bool = True,
    batch_size: int | None = None,
    bar: tqdm[Any] | None = None,
) -> tuple[TrainingResult, dict[str, float]]:
    """Train a model, save it and return how it went, with its measures on the test rows.

    What would be refused after training is refused before it, or after its first step, as far as it can be known.

    Parameters
    ----------
    path : path
        Where the weights go.
    description : dict
        Of the model, as :func:`approxgrad.models.architectures.save_model` takes it.
    parts : dict of str to Split
        ``train``, ``validation`` and ``test``.
    options : dict
        Of :func:`approxgrad.models.training.train`.
    device : torch.device
        Where to train.
    seed : int
        Decides the first weights and all that is random in training.
    rows : bool
        Whether rows must be independent, repeatable and not random, see :func:`approxgrad.gradients.rows.check_rows`.
    batch_size : int, optional
        Rows that the model is evaluated with at once.
    bar : tqdm, optional
        Moved by one for every epoch.

    Raises
    ------
    ModelError, RowError, OSError
        If the model cannot be built, trained, saved or loaded again, or fails a check.
    """
    seed_all(seed)
    model = build_model(**_architecture(description)).to(device)
    inputs = some_inputs(parts["test"], device)
    _check(model, inputs, rows, batch_size)
    with evaluated(model):
        evaluate(model, parts["test"], device, batch_size)
    result = train(
        model,
        parts["train"],
        parts["validation"],
        options,
        device,
        bar,
        batch_size=batch_size,
        begun=lambda: try_saving(path, model, description, inputs),
    )
    measures = evaluate(model, parts["test"], device, batch_size)
    _save(path, model, description, inputs, rows, batch_size)
    return result, measures


def fitted_model(
    path: Path | str,
    description: dict[str, Any],
    weights: dict[str, Any],
    source: str,
    test: Split,
    device: torch.device,
    *,
    rows: bool = True,
    batch_size: int | None = None,
) -> dict[str, float]:
    """Fit weights from elsewhere to a model, save it and return its measures on the test rows.

    Parameters
    ----------
    path, description, device, rows, batch_size
        As for :func:`trained_model`.
    weights : dict
        As :func:`approxgrad.models.weights.read_weights` returns them.
    source : str
        Where they come from, for messages.
    test : Split
        The test rows.

    Raises
    ------
    ModelError, RowError, OSError
        If the weights do not fit, or the model cannot be saved and loaded again or fails a check.
    """
    model = build_model(**_architecture(description))
    fit_weights(model, weights, source)
    model.to(device)
    measures = evaluate(model, test, device, batch_size)
    if not math.isfinite(measures["loss"]):
        raise ModelError(f"model: the test loss is {measures['loss']}, expected outputs that are finite")
    _save(path, model, description, some_inputs(test, device), rows, batch_size)
    return measures


def _architecture(description: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in description.items() if key != "provenance"}


def _save(
    path: Path | str,
    model: nn.Module,
    description: dict[str, Any],
    inputs: Tensor,
    rows: bool,
    batch_size: int | None,
) -> None:
    _check(model, inputs, rows, batch_size)
    save_model(path, model, description, inputs=inputs)


def looks(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return how a model is looked at, from its entry in the configuration, on which its weights do not depend."""
    return {"rows": options.get("check_rows", True), "batch_size": options.get("batch_size")}


def _check(model: nn.Module, inputs: Tensor, rows: bool, batch_size: int | None) -> None:
    if rows:
        with evaluated(model):
            check_rows(model, inputs, batch_size=batch_size)
