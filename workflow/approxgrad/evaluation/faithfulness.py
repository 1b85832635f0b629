"""Faithfulness: how the model itself reacts to what an attribution calls important.

Agreement with the exact map says how good an approximation is, not how good an explanation. Here the model is asked
what happens to its output if the features are removed that a map calls important, if they alone are there, or if the
input is moved a little.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from captum.metrics import infidelity
from numpy.typing import NDArray
from torch import Tensor

from approxgrad.evaluation.frames import source_columns
from approxgrad.methods.method import Method, method_of
from approxgrad.methods.path_ends import explained_outputs
from approxgrad.storage.attributions import Attributions, read_attributions
from approxgrad.study.subjects import Subject, baseline_values, explained_target, read_subject

Array = NDArray[np.float64]

ROWS_AT_ONCE = 256
"""Rows of an evaluation of the model, unless it is to be given fewer."""


def curves(
    outputs: Callable[[Tensor], Array],
    inputs: Tensor,
    maps: Array,
    baseline: Tensor,
    steps: int,
    members: Sequence[int] = (),
) -> tuple[Array, Array]:
    """Return the deletion and the insertion curve of every map.

    Parameters
    ----------
    outputs : callable
        Inputs (K, d), K / N successive rows for each input, to the explained output of each, float64 (K,).
    inputs : Tensor
        Shape (N, d).
    maps : ndarray
        Shape (N, d), or (N, G) for G groups; features or groups are ordered by their values, the largest first, equal
        ones by their place.
    baseline : Tensor
        What removed features are replaced by, of shape (d,).
    steps : int
        Steps of a curve.
    members : sequence of int
        For each feature its group, whose features are removed together; by default each is alone.

    Returns
    -------
    tuple of ndarray
        Shape (N, steps + 1) each: by how much the output has fallen from that of the input with so many features or
        groups removed, and by how much it has risen from that of the baseline with so many there.

    Notes
    -----
    Cost: ``2 (steps + 1)`` evaluations for each input.

    References
    ----------
    V. Petsiuk, A. Das, K. Saenko, RISE: randomized input sampling for explanation of black-box models, British Machine
    Vision Conference (2018).
    """
    features = maps.shape[1]
    ranks = torch.from_numpy(np.argsort(np.argsort(-maps, axis=1, kind="stable"), axis=1)).to(inputs.device)
    ranks = ranks[:, list(members)] if members else ranks
    gone = ranks[:, None] < removed(features, steps).to(inputs.device)[:, None]
    here, there = inputs[:, None], baseline[None, None]
    falls, rises = (
        outputs(torch.where(gone, *pair).flatten(0, 1)).reshape(len(maps), -1)
        for pair in ((there, here), (here, there))
    )
    return falls[:, :1] - falls, rises - rises[:, :1]


def removed(features: int, steps: int) -> Tensor:
    """Return how many features are removed at each step: none at first, all at last."""
    return torch.linspace(0, features, steps + 1).round().long()


def areas(found: Array, features: int) -> Array:
    """Return the areas under curves of :func:`curves` over the share of the features: mean change of the output."""
    shares = removed(features, found.shape[1] - 1).numpy() / features
    return np.asarray(np.trapezoid(found, shares, axis=1))


def infidelities(
    outputs: Callable[[Tensor], Array], inputs: Tensor, maps: Tensor, factor: Tensor, noise: Tensor
) -> Array:
    """Return captum's infidelity of every map, up to the best factor of the map.

    Parameters
    ----------
    outputs : callable
        As for :func:`curves`.
    inputs, maps, factor : Tensor
        Shape (N, d); the `factor` is what the method multiplies a gradient with.
    noise : Tensor
        Moves of the input, of shape (K, d), the same ones for every input.

    Returns
    -------
    ndarray
        The mean over the moves I of ``(c I a / factor - (f(x) - f(x - I)))**2`` for the best c, in squared units of the
        output, shape (N,).

    References
    ----------
    C.-K. Yeh et al., On the (in)fidelity and sensitivity of explanations, Advances in Neural Information Processing
    Systems 32 (2019).
    """
    scale = torch.where(factor == 0, torch.ones_like(factor), factor).repeat_interleave(len(noise), dim=0)

    def moved(points: Tensor) -> tuple[Tensor, Tensor]:
        moves = noise.repeat(len(points) // len(noise), 1)
        return moves / scale, points - moves

    def forward(points: Tensor) -> Tensor:
        return torch.from_numpy(outputs(points)).to(points.device)

    found = infidelity(forward, moved, inputs, maps, n_perturb_samples=len(noise), normalize=True)
    return np.asarray(found.double().cpu().numpy())


def faithfulness_table(inputs: Mapping[str, Any], params: Mapping[str, Any], device: torch.device) -> pa.Table:
    """Return the measures of the maps of one data set, model and method, for a rule.

    There is a row for each gradient source and sample: the columns :data:`approxgrad.evaluation.frames.SOURCE`, where
    an exact gradient of a twin has the name ``exact of`` it; ``sample``; and one for each of
    :data:`approxgrad.evaluation.faithful_sources.MEASURES`, null
    where it is undefined: infidelity needs maps of gradients with signs.
    """
    options, own = params["options"], method_of(params["method"])
    subject = read_subject(
        params["model"], inputs["weights"] or None, inputs["test"], 0, device, "float32", check_rows=False
    )
    start = baseline_values(
        options["baseline"], inputs["training"] or None, subject.split.feature_shape, inputs["test"]
    )
    baseline = torch.from_numpy(np.broadcast_to(start, subject.split.feature_shape).copy()).flatten().to(device)
    generator = torch.Generator().manual_seed(params["seed"])
    begin = baseline_values(
        getattr(own, "baseline", 0), inputs["training"] or None, subject.split.feature_shape, inputs["test"]
    )
    origin = torch.from_numpy(begin).flatten().to(device)
    noise = options["noise"] * torch.randn(options["perturbations"], subject.features, generator=generator)
    parts = []
    for number, path in enumerate([*inputs["exact"], *inputs["approximated"]]):
        file = read_attributions(path, slice(options["samples"]))
        source = dict(file.metadata)
        if number < len(inputs["exact"]) and params["twin"]:
            source["gradient"] += f" of {params['twin']}"
        work = _Work(own, baseline, origin, noise.to(device), options["steps"], params["batch_size"] or ROWS_AT_ONCE)
        values = _measured(subject, file, work)
        columns = {name: pa.array(found, mask=np.isnan(found)) for name, found in values.items()}
        parts.append(pa.table(source_columns(source, len(file.sample)) | {"sample": pa.array(file.sample)} | columns))
    return pa.concat_tables(parts)


@dataclass(frozen=True)
class _Work:
    """What the maps of all sources have in common; `origin` is where the path of the method begins."""

    method: Method
    baseline: Tensor
    origin: Tensor
    noise: Tensor
    steps: int
    rows: int


def _measured(subject: Subject, file: Attributions, work: _Work) -> dict[str, Array]:
    part = subject.split.rows(file.sample)
    points = subject.points(part)
    target, flat = explained_target(part), points.flatten(1)

    def outputs(rows: Tensor) -> Array:
        own = None if target is None else target.repeat_interleave(len(rows) // len(flat))
        shaped = rows.reshape(-1, *points.shape[1:]).to(flat)
        return explained_outputs(subject.network, shaped, own, work.rows)

    maps = file.attribution.astype(float)
    # Maps are scaled to norm 1: captum takes sums of squares in single precision.
    sizes = np.linalg.norm(maps, axis=1, keepdims=True)
    unit = torch.from_numpy(np.divide(maps, sizes, out=np.zeros_like(maps), where=sizes > 0)).to(flat)
    totals, members = np.asarray(file.names.totals(maps), float), file.names.members
    both = curves(outputs, flat, totals, work.baseline, work.steps, members)
    result = {name: areas(own, totals.shape[1]) for name, own in zip(("deletion", "insertion"), both, strict=True)}
    if work.method.signed and work.method.takes_gradients:
        result["infidelity"] = infidelities(outputs, flat, unit, work.method.factor(flat, work.origin), work.noise)
    else:
        result["infidelity"] = np.full(len(maps), np.nan)
    # A map of zeros ranks nothing.
    return {name: np.where(sizes[:, 0] > 0, values, np.nan) for name, values in result.items()}
