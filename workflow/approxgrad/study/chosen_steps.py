"""The choice of a step for one model of a study, made once for all cells and shards that take it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from approxgrad.gradients.evaluating.batching import memory_budget
from approxgrad.gradients.evaluating.checks import Model
from approxgrad.gradients.evaluating.evaluated import BatchedGradient
from approxgrad.gradients.evaluating.wrapping import ModelWrapper
from approxgrad.gradients.source import source_of
from approxgrad.models.opening import recorded
from approxgrad.steps.choice import StepChoice, choose_step
from approxgrad.study.subjects import (
    MEBIBYTE,
    baseline_values,
    conditions,
    explained_target,
    feature_spread,
    read_subject,
)


class InUnits(ModelWrapper):
    """A model of inputs in units of their own, a tensor that broadcasts to the inputs."""

    same_outputs = False

    def __init__(self, model: Model, unit: torch.Tensor) -> None:
        super().__init__(model)
        self.unit = unit

    def __call__(self, inputs: torch.Tensor, *arguments: Any) -> Any:
        """Evaluate the model."""
        return self.__wrapped__(inputs * self.unit, *arguments)


def choose_model_step(
    *,
    model: Mapping[str, Any],
    weights: Path | str | None,
    test: Path | str,
    training: Path | str | None,
    path_options: Mapping[str, Any],
    gradient: Mapping[str, Any],
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
    model, weights, test, training, gradient, sample_seed, memory_mib, device, batch_size, check_rows
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
    wanted = source_of(gradient)
    subject = read_subject(model, weights, test, sample_seed, device, wanted.dtype, check_rows=check_rows)
    budget = memory_budget(device) if memory_mib is None else memory_mib * MEBIBYTE
    # Whatever the step, the model is evaluated in the same way.
    source = BatchedGradient(batch_size, memory_budget=budget)
    ready: Any = subject.prepared(subject.network, source)
    count = min(samples, len(subject.split.target))
    part = subject.split.rows(subject.rows(count))
    path: dict[str, Any] = {}
    if path_options:
        start = baseline_values(path_options["baseline"], training, part.feature_shape, test)
        baseline = torch.from_numpy(start)
        path = {"baselines": baseline.to(device), "n_steps": path_options["n_steps"]}
    points, model_in_units = subject.points(part), ready
    if wanted.kind.needs_spread:
        unit = feature_spread(training, part.feature_shape).to(points)
        points, model_in_units = points / unit, InUnits(ready, unit)
        path |= {"baselines": path["baselines"] / unit} if path else {}
    choice = choose_step(
        model_in_units,
        points,
        explained_target(part),
        **wanted.kind.choice,
        **path,
        seed=seed,
        batch_size=batch_size or ready.rows_at_once(device, budget),
    )
    return choice, {
        "dtype": wanted.dtype,
        "path": dict(path_options),
        "samples": count,
        "check_evaluations": ready.evaluations,
        **conditions(device),
        **recorded(subject.network),
    }
