"""What a cell evaluates: its model as its gradient source takes it, from the baseline of its method."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from approxgrad.gradients.evaluating.prepared import PreparedModel
from approxgrad.gradients.source import Source
from approxgrad.methods.method import Method
from approxgrad.models.compilation import CompiledModel
from approxgrad.study.made_sources import MadeSource, make_source
from approxgrad.study.subjects import Subject, baseline_values


@dataclass(frozen=True)
class ReadyCell:
    """What attributions of a cell are made with.

    Attributes
    ----------
    made : MadeSource
        The gradient source.
    model : PreparedModel
        The model, looked at with test rows.
    baselines : Tensor or None
        Where the paths of the method begin, of the shape of an input or broadcast to it.
    evaluations : int
        Evaluations for each row.
    compiled : bool
        Whether the model is compiled.
    """

    made: MadeSource
    model: PreparedModel
    baselines: torch.Tensor | None
    evaluations: int
    compiled: bool


def ready_cell(
    method: Method,
    source: Source,
    subject: Subject,
    *,
    test: Path | str,
    training: Path | str | None,
    choice: Path | str | None,
    spectrum: Path | str | None,
    batch_size: int | None,
    memory_mib: int | None,
    seed: int,
    compile_model: bool,
) -> ReadyCell:
    """Return what a cell needs; the arguments and errors are those of :func:`approxgrad.study.cells.attribute_cell`."""
    shape, baselines = subject.split.feature_shape, None
    if hasattr(method, "baseline"):
        values = baseline_values(method.baseline, training, shape, test)
        baselines = torch.from_numpy(values).to(subject.device)
    made = make_source(
        source,
        shape,
        training=training,
        choice=choice,
        spectrum=spectrum,
        batch_size=batch_size,
        memory_mib=memory_mib,
        seed=seed,
    )
    network: Any = subject.network
    compiled = compile_model and not source.is_exact and isinstance(network, torch.nn.Module)
    model = subject.prepared(CompiledModel(network) if compiled else network, made.gradient)
    evaluations = method.evaluations(source, shape, 1 if baselines is None else len(baselines.unique()))
    return ReadyCell(made, model, baselines, evaluations, compiled)
