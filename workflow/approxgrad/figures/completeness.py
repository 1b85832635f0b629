"""Completeness residual over the gradient sources: of a method, and of the variants that are compared with it."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from approxgrad.evaluation.files import RESIDUALS
from approxgrad.figures import style
from approxgrad.figures.boxes import Legible, MetricAxis, axis_of_sizes, draw_box
from approxgrad.figures.figure import FIGURES, ComparisonFigure, Keys, listed
from approxgrad.figures.source_axes import name_families, source_figure, source_groups
from approxgrad.study.path_methods import complete_methods, with_variants

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure as Drawing

    from approxgrad.study.study import Study

LETTERS = 24  # in a line of a method's name
COLUMNS = ["dataset", "model", "method", *style.SOURCE, "sample", "residual", "relative_residual"]
NOTE = (
    "Residual: sum of the attributions − (output at the input − output at the baseline), over the absolute value of "
    "the bracket; 1 (dashed) means that it is as large as what should be explained."
)


@FIGURES.add
class Completeness(ComparisonFigure):
    """The absolute relative residual of every sample, a panel for each method."""

    name: ClassVar[str] = "completeness"
    label: ClassVar[str] = "completeness"

    def targets(self, study: Study) -> list[tuple[str, ...]]:
        """Return the methods that should be complete."""
        return [*complete_methods(study)]

    def inputs(self, study: Study, keys: Keys) -> dict[str, str | list[str]]:
        """Return the residuals, and those of the other models."""
        own, *others = (
            RESIDUALS.format(dataset=keys["dataset"], model=model)
            for model in (keys["model"], *self.others(study, keys))
        )
        return {"residuals": own, "others": others}

    def params(self, study: Study, keys: Keys) -> dict[str, Any]:
        """Return labels and looks, the other models, and the methods with their labels."""
        methods = with_variants(study, keys["dataset"], keys["model"], keys["method"])
        return super().params(study, keys) | {"methods": {name: study.labels["method"][name] for name in methods}}

    def draw(self, inputs: Mapping[str, Any], params: Mapping[str, Any], keys: Keys) -> tuple[Drawing, pd.DataFrame]:
        """Return the box plots of the residuals."""
        from approxgrad.evaluation.frames import read_keyed

        paths = [inputs["residuals"], *listed(inputs.get("others"))]
        models = [keys["model"], *params["others"]]
        tables = (
            read_keyed(path, dataset=keys["dataset"], model=model) for path, model in zip(paths, models, strict=True)
        )
        residuals, *others = (table[table["method"].isin([*params["methods"]])] for table in tables)
        return completeness_boxplots(residuals, params, others)


@style.applied_style()
def completeness_boxplots(
    residuals: pd.DataFrame, params: Mapping[str, Any], others: Sequence[pd.DataFrame] = ()
) -> tuple[Drawing, pd.DataFrame]:
    """Draw the residuals on common axes, with one place for a setting in all panels; also return them.

    The axes have room for the residuals of other tables.
    """
    import pandas as pd

    labels, families, methods = params["labels"], params["families"], params["methods"]
    parts = [residuals[residuals["method"] == method] for method in methods]
    missing = [method for method, part in zip(methods, parts, strict=True) if part.empty]
    if missing:
        raise ValueError(f"residuals: no rows of the method {missing[0]}")
    numbers = pd.concat([part.sort_values(["family", "setting", "sample"]) for part in parts], ignore_index=True)
    groups = source_groups(numbers, families)
    figure, panels = source_figure(groups, len(methods), 1.5 + 1.7 * len(methods))
    axis = _axis([numbers, *others])
    shown = Legible()
    for line, (method, label) in zip(panels, methods.items(), strict=True):
        for axes, group in zip(line, groups, strict=True):
            for source in group.sources:
                values, undefined = source.values(numbers[numbers["method"] == method], "relative_residual")
                draw_box(axes, axis, np.abs(values), source)
                shown.add(axes, axis, source, np.abs(values), undefined, first=method == next(iter(methods)))
            axes.axhline(1, color=style.NOTE_GREY, linewidth=0.8, linestyle="--", zorder=0.9)
        axis.apply(line[0])
        name = f"{textwrap.fill(label, LETTERS)}\n" if len(methods) > 1 else ""
        line[0].set_ylabel(f"{name}{axis.label}")
    name_families(panels[0], groups, families, counted=shown.counted)
    size = style.sizes_in_words(numbers.groupby(["method", "gradient"], observed=True)["sample"].count())
    note = f"{NOTE} {shown.note(groups)}"
    style.annotate(figure, labels, f"Completeness of {labels['method']}", size, note=note)
    return figure, numbers[COLUMNS]


def _axis(tables: Sequence[pd.DataFrame]) -> MetricAxis:
    """Return the axis of all residuals: logarithmic, with room for 1."""
    sizes = np.abs(np.concatenate([table["relative_residual"].to_numpy(float) for table in tables]))
    return axis_of_sizes("|relative residual|", np.append(sizes[np.isfinite(sizes)], 1.0), decades=0)
