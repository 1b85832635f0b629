"""Which cells of a study follow a path from a baseline, so that their attributions can be checked for completeness."""

from __future__ import annotations

from typing import TYPE_CHECKING

from approxgrad.gradients.precisions import precedence

if TYPE_CHECKING:
    from approxgrad.study.grid import Cell
    from approxgrad.study.study import Study


def path_cells(study: Study, dataset: str, model: str) -> list[Cell]:
    """Return the cells of a model whose method has a path, without chosen settings.

    They are in the :func:`.leading` precision in which a method is approximated, or that it has at all if it is not.
    """
    own = [cell for cell in study.cells if (cell.dataset, cell.model) == (dataset, model)]
    order = sorted(own, key=lambda cell: (study.is_reference(cell), precedence(cell.gradient.dtype)), reverse=True)
    shown = {cell.method: cell.gradient.dtype for cell in order}
    return [
        cell
        for cell in own
        if study.method(cell.method).path and cell.gradient.dtype == shown[cell.method] and not cell.gradient.chosen
    ]


def complete_methods(study: Study) -> list[tuple[str, str, str]]:
    """Return the triples of data set, model and method whose attributions should be complete."""
    own = (cell for cell in study.cells if study.method(cell.method).complete)
    return list(dict.fromkeys((cell.dataset, cell.model, cell.method) for cell in own))


def with_variants(study: Study, dataset: str, model: str, method: str) -> list[str]:
    """Return a method and the variants that are compared with it."""
    own = dict.fromkeys(cell.method for cell in path_cells(study, dataset, model))
    return [method, *(name for name in own if name != method and study.reference(name) == method)]
