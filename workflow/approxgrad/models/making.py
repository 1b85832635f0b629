"""The models of a study: trained, fitted with weights from elsewhere, made from others, or only opened; all checked.

In all functions `description` is what :func:`approxgrad.models.saved.save_model` takes, `check_rows` says whether
rows must be independent and repeatable (:func:`.rows.check_rows`), and `batch_size` is the number
of rows that a model is evaluated with at once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from approxgrad.gradients.evaluating import rows
from approxgrad.models.evaluating import evaluated, seed_all
from approxgrad.models.kind import EVALUATION, ModelError, ModelKind
from approxgrad.models.model_files import build_model
from approxgrad.models.saved import save_model, some_inputs, try_saving
from approxgrad.models.training import TrainingResult, evaluate, train
from approxgrad.models.trainings import entry_of
from approxgrad.models.weights import fit_weights
from approxgrad.storage.files import write_atomically
from approxgrad.storage.splits import Split


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

    Most faults of a model are found before training, or after its first step.

    Parameters
    ----------
    path : path
        Where the weights go.
    description, check_rows, batch_size
        See the module.
    parts : dict of str to Split
        ``train``, ``validation`` and ``test``.
    options, device, bar
        As for :func:`approxgrad.models.training.train`.
    seed : int
        Of the first weights and of training.

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
) -> tuple[dict[str, float], str]:
    """Fit weights from elsewhere to a model, save it and return its measures on the test rows.

    Also return the line of :func:`approxgrad.models.weights.fit_weights`, which describes `weights` and `source`; the
    other arguments are those of :func:`trained_model`. Raises a ModelError, RowError or OSError if the weights do not
    fit, or the model cannot be saved and loaded again or fails a check.
    """
    model = build_model(**description)
    note = fit_weights(model, weights, source)
    measures = measured_model(model.to(device), test, device, check_rows=check_rows, batch_size=batch_size)
    save_model(path, model, description, inputs=some_inputs(test, device))
    return measures, note


def made_model(
    path: Path | str,
    kind: ModelKind,
    test: Split,
    device: torch.device,
    *,
    train: Split | None = None,
    source: Path | str | None = None,
    seed: int,
    check_rows: bool = True,
    batch_size: int | None = None,
) -> tuple[dict[str, Any], dict[str, float]]:
    """Make the file of a model and return what is known about it, with the model's measures on the test rows.

    The `kind` makes it at `path` from `train`, `source` and `seed`: :meth:`approxgrad.models.kind.ModelKind.make`.
    Raises a ModelError, RowError or OSError if the file cannot be made or opened, or the model fails a check.
    """
    known: dict[str, Any] = {}
    shape, outputs = tuple(test.feature_shape), test.outputs
    weights = Path(source) if source else None

    def write(temporary: Path) -> None:
        known.update(kind.make(temporary, shape, outputs, train=train, source=weights, seed=seed))

    write_atomically(path, write)
    model = kind.open(shape, outputs, device, torch.float32, file=Path(path))
    return known, measured_model(model, test, device, check_rows=check_rows, batch_size=batch_size)


def measured_model(
    model: Callable[[Tensor], Tensor],
    test: Split,
    device: torch.device,
    *,
    check_rows: bool = True,
    batch_size: int | None = None,
) -> dict[str, float]:
    """Return the measures of a callable, from inputs (N, ...) to outputs (N, outputs), on the test rows.

    Raises a ModelError or RowError if the model fails, its loss is not finite, or it fails a check.
    """
    measures = evaluate(model, test, device, batch_size)
    if not math.isfinite(measures["loss"]):
        raise ModelError(f"model: the test loss is {measures['loss']}, expected outputs that are finite")
    _check(model, some_inputs(test, device), check_rows, batch_size)
    return measures


def evaluated_as(models: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return the options of a model entry that say how jobs evaluate it; its weights do not depend on them."""
    entry = entry_of(models, name)
    return {name: entry[name] for name in EVALUATION if name in entry}


def _check(model: Callable[[Tensor], Tensor], inputs: Tensor, wanted: bool, batch_size: int | None) -> None:
    if wanted:
        with evaluated(model):
            rows.check_rows(model, inputs, batch_size=batch_size)
