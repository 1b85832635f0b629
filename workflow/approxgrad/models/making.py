"""The models of a study: trained, fitted with weights from elsewhere, or only opened; checked, measured and saved."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from approxgrad.gradients.rows import check_rows as check_row_by_row
from approxgrad.models.evaluating import evaluated, seed_all
from approxgrad.models.kind import EVALUATION, ModelError
from approxgrad.models.model_files import build_model, save_model
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
    check_rows: bool = True,
    batch_size: int | None = None,
    bar: tqdm[Any] | None = None,
) -> tuple[TrainingResult, dict[str, float]]:
    """Train a model, save it and return how it went, with its measures on the test rows.

    What can be refused before training, or after its first step, is not refused only after it.

    Parameters
    ----------
    path : path
        Where the weights go.
    description : dict
        Of the model: :func:`approxgrad.models.model_files.save_model`.
    parts : dict of str to Split
        ``train``, ``validation`` and ``test``.
    options : dict
        Of :func:`approxgrad.models.training.train`.
    device : torch.device
        Where to train.
    seed : int
        Of the first weights and of training.
    check_rows : bool
        Whether rows must be independent and repeatable: :func:`approxgrad.gradients.rows.check_rows`.
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
    model = build_model(**description).to(device)
    inputs = some_inputs(parts["test"], device)
    _check(model, inputs, check_rows, batch_size)
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
    _check(model, inputs, check_rows, batch_size)
    save_model(path, model, description, inputs=inputs)
    return result, measures


def fitted_model(
    path: Path | str,
    description: dict[str, Any],
    weights: dict[str, Any],
    source: str,
    test: Split,
    device: torch.device,
    *,
    check_rows: bool = True,
    batch_size: int | None = None,
) -> dict[str, float]:
    """Fit weights from elsewhere to a model, save it and return its measures on the test rows.

    Parameters
    ----------
    path, description, device, check_rows, batch_size
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
    model = build_model(**description)
    fit_weights(model, weights, source)
    model.to(device)
    measures = measured_model(model, test, device, check_rows=check_rows, batch_size=batch_size)
    save_model(path, model, description, inputs=some_inputs(test, device))
    return measures


def measured_model(
    model: Callable[[Tensor], Tensor],
    test: Split,
    device: torch.device,
    *,
    check_rows: bool = True,
    batch_size: int | None = None,
) -> dict[str, float]:
    """Return the measures of a model on the test rows.

    Parameters
    ----------
    model : callable
        From inputs (N, ...) to outputs (N, outputs).
    test, device, check_rows, batch_size
        As for :func:`fitted_model`.

    Raises
    ------
    ModelError, RowError
        If the model fails, its loss is not finite, or it fails a check.
    """
    measures = evaluate(model, test, device, batch_size)
    if not math.isfinite(measures["loss"]):
        raise ModelError(f"model: the test loss is {measures['loss']}, expected outputs that are finite")
    _check(model, some_inputs(test, device), check_rows, batch_size)
    return measures


def looks(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return how jobs evaluate a model, from its entry in the configuration; its weights do not depend on it."""
    return {name: entry[name] for name in EVALUATION if name in entry}


def _check(model: Callable[[Tensor], Tensor], inputs: Tensor, wanted: bool, batch_size: int | None) -> None:
    if wanted:
        with evaluated(model):
            check_row_by_row(model, inputs, batch_size=batch_size)
