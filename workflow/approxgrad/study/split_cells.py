"""Which cells of a study split an error: a source, the same without rounding, and the exact gradient."""

from __future__ import annotations

from typing import TYPE_CHECKING

from approxgrad.gradients.source import Source

if TYPE_CHECKING:
    from approxgrad.study.grid import Cell
    from approxgrad.study.study import Study


def split_cells(study: Study, dataset: str, model: str) -> list[tuple[Cell, Cell, Cell]]:
    """Return the cells of a model whose error can be split, each with that without rounding and with the reference."""
    found = []
    for method in study.compared_methods(dataset, model):
        own = {cell.gradient: cell for cell in study.approximated(dataset, model, method)}
        for source, cell in own.items():
            kind = source.kind.unrounded
            other = None if kind is None else own.get(Source(kind, source.setting, source.dtype))
            if other is not None and study.twin(model) is None:
                found.append((cell, other, study.exact(dataset, model, method, source.dtype)))
    return found


def split_models(study: Study) -> list[tuple[str, str]]:
    """Return the pairs of data set and model with such cells."""
    return [names for names in study.models if split_cells(study, *names)]
