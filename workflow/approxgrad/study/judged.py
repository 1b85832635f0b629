"""Which maps the model is asked about, how often it is evaluated for that, and where what it says of them lies."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from approxgrad.methods.method import Method
    from approxgrad.study.grid import Cell
    from approxgrad.study.sections import Faithfulness
    from approxgrad.study.study import Names, Study

SENSITIVITY = "results/sensitivity/dataset={dataset}/model={model}/method={method}/gradient={gradient}/part-0.parquet"
"""Path of the sensitivity of the maps of a cell."""


def judged_cells(study: Study, names: Names) -> dict[str, Cell]:
    """Return the cells of a comparison by the names that their sources have in tables of faithfulness.

    The exact gradient of a twin, which is another model, is there as ``exact of`` it.
    """
    references = {_reference_name(study, names, cell): cell for cell in study.references(*names)}
    return references | {cell.gradient.name: cell for cell in study.approximated(*names)}


def judged_references(study: Study, names: Names) -> list[list[str]]:
    """Return what the maps of a comparison are compared with: its names, a precision, and the source by its name."""
    cells = study.references(*names)
    return [[*names, cell.gradient.dtype, _reference_name(study, names, cell)] for cell in cells]


def _reference_name(study: Study, names: Names, cell: Cell) -> str:
    twin = study.twin(names[1])
    return cell.gradient.name + (f" of {twin}" if twin else "")


def moved_cells(study: Study) -> dict[str, Cell]:
    """Return the cells whose sensitivity is measured, by the path of their table; none unless that is asked for."""
    asked = study.config.faithfulness
    if asked is None or asked.sensitivity is None:
        return {}
    cells = [cell for names in study.comparisons for cell in judged_cells(study, names).values()]
    return {SENSITIVITY.format(**cell.keys): cell for cell in cells}


def evaluations_of_map(asked: Faithfulness, method: Method) -> int:
    """Return the evaluations for deletion, insertion and infidelity of the map of one row."""
    infidelity = asked.perturbations + 1 if method.signed and method.takes_gradients else 0
    return 2 * (asked.steps + 1) + infidelity
