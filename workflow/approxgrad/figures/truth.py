"""Agreement of attributions with the true effects, as violins."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from approxgrad.evaluation.truths import TRUTHS
from approxgrad.figures import style
from approxgrad.figures.figure import FIGURES, ComparisonFigure, Keys

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing

    from approxgrad.study.study import Study

METRIC = "pearson"
NOTE = "Violin: density of the n samples, from the smallest to the largest. Bar: quartiles. White dot: median."


@FIGURES.add
class Truth(ComparisonFigure):
    """The correlation with the true effects, a violin for each gradient source."""

    name: ClassVar[str] = "truth"
    label: ClassVar[str] = "correlation with the truth"
    file: ClassVar[str] = "truth_correlation"

    def targets(self, study: Study) -> list[tuple[str, ...]]:
        """Return the comparisons on data whose true effects are known."""
        return [names for names in study.comparisons if study.has_truth(names[0])]

    def draw(self, inputs: Mapping[str, Any], params: Mapping[str, Any], keys: Keys) -> tuple[Drawing, pd.DataFrame]:
        """Return the violins of the metric table."""
        from approxgrad.evaluation.frames import read_shown

        return truth_violins(read_shown(inputs["metrics"], **keys), params)


@style.applied_style()
def truth_violins(metrics: pd.DataFrame, params: Mapping[str, Any]) -> tuple[Drawing, pd.DataFrame]:
    """Draw the rows of a metric table whose reference is the truth, or the matched truth; also return them."""
    from approxgrad.evaluation.metrics import METRICS

    labels, families, metric = params["labels"], params["families"], METRICS[METRIC]
    rows = style.tidy(metrics[metrics["reference"].isin(TRUTHS)], METRIC)
    kinds = {families[name]["exact"] for name in style.present_families(rows, families)}
    if False not in kinds:
        raise ValueError("metrics: no rows that compare an approximated attribution with the truth")
    groups = style.source_groups(rows, families)
    known = [name for name in TRUTHS if (rows["reference"] == name).any()]
    figure, panels = style.source_figure(groups, len(known), height=0.6 + 2.6 * len(known))
    for line, name in zip(panels, known, strict=True):
        own = rows[rows["reference"] == name]
        for axes, group in zip(line, groups, strict=True):
            ticks = []
            for source in group.sources:
                values, undefined = source.values(own, METRIC)
                ticks.append(source.tick_label(len(values), undefined))
                if len(values):
                    _violin(axes, source, values)
            style.source_axis(axes, group.sources, ticks)
            axes.axhline(0, color=style.NOTE_GREY, linewidth=0.6, zorder=0.9)
        line[0].set_ylim(1.05 * metric.lower, 1.05 * metric.upper)
        line[0].set_ylabel(f"{metric.label}\nwith {TRUTHS[name]}")
    for axes, group in zip(panels[0], groups, strict=True):
        style.label_families(axes, group.sources, families)
    exact = [params["against"]] if True in kinds else []
    compared = " and ".join([*exact, style.families_in_words(rows, families)])
    style.annotate(figure, labels, labels["method"], compared, note=NOTE)
    return figure, rows


def _violin(axes: Axes, source: style.Source, values: NDArray[np.float64]) -> None:
    parts: dict[str, Any] = axes.violinplot([values], [source.position], widths=0.85, showextrema=False)
    (body,) = parts["bodies"]
    body.set(facecolor=source.colour, edgecolor=style.BLACK, linewidth=0.6, alpha=1)
    lower, median, upper = np.quantile(values, [0.25, 0.5, 0.75])
    axes.vlines(source.position, lower, upper, color=style.BLACK, linewidth=3.5)
    axes.plot(source.position, median, "o", markersize=3, markerfacecolor="white", markeredgecolor=style.BLACK, mew=0.6)
