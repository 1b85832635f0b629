"""Sensitivity: how much a map changes if the input is moved a little.

The other measures of faithfulness take the maps as they are. Here each is computed again at moved inputs, with the
method and the gradient source that it came from.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor

from approxgrad.evaluation.frames import source_columns
from approxgrad.gradients.evaluating.counting import CountedModel
from approxgrad.gradients.source import source_of
from approxgrad.methods.attribution import attribute_with
from approxgrad.methods.method import method_of
from approxgrad.models.opening import recorded
from approxgrad.progress import progress_bar
from approxgrad.storage.attributions import Attributions, read_attributions
from approxgrad.study.ready_cells import ready_cell
from approxgrad.study.shards import shard_blocks
from approxgrad.study.subjects import Subject, conditions, explained_target, read_subject

Array = NDArray[np.float64]


def sensitivities(attributed: Callable[[Tensor], Tensor], inputs: Tensor, maps: Tensor, moves: Tensor) -> Array:
    """Return by how much each map changes at most, relative to its size.

    Parameters
    ----------
    attributed : callable
        Inputs (N, ...) to the attribution of each, of the same shape.
    inputs : Tensor
        Shape (N, ...).
    maps : Tensor
        Their attributions, of the same shape.
    moves : Tensor
        Moves of an input, of shape (K, ...), the same ones for every input.

    Returns
    -------
    ndarray
        The largest ``|a(x + m) - a(x)| / |a(x)|`` over the moves m, with Euclidean norms; NaN for a map of zeros, whose
        change has no scale. Float64, shape (N,).

    Notes
    -----
    Cost: K attributions of each input. It is captum's ``sensitivity_max`` for moves that are given.

    References
    ----------
    C.-K. Yeh et al., On the (in)fidelity and sensitivity of explanations, Advances in Neural Information Processing
    Systems 32 (2019).
    """
    own = maps.double()
    changes = torch.stack([_norms(attributed(inputs + move.to(inputs)).double() - own) for move in moves])
    sizes = _norms(own)
    return np.asarray(torch.where(sizes > 0, changes.amax(dim=0) / sizes, torch.nan).cpu().numpy())


def _norms(maps: Tensor) -> Tensor:
    return maps.flatten(1).norm(dim=1)


def drawn_moves(count: int, radius: float, shape: tuple[int, ...], seed: int) -> Tensor:
    """Return moves that are uniform in a cube: each feature by at most the radius; float32 of shape (count, ...)."""
    generator = torch.Generator().manual_seed(seed)
    return radius * (2 * torch.rand(count, *shape, generator=generator) - 1)


def sensitivity_table(
    *,
    attributions: Path | str,
    options: Mapping[str, Any],
    moves_seed: int,
    model: Mapping[str, Any],
    weights: Path | str | None,
    test: Path | str,
    training: Path | str | None,
    method: Mapping[str, Any],
    gradient: Mapping[str, Any],
    sample_seed: int,
    memory_mib: int | None,
    device: torch.device,
    seed: int = 0,
    choice: Path | str | None = None,
    spectrum: Path | str | None = None,
    batch_size: int | None = None,
    check_rows: bool = True,
    compile_model: bool = False,
) -> tuple[pa.Table, dict[str, Any]]:
    """Return the sensitivity of the maps of one cell, and what it cost.

    What is random in a source is drawn as for the cell, so that maps differ by their inputs alone.

    Parameters
    ----------
    attributions : path
        The maps of the cell.
    options : mapping
        ``samples``, the most rows that are measured, the first ones, and ``moves`` and ``radius`` of
        :class:`approxgrad.study.sections.Sensitivity`.
    moves_seed : int
        Of the moves; the same one gives all sources of a data set the same moves.
    **others
        Those of :func:`approxgrad.study.cells.attribute_cell`.

    Returns
    -------
    pyarrow.Table, dict
        The columns :data:`approxgrad.evaluation.frames.SOURCE`, ``sample`` and ``sensitivity``, null for a map of
        zeros; and ``model_evaluations`` with where they were made.

    Raises
    ------
    ValueError
        As there, and if the radius is too small to move an input in its precision.
    """
    source, own = source_of(gradient), method_of(method)
    file = read_attributions(attributions, slice(options["samples"]))
    subject = read_subject(model, weights, test, sample_seed, device, source.dtype, check_rows=check_rows)
    shape = subject.split.feature_shape
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
    moves = drawn_moves(options["moves"], options["radius"], shape, moves_seed)
    rows, found = len(file.sample), np.empty(len(file.sample))
    with progress_bar(rows * ready.evaluations * len(moves), f"{own.label}, {source.name}", "evaluation") as bar:
        counted = CountedModel(ready.model, bar)
        # The blocks of the cell, so that the kernels of the model are the same.
        for block in shard_blocks(rows, own.evaluations(source, shape)):
            points, target, maps = _block(subject, file, block)
            _check_radius(points, moves, options["radius"], file.sample[block], source.dtype)

            def attributed(moved: Tensor, target: Tensor | None = target) -> Tensor:
                return attribute_with(own, counted, moved, target, ready.made.gradient, ready.baselines)

            with warnings.catch_warnings():
                # They were told of the cell.
                warnings.filterwarnings("ignore", "step: lost", UserWarning)
                warnings.filterwarnings("ignore", "budget: .* of little use", UserWarning)
                found[block] = sensitivities(attributed, points, maps, moves)
    values = {"sample": pa.array(file.sample), "sensitivity": pa.array(found, mask=np.isnan(found))}
    cost = {
        "moves": len(moves),
        "radius": options["radius"],
        "model_evaluations": counted.evaluations,
        "check_evaluations": getattr(ready.made.gradient, "check_evaluations", ready.model.evaluations),
        **conditions(device),
        **recorded(subject.network),
    }
    return pa.table(source_columns(file.metadata, rows) | values), cost


def _block(subject: Subject, file: Attributions, block: slice) -> tuple[Tensor, Tensor | None, Tensor]:
    """Return some inputs of a cell in the precision of its source, what is explained of them, and their maps."""
    part = subject.split.rows(file.sample[block])
    points = subject.points(part)
    maps = torch.tensor(file.attribution[block], device=points.device).reshape(points.shape)
    return points, explained_target(part), maps


def _check_radius(points: Tensor, moves: Tensor, radius: float, sample: NDArray[np.int64], dtype: str) -> None:
    """Refuse a radius that is lost to rounding: the map of an input that never moves would pass for a steady one."""
    moved = torch.stack([(points + move.to(points) != points).flatten(1).any(dim=1) for move in moves]).any(dim=0)
    if not moved.all():
        row = int(sample[int((~moved).nonzero()[0])])
        raise ValueError(
            f"faithfulness.sensitivity.radius: got {radius:g}, which moves no feature of test row {row} in {dtype}; "
            "expected a larger one"
        )
