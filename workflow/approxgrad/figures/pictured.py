"""Which attributions figures show: for each method and kind of setting, the recommended one or that near a number."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from approxgrad.evaluation.files import METRIC_TABLE
from approxgrad.evaluation.truths import TRUTHS
from approxgrad.figures.figure import Figure, Keys, listed, twin_words
from approxgrad.figures.style import Families, setting_label
from approxgrad.gradients.precisions import leading, precedence
from approxgrad.methods.method import METHODS

if TYPE_CHECKING:
    from approxgrad.study.grid import Cell
    from approxgrad.study.study import Study


@dataclass(frozen=True)
class Pictured:
    """A method, the approximated attributions that may be shown of it, and what they are compared with."""

    method: str
    candidates: list[Cell]
    exact: Cell


def pictured(study: Study, dataset: str, model: str) -> list[Pictured]:
    """Return what is shown of a model: an entry for each kind of method and of setting.

    Of several methods of one kind the first is shown, and none that is compared with another method; of each, the
    :func:`.leading` precision. Where the configuration gives a number, the candidate is the setting nearest to it; one
    chosen at run time stands back. Otherwise the candidates are those chosen at run time, or where there are none, all.
    """
    columns: dict[tuple[str, str], Pictured] = {}
    for method in study.compared_methods(dataset, model):
        if study.reference(method) != method:
            continue
        for varied, group in groupby(sorted(study.approximated(dataset, model, method), key=_varied), key=_varied):
            own = list(group)
            shown_dtype = leading(cell.gradient.dtype for cell in own)
            leaders = [cell for cell in own if cell.gradient.dtype == shown_dtype]
            wanted = study.config.map_setting
            if wanted == "recommended":
                shown = [cell for cell in leaders if cell.gradient.chosen] or leaders
            else:
                shown = [min(own, key=lambda cell: shown_place(cell, float(wanted)))]
            exact = study.exact(dataset, model, method, shown[0].gradient.dtype)
            columns.setdefault((study.method(method).name, varied), Pictured(method, shown, exact))
    order = list(METHODS)
    return [columns[key] for key in sorted(columns, key=lambda key: (order.index(key[0]), key[1]))]


def shown_place(cell: Cell, setting: float) -> tuple[Any, ...]:
    """Return what orders cells of one kind of setting by how well they are shown at a setting."""
    return cell.gradient.distance(setting), precedence(cell.gradient.dtype)


def _varied(cell: Cell) -> str:
    return cell.gradient.kind.setting_name


class AttributionFigure(Figure):
    """A figure of the attributions themselves, of a data set and model."""

    level: ClassVar[tuple[str, ...]] = ("dataset", "model")

    def inputs(self, study: Study, keys: Keys) -> dict[str, str | list[str]]:
        """Return the attribution files, and the metric tables that tell which of several to show."""
        columns = pictured(study, keys["dataset"], keys["model"])
        return {
            "approximated": [cell.path for own in columns for cell in own.candidates],
            "exact": [own.exact.path for own in columns],
            "metrics": [METRIC_TABLE.format(**keys, method=own.method) for own in columns if len(own.candidates) > 1],
        }

    def params(self, study: Study, keys: Keys) -> dict[str, Any]:
        """Return labels and looks, the methods with their candidates and labels, and whose gradients are exact."""
        columns = pictured(study, keys["dataset"], keys["model"])
        return super().params(study, keys) | {
            "columns": [[own.method, [cell.gradient.name for cell in own.candidates]] for own in columns],
            "methods": {own.method: study.labels["method"][own.method] for own in columns},
            "twin": twin_words(study, keys["model"]),
        }


def shown_files(inputs: Mapping[str, Any], params: Mapping[str, Any], keys: Keys) -> list[tuple[str, str, str]]:
    """Return method, approximated and exact file of each column: of several candidates, that of the smallest error."""
    approximated, metrics = iter(listed(inputs["approximated"])), iter(listed(inputs.get("metrics")))
    shown = []
    for (method, names), exact in zip(params["columns"], listed(inputs["exact"]), strict=True):
        paths = {name: next(approximated) for name in names}
        best = names[0] if len(names) == 1 else _best(next(metrics), names, {**keys, "method": method})
        shown.append((method, paths[best], exact))
    return shown


def _best(path: Path | str, names: list[str], keys: Keys) -> str:
    """Return the gradient source with the smallest median error; the first where no error is defined."""
    from approxgrad.evaluation.frames import read_metrics

    rows = read_metrics(path, **keys)
    rows = rows[~rows["reference"].isin(TRUTHS) & rows["gradient"].isin(names)]
    medians = rows.groupby("gradient", observed=True)["relative_error"].median().reindex(names).dropna()
    return str(medians.idxmin()) if len(medians) else names[0]


def source_words(metadata: Mapping[str, Any], families: Families) -> str:
    """Return a gradient source as text, such as "forward differences, h = 0.1"."""
    looks = families[metadata["family"]]
    if not looks["setting_name"] or metadata["setting"] is None:
        return str(looks["label"])
    if metadata["chosen"]:
        return f"{looks['label']}, {looks['symbol']} = {metadata['setting']:.2g} chosen at run time"
    return f"{looks['label']}, {looks['symbol']} = {setting_label(metadata['setting'])}"


def compared_words(references: Iterable[Mapping[str, Any]], families: Families) -> str:
    """Return what attributions are called that others are compared with, from their metadata."""
    return "exact" if all(families[own["family"]]["exact"] for own in references) else "reference"
