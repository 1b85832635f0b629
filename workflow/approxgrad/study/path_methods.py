"""Which cells of a study follow a path from a baseline, so that their attributions can be checked for completeness."""

from __future__ import annotations

from approxgrad.study.grid import Cell
from approxgrad.study.sources import AUTO
from approxgrad.study.study import Study


def path_cells(study: Study, dataset: str, model: str) -> list[Cell]:
    """Return the cells of a model whose method has a path, without chosen steps.

    They are in the lowest precision in which a method is approximated, or that it has at all if it is not.
    """
    methods = study.config["methods"]
    own = [cell for cell in study.cells if (cell.dataset, cell.model) == (dataset, model)]
    order = sorted(own, key=lambda cell: (cell.gradient.is_exact, cell.gradient.dtype), reverse=True)
    lowest = {cell.method: cell.gradient.dtype for cell in order}
    return [
        cell
        for cell in own
        if "n_steps" in methods[cell.method]
        and cell.gradient.dtype == lowest[cell.method]
        and cell.gradient.step != AUTO
    ]


def complete_methods(study: Study) -> list[tuple[str, str, str]]:
    """Return the triples of data set, model and Integrated Gradients, which should be complete."""
    methods = study.config["methods"]
    own = (cell for cell in study.cells if methods[cell.method]["attribution"] == "integrated_gradients")
    return list(dict.fromkeys((cell.dataset, cell.model, cell.method) for cell in own))


def with_published(study: Study, dataset: str, model: str, method: str) -> list[str]:
    """Return Integrated Gradients and the published variants that are compared with it."""
    own = dict.fromkeys(cell.method for cell in path_cells(study, dataset, model))
    return [method, *(name for name in own if name != method and study.reference(name) == method)]
