"""Agreement of approximated with exact attributions over the setting, as box plots."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from approxgrad.figures import style
from approxgrad.figures.boxes import BOX_NOTE, SHOWN, SLOT_WIDTH, draw_box, metric_axis
from approxgrad.figures.figure import FIGURES, ComparisonFigure, Keys

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure as Drawing


@FIGURES.add
class Boxplots(ComparisonFigure):
    """A panel for each of three metrics, a box for each gradient source."""

    name: ClassVar[str] = "boxplots"
    label: ClassVar[str] = "approximated against exact"

    def draw(self, inputs: Mapping[str, Any], params: Mapping[str, Any], keys: Keys) -> tuple[Drawing, pd.DataFrame]:
        """Return the box plots of the metric table."""
        from approxgrad.evaluation.frames import read_shown

        return boxplots(read_shown(inputs["metrics"], **keys), params)


@style.applied_style()
def boxplots(metrics: pd.DataFrame, params: Mapping[str, Any]) -> tuple[Drawing, pd.DataFrame]:
    """Draw the rows of a metric table whose reference is an attribution; also return them."""
    from approxgrad.evaluation.metrics import METRICS

    labels, families = params["labels"], params["families"]
    rows = style.tidy(style.compared_rows(metrics), *SHOWN)
    groups = style.source_groups(rows, families)
    figure, panels = style.source_figure(groups, len(SHOWN), height=6.2)
    for line, metric in zip(panels, SHOWN, strict=True):
        drawn = []
        for axes, group in zip(line, groups, strict=True):
            ticks = []
            for source in group.sources:
                values, undefined = source.values(rows, metric)
                ticks.append(source.tick_label(len(values), undefined))
                drawn.append(values)
                draw_box(axes, source.position, values, source.colour, SLOT_WIDTH)
            style.source_axis(axes, group.sources, ticks)
        metric_axis(line[0], drawn, METRICS[metric])
    for axes, group in zip(panels[0], groups, strict=True):
        style.label_families(axes, group.sources, families)
    against = f"{style.families_in_words(rows, families)} against {params['against']}"
    style.annotate(figure, labels, labels["method"], against, note=" ".join([BOX_NOTE, *params.get("remarks", [])]))
    return figure, rows
