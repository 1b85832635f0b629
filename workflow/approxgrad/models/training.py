"""Training a model: seeded, deterministic, with the best state restored."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import torch
from torch import Tensor, nn
from tqdm import tqdm

from approxgrad.models.evaluating import explained
from approxgrad.storage.splits import Split
from approxgrad.storage.tables import write_table

EVALUATION_BATCH = 512


@dataclass(frozen=True)
class TrainingResult:
    """What training left behind.

    Attributes
    ----------
    curves : DataFrame
        Columns ``epoch`` (from 1), ``split``, ``metric``, ``value`` and ``best`` (the restored epoch).
    best_epoch : int
        The epoch with the lowest validation loss.
    remark : str
        What was wrong if training had to stop early.
    """

    curves: pd.DataFrame
    best_epoch: int
    remark: str = ""


def tensors(split: Split, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return model inputs, and targets of shape (N,) for classes or (N, 1) for a regression."""
    target = torch.from_numpy(np.array(split.target))
    if not split.classes:
        target = target.float().unsqueeze(1)
    return torch.from_numpy(split.model_inputs()).to(device), target.to(device)


def train(
    model: nn.Module,
    training: Split,
    validation: Split,
    options: dict[str, Any],
    device: torch.device,
    bar: tqdm[Any] | None = None,
    *,
    batch_size: int | None = None,
    begun: Callable[[], None] | None = None,
) -> TrainingResult:
    """Train a model in place and restore the state of the epoch with the lowest validation loss.

    Adam minimises the cross-entropy (classes) or the mean squared error (regression). The order of the rows and dropout
    follow torch's random state.

    Parameters
    ----------
    model : Module
        On `device`.
    training, validation : Split
        Rows to learn from, and rows that choose the epoch.
    options : dict
        The fields of :class:`approxgrad.models.origins.Training` that are set.
    device : torch.device
        Where to train.
    bar : tqdm, optional
        Moved by one for every epoch.
    batch_size : int, optional
        Rows that the model is evaluated with at once.
    begun : callable, optional
        Called after the first gradient step.

    Raises
    ------
    ValueError
        If the loss is not finite in the first epoch.
    ModelError
        If the model fails, or cannot be trained.
    """
    inputs, target = tensors(training, device)
    loss_function = nn.CrossEntropyLoss() if training.classes else nn.MSELoss()
    with explained("training: the model's parameters cannot be optimised"):
        optimiser = torch.optim.Adam(model.parameters(), lr=options["learning_rate"], fused=True)
    decay = options.get("decay", {"factor": 1.0, "every": options["epochs"]})
    schedule = torch.optim.lr_scheduler.StepLR(optimiser, decay["every"], decay["factor"])
    history: list[dict[str, Any]] = []
    remark = ""
    best_loss, best_epoch, best_state = np.inf, 0, copy.deepcopy(model.state_dict())
    for epoch in range(1, options["epochs"] + 1):
        model.train()
        # Batches of nearly equal size: batch normalisation cannot be trained on a last batch of one row.
        batches = -(-len(inputs) // options["batch_size"])
        for rows in torch.randperm(len(inputs)).tensor_split(batches):
            optimiser.zero_grad(set_to_none=True)
            with explained(f"training: the model fails for {len(rows)} rows of shape {tuple(inputs.shape[1:])}"):
                loss = loss_function(model(inputs[rows]), target[rows])
            with explained("training: there is no gradient of the loss"):
                loss.backward()
                optimiser.step()
            if begun is not None:
                begun()
                begun = None
        schedule.step()
        measures = {
            split: evaluate(model, part, device, batch_size)
            for split, part in (("train", training), ("validation", validation))
        }
        # In training mode, because some networks fold weights for evaluation, and drop what they keep for it.
        model.train()
        current = measures["validation"]
        if not np.isfinite(current["loss"]):
            remark = f"the validation loss is {current['loss']} in epoch {epoch}"
            if not best_epoch:
                raise ValueError(f"training: {remark}")
            break
        history += [
            {"epoch": epoch, "split": split, "metric": metric, "value": values[metric]}
            for split, values in measures.items()
            for metric in ("loss", "accuracy" if training.classes else "r2")
        ]
        if current["loss"] < best_loss:
            best_loss, best_epoch, best_state = current["loss"], epoch, copy.deepcopy(model.state_dict())
        if bar is not None:
            bar.update()
        if epoch - best_epoch >= options.get("patience", options["epochs"]):
            break
    model.load_state_dict(best_state)
    model.eval()
    curves = pd.DataFrame(history)
    curves["best"] = curves["epoch"] == best_epoch
    return TrainingResult(curves, best_epoch, remark)


def measure_table(path: Path | str, measures: dict[str, float], rows: int, metadata: dict[str, Any]) -> None:
    """Write measures on test rows: columns ``metric``, ``value`` (null if not finite) and ``n``, the number of rows."""
    values = [value if np.isfinite(value) else None for value in measures.values()]
    columns = {"metric": list(measures), "value": pa.array(values, pa.float64()), "n": [rows] * len(measures)}
    write_table(path, pa.table(columns), metadata)


def evaluate(
    model: Callable[[Tensor], Tensor], split: Split, device: torch.device, batch_size: int | None = None
) -> dict[str, float]:
    """Return the measures of a model on a part of a data set.

    Parameters
    ----------
    model : callable
        A module is left in evaluation mode.
    split : Split
        The part.
    device : torch.device
        Where the model is.
    batch_size : int, optional
        Rows at once, for a model whose outputs depend on them.

    Returns
    -------
    dict of str to float
        Classes: ``loss`` (mean cross-entropy) and ``accuracy``, for which outputs that are not finite are wrong.
        Outputs that are probabilities in every row are taken for these, not smaller than the rounding of their type.
        Regression: ``loss`` (mean squared error), ``root_mean_squared_error`` and ``r2``; where true effects are known
        also ``possible_r2``, that of their sum, which nothing but noise keeps from 1.

    Raises
    ------
    ModelError
        If the model fails.
    """
    if isinstance(model, nn.Module):
        model.eval()
    inputs, target = tensors(split, device)
    # Not inference mode: a network cannot train with tensors that it keeps from there.
    with torch.no_grad():
        with explained(f"model: fails for rows of shape {tuple(inputs.shape[1:])}"):
            outputs = torch.cat([model(batch) for batch in inputs.split(batch_size or EVALUATION_BATCH)])
        if split.classes:
            right = (outputs.argmax(dim=1) == target) & outputs.isfinite().all(dim=1)
            return {
                "loss": float(nn.functional.cross_entropy(_logits(outputs), target)),
                "accuracy": float(right.double().mean()),
            }
        residual, spread = (outputs - target).double(), (target - target.mean()).double()
        mean_squared_error = float((residual**2).mean())
        return {
            "loss": mean_squared_error,
            "root_mean_squared_error": mean_squared_error**0.5,
            "r2": 1 - float((residual**2).sum() / (spread**2).sum()),
            **_possible(split),
        }


def _possible(split: Split) -> dict[str, float]:
    """Return the share of the target's variance that its true effects explain, for a constant that fits best."""
    if split.effects is None or np.ptp(split.target) == 0:
        return {}
    noise = split.target.astype(float) - split.effects.sum(axis=1, dtype=float)
    return {"possible_r2": 1 - float(noise.var() / split.target.var(dtype=float))}


def _logits(outputs: Tensor) -> Tensor:
    """Return logits of outputs that may be probabilities, such as those of a forest."""
    nothing = torch.finfo(outputs.dtype).eps
    whole = (outputs.sum(dim=1) - 1).abs() <= 1e-4
    if bool(whole.all()) and bool((outputs >= 0).all()):
        return outputs.clamp(min=nothing).log()
    return outputs
