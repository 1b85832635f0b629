"""What the jobs of a study need besides data and models: chosen settings, spectra, and how a model is evaluated."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from approxgrad.study.choices import Choice, cell_choice
from approxgrad.study.spectra import Pilots, cell_pilots

if TYPE_CHECKING:
    from approxgrad.study.grid import Cell
    from approxgrad.study.study import Study


def named_choice(study: Study, wildcards: Any) -> Choice:
    """Return the choice of a setting that a rule's wildcards name."""
    own = dict(wildcards.items())
    return next(choice for choice in study.choices.values() if choice.keys == own)


def choice_path(study: Study, cell: Cell) -> str:
    """Return the path of the choice that a cell takes its setting from; empty if it is not chosen."""
    choice = cell_choice(cell, study.cell_method(cell))
    return "" if choice is None else choice.path


def named_pilots(study: Study, wildcards: Any) -> Pilots:
    """Return the pilots of the spectrum that a rule's wildcards name."""
    own = dict(wildcards.items())
    return next(pilots for pilots in study.spectra.values() if pilots.keys == own)


def spectrum_path(cell: Cell) -> str:
    """Return the path of the spectrum that a cell takes its order from; empty if it needs none."""
    pilots = cell_pilots(cell)
    return "" if pilots is None else pilots.path


def needs_training_rows(study: Study, cell: Cell) -> bool:
    """Whether steps are multiples of the spread of the training rows, or a path begins at their mean."""
    return cell.gradient.kind.needs_spread or getattr(study.cell_method(cell), "baseline", None) == "mean"


def evaluation_options(study: Study, model: str) -> dict[str, Any]:
    """Return how jobs that attribute or choose a step evaluate a model."""
    own = study.model(model)
    return {
        "batch_size": own.batch_size,
        "check_rows": own.check_rows,
        "memory_mib": study.config.memory_mib,
        "threads": study.config.threads,
    }
