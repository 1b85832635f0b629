"""One cell of a study, or a shard of it: attribute drawn test rows with one model, method and gradient source."""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from approxgrad.gradients.evaluating.batching import memory_budget
from approxgrad.gradients.evaluating.counting import CountedModel
from approxgrad.gradients.precisions import stored_in
from approxgrad.gradients.source import Source, source_of
from approxgrad.methods.attribution import attribute_with
from approxgrad.methods.method import Method, method_of
from approxgrad.methods.path_ends import explained_outputs, path_ends
from approxgrad.models.opening import recorded
from approxgrad.progress import progress_bar
from approxgrad.storage.attributions import Attributions
from approxgrad.study.derived import rounding_ratios, rounding_step, source_columns
from approxgrad.study.ready_cells import ready_cell
from approxgrad.study.shards import WHOLE, Shard, merged, shard_blocks
from approxgrad.study.subjects import (
    Subject,
    conditions,
    explained_target,
    read_subject,
)


def attribute_cell(
    *,
    model: Mapping[str, Any],
    weights: Path | str | None,
    test: Path | str,
    training: Path | str | None,
    method: Mapping[str, Any],
    gradient: Mapping[str, Any],
    samples: int,
    sample_seed: int,
    memory_mib: int | None,
    device: torch.device,
    seed: int = 0,
    choice: Path | str | None = None,
    spectrum: Path | str | None = None,
    batch_size: int | None = None,
    check_rows: bool = True,
    compile_model: bool = False,
    shard: Shard | None = None,
) -> tuple[Attributions, float]:
    """Return the attributions of one cell, and the seconds that they took.

    Parameters
    ----------
    model : mapping
        ``kind`` of the model, and the options that jobs need to open it.
    weights, test : path
        The weight file, for kinds that have one, and the test split.
    training : path or None
        The training split, needed for the baseline ``mean`` and for steps in spreads.
    method : mapping
        ``attribution``, the name of the method, and its options.
    gradient : mapping
        The gradient source: :attr:`approxgrad.gradients.source.Source.entry`.
    samples, sample_seed : int
        How many test rows are drawn, and with which seed.
    memory_mib : int or None
        Memory that the attribution may occupy besides model, inputs and result.
    device : torch.device
        Where the model runs.
    seed : int
        For whatever the gradient source draws.
    choice : path, optional
        Table with the chosen step, needed for ``auto``: :func:`approxgrad.study.chosen_steps.choose_model_step`.
    spectrum : path, optional
        Table of the spectrum, needed for sources with pilots: :mod:`approxgrad.gradients.directional.spectrum_tables`.
    batch_size : int, optional
        Rows for each evaluation of the model; by default as many as fit into the memory.
    check_rows : bool
        Whether it is checked that the model's rows are independent, repeatable and not random.
    compile_model : bool
        Whether sources that need evaluations only are given an :class:`approxgrad.CompiledModel`.
    shard : pair of int, optional
        Number of a shard, from 1 on, and the number of shards, for its samples only. Its metadata hold
        ``rounding_ratios`` instead of their median, for :func:`approxgrad.study.shards.gather`.

    Raises
    ------
    ValueError
        If there are too few test rows, or a table or model cannot be read, or the model's rows are not independent
        and repeatable.
    """
    source, own = source_of(gradient), method_of(method)
    subject = read_subject(model, weights, test, sample_seed, device, source.dtype, check_rows=check_rows)
    blocks = shard_blocks(samples, own.evaluations(source, subject.split.feature_shape), shard or WHOLE)
    first, last = (blocks[0].start, blocks[-1].stop) if blocks else (0, 0)
    rows = subject.rows(samples)[first:last]
    part = subject.split.rows(rows)
    inputs = part.model_inputs()
    ready = ready_cell(
        own,
        source,
        subject,
        test=test,
        training=training,
        choice=choice,
        spectrum=spectrum,
        batch_size=batch_size,
        memory_mib=memory_mib,
        seed=seed,
        compile_model=compile_model,
    )
    made, setting, baselines = ready.made.gradient, ready.made.setting, ready.baselines
    if setting is None and source.kind.along_path and source.kind.setting_name:
        setting = 1 / own.points
    work = _Work(
        own,
        source,
        made,
        subject.network,
        baselines,
        batch_size or ready.model.rows_at_once(device, memory_budget(device)),
    )
    done = _Results(np.empty((len(rows), subject.features), stored_in(source.dtype)))
    if own.path:
        done.output, done.baseline_output = np.empty(len(rows)), np.empty(len(rows))
    elif source.is_exact:
        done.output = np.empty(len(rows))
    with progress_bar(len(rows) * ready.evaluations, f"{own.label}, {source.name}", "evaluation") as bar:
        counted = CountedModel(ready.model, bar)
        for block in blocks:
            place = slice(block.start - first, block.stop - first)
            points = torch.from_numpy(inputs[place]).to(device, getattr(torch, source.dtype))
            _attribute_block(done, work, place, counted, points, explained_target(part, place))
    metadata = {
        "feature_shape": list(part.feature_shape),
        "normalisation": {"mean": list(part.mean), "std": list(part.std)},
        **part.words,
        "method": dict(method),
        "signed": own.signed,
        # For what the attribution would be if the model were the truth.
        **(
            {"baseline_values": baselines.flatten().tolist()}
            if baselines is not None and part.effects is not None
            else {}
        ),
        "gradient": source.name,
        **source_columns(source, setting, ready.evaluations),
        "compiled": ready.compiled,
        "rounding_ratios": done.ratios,
        "predicted": done.predicted,
        "rounding_step": rounding_step(
            source, setting, ready.made.spread, _increments(own, subject, samples, baselines)
        ),
        "step_choice": ready.made.chosen,
        "model_evaluations": counted.evaluations,
        "check_evaluations": getattr(made, "check_evaluations", ready.model.evaluations),
        "lost_steps": getattr(made, "lost_steps", 0),
        "batch_size": min(done.batch_sizes, default=None),
        **_propagation(made, source.dtype),
        **conditions(device),
        **recorded(subject.network),
    }
    attributions = Attributions(
        sample=rows,
        attribution=done.maps,
        inputs=inputs.reshape(len(rows), subject.features),
        target=part.target if part.classes else None,
        truth=part.effects,
        metadata=merged([metadata]) if shard is None else metadata,
        output=done.output,
        baseline_output=done.baseline_output,
        origin=part.origin,
    )
    return attributions, done.seconds


