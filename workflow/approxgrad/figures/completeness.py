"""Completeness residual over the gradient sources: of a method, and of the variants that are compared with it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from approxgrad.evaluation.files import RESIDUALS
from approxgrad.figures import style
from approxgrad.figures.boxes import BOX_NOTE, SLOT_WIDTH, draw_box
from approxgrad.figures.figure import FIGURES, Figure, Keys
from approxgrad.study.path_methods import complete_methods, with_variants

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing

    from approxgrad.study.study import Study

COLUMNS = ["dataset", "model", "method", *style.SOURCE, "sample", "residual", "relative_residual"]
NOTE = (
    "Residual: sum of the attributions − (output at the input − output at the baseline), over the absolute value of "
    f"the bracket; 1 (dashed) means that it is as large as what should be explained. {BOX_NOTE}"
)


@FIGURES.add
class Completeness(Figure):
    """The absolute relative residual of every sample, a panel for each method."""

    name: ClassVar[str] = "completeness"
    label: ClassVar[str] = "completeness"
    level: ClassVar[tuple[str, ...]] = ("dataset", "model", "method")

    def targets(self, study: Study) -> list[tuple[str, ...]]:
        """Return the methods that should be complete."""
        return [*complete_methods(study)]

    def inputs(self, study: Study, keys: Keys) -> dict[str, str | list[str]]:
        """Return the residuals."""
        return {"residuals": RESIDUALS.format(dataset=keys["dataset"], model=keys["model"])}

    def params(self, study: Study, keys: Keys) -> dict[str, Any]:
        """Return labels and looks, and the methods with their labels."""
        methods = with_variants(study, keys["dataset"], keys["model"], keys["method"])
        return super().params(study, keys) | {"methods": {name: study.labels["method"][name] for name in methods}}

    def draw(self, inputs: Mapping[str, Any], params: Mapping[str, Any], keys: Keys) -> tuple[Drawing, pd.DataFrame]:
        """Return the box plots of the residuals."""
        from approxgrad.evaluation.frames import read_keyed

        residuals = read_keyed(inputs["residuals"], dataset=keys["dataset"], model=keys["model"])
        return completeness_boxplots(residuals, params)


@style.applied_style()
def completeness_boxplots(residuals: pd.DataFrame, params: Mapping[str, Any]) -> tuple[Drawing, pd.DataFrame]:
    """Draw the residuals on common logarithmic axes, with one place for a source in all panels; also return them."""
    import pandas as pd

    labels, families, methods = params["labels"], params["families"], params["methods"]
    parts = [residuals[residuals["method"] == method] for method in methods]
    missing = [method for method, part in zip(methods, parts, strict=True) if part.empty]
    if missing:
        raise ValueError(f"residuals: no rows of the method {missing[0]}")
    numbers = pd.concat([part.sort_values(["family", "setting", "sample"]) for part in parts], ignore_index=True)
    groups = style.source_groups(numbers, families)
    figure, panels = style.source_figure(groups, len(methods), height=1.3 + 1.85 * len(methods))
    for line, (method, label) in zip(panels, methods.items(), strict=True):
        for axes, group in zip(line, groups, strict=True):
            _panel(axes, numbers[numbers["method"] == method], group.sources)
            style.label_families(axes, group.sources, families)
        several = any(style.labelled_families(group.sources, families) for group in groups)
        # The panels of a line share its axis already.
        if line[0] is not panels[0, 0]:
            line[0].sharey(panels[0, 0])
        line[0].set_title(label, loc="left", pad=14 if several else 4)
        line[0].set_ylabel("|relative residual|")
    sizes = np.abs(numbers["relative_residual"].to_numpy(float))
    drawn = sizes[np.isfinite(sizes) & (sizes > 0)]
    panels[0, 0].set_yscale("log")
    panels[0, 0].set_ylim(min(drawn.min(initial=0.1), 0.1) / 2, max(drawn.max(initial=1), 1) * 2)
    style.annotate(figure, labels, f"Completeness of {labels['method']}", note=NOTE)
    return figure, numbers[COLUMNS]


def _panel(axes: Axes, rows: pd.DataFrame, sources: list[style.Source]) -> None:
    ticks = []
    for source in sources:
        values, undefined = source.values(rows, "relative_residual")
        sizes = np.abs(values[values != 0])
        zeros = len(values) - len(sizes)
        # A source that another method has and this one lacks keeps its place.
        present = len(values) + undefined > 0
        ticks.append(source.tick_label(len(values), undefined) if present else "not\ncomputed")
        if zeros:
            ticks[-1] += f"\n{zeros} zero"
        if len(sizes):
            draw_box(axes, source.position, sizes, source.colour, SLOT_WIDTH)
    style.source_axis(axes, sources, ticks)
    axes.axhline(1, color=style.NOTE_GREY, linewidth=0.8, linestyle="--", zorder=0.9)
