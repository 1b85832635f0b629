"""Agreement of approximated with exact attributions over the setting, as box plots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from approxgrad.figures import style
from approxgrad.figures.boxes import SHOWN, Legible, draw_box, metric_axis
from approxgrad.figures.figure import FIGURES, ComparisonFigure, Keys, read_with_others
from approxgrad.figures.source_axes import name_families, source_figure, source_groups

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure as Drawing


@FIGURES.add
class Boxplots(ComparisonFigure):
    """A panel for each of four metrics, a box for each gradient source."""

    name: ClassVar[str] = "boxplots"
    label: ClassVar[str] = "approximated against exact"

    def draw(self, inputs: Mapping[str, Any], params: Mapping[str, Any], keys: Keys) -> tuple[Drawing, pd.DataFrame]:
        """Return the box plots of the metric table."""
        metrics, *others = read_with_others(inputs, params, keys)
        return boxplots(metrics, params, others)


@style.applied_style()
def boxplots(
    metrics: pd.DataFrame, params: Mapping[str, Any], others: Sequence[pd.DataFrame] = ()
) -> tuple[Drawing, pd.DataFrame]:
    """Draw the rows of a metric table whose reference is an attribution; also return them.

    The axes of the metrics have room for the rows of other tables.
    """
    from approxgrad.evaluation.metrics import METRICS

    labels, families = params["labels"], params["families"]
    rows = style.tidy(style.compared_rows(metrics), *SHOWN)
    compared = [rows, *map(style.compared_rows, others)]
    groups = source_groups(rows, families)
    figure, panels = source_figure(groups, len(SHOWN), 1.3 + 1.3 * len(SHOWN))
    shown = Legible()
    for line, name in zip(panels, SHOWN, strict=True):
        axis = metric_axis(METRICS[name], compared)
        for axes, group in zip(line, groups, strict=True):
            for source in group.sources:
                values, undefined = source.values(rows, name)
                draw_box(axes, axis, values, source)
                shown.add(axes, axis, source, values, undefined, first=name == SHOWN[0])
        axis.apply(line[0])
    name_families(panels[0], groups, families, counted=shown.counted)
    against = f"{style.families_in_words(rows, families)} against {params['against']}"
    size = style.sizes_in_words(rows.groupby("gradient", observed=True)["sample"].count())
    note = " ".join([shown.note(groups), *params.get("remarks", [])])
    style.annotate(figure, labels, labels["method"], f"{against}, {size}", note=note)
    return figure, rows