def _increments(method: Method, subject: Subject, samples: int, baselines: torch.Tensor | None) -> NDArray[np.float64]:
    """Return the increments of the path of each of the drawn rows, whichever a shard has; none without a path."""
    if baselines is None or not method.path_steps:
        return np.empty((0, subject.features))
    ends = subject.split.rows(subject.rows(samples)).model_inputs()
    return (ends - baselines.cpu().numpy()).reshape(samples, -1).astype(float) / method.points


def _propagation(made: Any, dtype: str) -> dict[str, Any]:
    """Return what is known of propagated differences; nothing for other sources."""
    if getattr(made, "used_evaluation", None) != "propagated":
        return {}
    return {
        "evaluation": made.used_evaluation,
        "saved_operations": made.saved_operations,
        "without_rule": list(made.without_rule),
        "base_dtype": "float64",
        "change_dtype": getattr(made, "arithmetic", None) or dtype,
    }


@dataclass
class _Results:
    """What the blocks of a cell fill, row by row, and what they add to."""

    maps: NDArray[np.floating[Any]]
    output: NDArray[np.float64] | None = None
    baseline_output: NDArray[np.float64] | None = None
    ratios: list[float] = field(default_factory=list)
    predicted: dict[str, list[list[float | None]]] = field(default_factory=dict)
    batch_sizes: list[int] = field(default_factory=list)
    seconds: float = 0.0


@dataclass(frozen=True)
class _Work:
    """What all blocks of a cell have in common; `size` is the number of ends of paths that are evaluated at once."""

    method: Method
    source: Source
    gradient: Any
    network: Any
    baselines: torch.Tensor | None
    size: int


def _attribute_block(
    done: _Results, work: _Work, rows: slice, model: CountedModel, points: torch.Tensor, target: torch.Tensor | None
) -> None:
    """Attribute the samples of one block, by themselves; `model` counts the evaluations of the network."""
    start = time.perf_counter()
    with warnings.catch_warnings():
        # Counted, recorded with the result, and told in the summary.
        warnings.filterwarnings("ignore", "step: lost", UserWarning)
        # Predictions are recorded with the result, and drawn.
        warnings.filterwarnings("ignore", "budget: .* of little use", UserWarning)
        found = attribute_with(work.method, model, points, target, work.gradient, work.baselines)
    done.seconds += time.perf_counter() - start
    # Every number of 16 bits is one of 32.
    done.maps[rows] = maps = found.flatten(1).cpu().to(getattr(torch, stored_in(work.source.dtype))).numpy()
    done.batch_sizes.append(getattr(work.gradient, "used_batch_size", None) or 1)
    factors = work.method.factor(points, 0 if work.baselines is None else work.baselines)
    if work.source.kind.predicts:
        for name, values in work.gradient.predictions(work.method, points, factors).items():
            rows_of_three = torch.stack(values, dim=1).tolist()
            own = [[value if isfinite(value) else None for value in three] for three in rows_of_three]
            done.predicted.setdefault(name, []).extend(own)
    # The outputs are not among the evaluations of the attribution, which does not need them.
    if work.baselines is not None and done.output is not None and done.baseline_output is not None:
        ends = path_ends(work.network, points, work.baselines, target, work.size)
        done.output[rows], done.baseline_output[rows] = ends
    elif done.output is not None:
        done.output[rows] = explained_outputs(work.network, points, target, work.size)
    if work.source.is_exact and done.output is not None:
        done.ratios += rounding_ratios(done.output[rows], factors.flatten(1).cpu().double().numpy(), maps).tolist()
