"""The gradient source of a cell, made of its description and of the tables that it takes its setting from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from approxgrad.gradients.source import Setting, Source
from approxgrad.storage.step_tables import read_choice
from approxgrad.study.subjects import MEBIBYTE, feature_spread


@dataclass(frozen=True)
class MadeSource:
    """A gradient source as methods take it.

    Attributes
    ----------
    gradient : callable
        With captum's signature.
    setting : float or None
        Its setting as a number, the chosen one for ``auto``; None if there is none, or it follows from a path.
    chosen : mapping or None
        The table of a chosen step.
    spread : Tensor or None
        Standard deviations of the features, if steps are multiples of them.
    """

    gradient: Any
    setting: float | None
    chosen: dict[str, Any] | None
    spread: torch.Tensor | None


def make_source(
    source: Source,
    shape: tuple[int, ...],
    *,
    training: Path | str | None,
    choice: Path | str | None,
    spectrum: Path | str | None,
    batch_size: int | None,
    memory_mib: int | None,
    seed: int,
) -> MadeSource:
    """Return the gradient source that a description names, for inputs of a shape.

    The other arguments are those of :func:`approxgrad.study.cells.attribute_cell`.

    Raises
    ------
    ValueError
        If a step was to be chosen and its table is missing, or a table cannot be read.
    """
    chosen = read_choice(choice, source.kind.choice["scheme"]) if source.chosen and choice is not None else None
    if source.chosen and chosen is None:
        raise ValueError("step: auto needs the table of a chosen step")
    setting: float | None = chosen["step"] if chosen else source.number
    spread = feature_spread(training, shape) if source.kind.needs_spread else None
    needed: dict[str, Any] = {"spectrum": spectrum} | ({} if spread is None else {"spread": spread})
    varied: Setting = source.setting if setting is None else setting
    budget = None if memory_mib is None else memory_mib * MEBIBYTE
    gradient = source.kind.gradient(varied, batch_size=batch_size, memory_budget=budget, seed=seed, **needed)
    return MadeSource(gradient, setting, chosen, spread)
