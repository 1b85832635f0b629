"""Agreement of attributions with the true effects, as violins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from approxgrad.evaluation.truths import TRUTHS
from approxgrad.figures import style
from approxgrad.figures.boxes import FEWEST, Legible, MetricAxis, draw_box, metric_axis
from approxgrad.figures.figure import FIGURES, ComparisonFigure, Keys, read_with_others
from approxgrad.figures.source_axes import Source, name_families, source_figure, source_groups

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing

    from approxgrad.study.study import Study

METRIC = "pearson"
VIOLIN_NOTE = "Violin: density of the samples, from the smallest to the largest. Bar: quartiles. White dot: median."
POINTS = 100  # of the outline of a violin


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
        metrics, *others = read_with_others(inputs, params, keys)
        return truth_violins(metrics, params, others)


@style.applied_style()
def truth_violins(
    metrics: pd.DataFrame, params: Mapping[str, Any], others: Sequence[pd.DataFrame] = ()
) -> tuple[Drawing, pd.DataFrame]:
    """Draw the rows of a metric table whose reference is the truth, or the matched truth; also return them.

    The axes have room for the rows of other tables.
    """
    from approxgrad.evaluation.metrics import METRICS

    labels, families = params["labels"], params["families"]
    rows = style.tidy(metrics[metrics["reference"].isin(TRUTHS)], METRIC)
    kinds = {families[name]["exact"] for name in style.present_families(rows, families)}
    if False not in kinds:
        raise ValueError("metrics: no rows that compare an approximated attribution with the truth")
    groups = source_groups(rows, families)
    known = [name for name in TRUTHS if (rows["reference"] == name).any()]
    figure, panels = source_figure(groups, len(known), 1.2 + 2.1 * len(known))
    shown = Legible()
    for line, name in zip(panels, known, strict=True):
        own, *rest = (table[table["reference"] == name] for table in (rows, *others))
        axis = metric_axis(METRICS[METRIC], [own, *rest])
        for axes, group in zip(line, groups, strict=True):
            for source in group.sources:
                values, undefined = source.values(own, METRIC)
                shown.add(axes, axis, source, values, undefined, first=name == known[0])
                if len(values) >= FEWEST:
                    _violin(axes, axis, source, values)
                else:
                    draw_box(axes, axis, values, source)
            if axis.ends[0] < 0:
                axes.axhline(0, color=style.NOTE_GREY, linewidth=0.6, zorder=0.9)
        axis.apply(line[0])
        line[0].set_ylabel(f"{axis.label}\nwith {TRUTHS[name]}")
    name_families(panels[0], groups, families, counted=shown.counted)
    exact = [params["against"]] if True in kinds else []
    compared = " and ".join([*exact, style.families_in_words(rows, families)])
    size = style.sizes_in_words(rows.groupby(["reference", "gradient"], observed=True)["sample"].count())
    style.annotate(figure, labels, labels["method"], f"{compared}, {size}", note=shown.note(groups, VIOLIN_NOTE))
    return figure, rows


def _violin(axes: Axes, axis: MetricAxis, source: Source, values: NDArray[np.float64]) -> None:
    """Draw a violin whose density, quartiles and median are computed on the scale of the axis."""
    from matplotlib.cbook import violin_stats

    heights = axis.heights(values)
    scaled = np.log10(heights) if axis.logarithmic else heights
    (shape,) = violin_stats([scaled], _density, points=POINTS)
    for name in ("coords", "mean", "median", "min", "max") if axis.logarithmic else ():
        shape[name] = 10 ** shape[name]
    parts: dict[str, Any] = axes.violin([shape], [source.position], widths=0.85 * source.width, showextrema=False)
    (body,) = parts["bodies"]
    body.set(facecolor=source.colour, edgecolor=style.BLACK, linewidth=0.6, alpha=1)
    _, lower, median, upper, _ = axis.quantiles(values)
    axes.vlines(source.position, lower, upper, color=style.BLACK, linewidth=3.5 * source.width**0.5)
    axes.plot(source.position, median, "o", markersize=3, markerfacecolor="white", markeredgecolor=style.BLACK, mew=0.6)


def _density(values: NDArray[np.float64], places: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the density of values at some places; values that are all the same stand there alone."""
    from matplotlib.mlab import GaussianKDE

    if np.ptp(values) == 0:
        return np.asarray(places == values[0], float)
    return np.asarray(GaussianKDE(values).evaluate(places))
