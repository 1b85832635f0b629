"""Orders of directions that are measured at some training rows: each once, for all budgets and methods."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from approxgrad.gradients.precisions import DEFAULT
from approxgrad.gradients.source import Source
from approxgrad.study.grid import Cell

SPECTRA = "results/spectra/dataset={dataset}/model={model}/gradient={gradient}/part-0.parquet"
"""Path of one spectrum; its folders are the key columns of the table that all files form."""

ANY_BUDGET = 2
"""In place of the budgets, on which a spectrum does not depend."""


@dataclass(frozen=True)
class Pilots:
    """The gradients of a model at some training rows, whose spectrum is measured.

    Attributes
    ----------
    dataset, model : str
        Names of the study.
    gradient : Source
        What is ordered by it, with any budget.
    """

    dataset: str
    model: str
    gradient: Source

    @property
    def samples(self) -> int:
        """Number of training rows."""
        return self.gradient.kind.pilot_rows

    @property
    def keys(self) -> dict[str, str]:
        """The names that stand in paths."""
        own = [self.gradient.family, *([self.gradient.dtype] if self.gradient.dtype != DEFAULT else [])]
        return {"dataset": self.dataset, "model": self.model, "gradient": "-".join(own)}

    @property
    def path(self) -> str:
        """Path of the spectrum."""
        return SPECTRA.format(**self.keys)

    def evaluations(self, features: int) -> int:
        """Return the model evaluations: a forward difference for each row."""
        return self.samples * (features + 1)


def cell_pilots(cell: Cell) -> Pilots | None:
    """Return the pilots that a cell takes its order from; None if it has another order."""
    kind, dtype = cell.gradient.kind, cell.gradient.dtype
    if not kind.pilot_rows:
        return None
    return Pilots(cell.dataset, cell.model, Source(kind.only(ANY_BUDGET, dtype), ANY_BUDGET, dtype))


def all_pilots(cells: Iterable[Cell]) -> dict[str, Pilots]:
    """Return the pilots of a study by the path of their spectrum."""
    return {pilots.path: pilots for cell in cells if (pilots := cell_pilots(cell)) is not None}
