"""The spectrum of a model's gradients at some training rows, as a job measures it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from approxgrad.gradients.difference import in_units
from approxgrad.gradients.directional.spectrum import Spectrum
from approxgrad.gradients.finite_differences import FiniteDifference
from approxgrad.gradients.source import source_of
from approxgrad.models.opening import recorded
from approxgrad.seeds import draw_samples
from approxgrad.storage.splits import read_split
from approxgrad.study.subjects import MEBIBYTE, conditions, explained_target, feature_spread, read_subject


def measure_spectrum(
    *,
    model: Mapping[str, Any],
    weights: Path | str | None,
    test: Path | str,
    training: Path | str,
    gradient: Mapping[str, Any],
    sample_seed: int,
    memory_mib: int | None,
    device: torch.device,
    batch_size: int | None = None,
    check_rows: bool = True,
) -> tuple[Spectrum, dict[str, Any]]:
    """Return the mean spectrum of the gradients at drawn training rows, and the metadata of its table.

    Parameters
    ----------
    model, weights, test, training, gradient, memory_mib, device, batch_size, check_rows
        As in :func:`approxgrad.study.cells.attribute_cell`.
    sample_seed : int
        Decides which rows are drawn; all are taken if there are fewer.

    Raises
    ------
    ValueError
        If a table or model cannot be read, the model's rows are not independent and repeatable, or all gradients are 0.

    Notes
    -----
    Cost: d + 1 evaluations for each row with d features, and those that check the model.
    """
    source = source_of(gradient)
    kind: Any = source.kind
    subject = read_subject(model, weights, test, sample_seed, device, source.dtype, check_rows=check_rows)
    rows = read_split(training)
    part = rows.rows(draw_samples(len(rows.target), min(kind.pilot_rows, len(rows.target)), sample_seed))
    needed = {"spread": feature_spread(training, part.feature_shape)} if kind.needs_spread else {}
    budget = None if memory_mib is None else memory_mib * MEBIBYTE
    step = in_units(kind.step, kind.step_unit, needed)
    difference = FiniteDifference(step, batch_size=batch_size, memory_budget=budget, check_rows=check_rows)
    points = subject.points(part)
    ready = subject.prepared(subject.network, difference)
    found = Spectrum.measured(ready, points, explained_target(part), gradient=difference, basis=kind.variant)
    return found, {
        "basis": found.basis,
        "feature_shape": list(part.feature_shape),
        "pilots": found.pilots,
        "model_evaluations": found.evaluations,
        "check_evaluations": ready.evaluations,
        "dtype": source.dtype,
        **conditions(device),
        **recorded(subject.network),
    }
