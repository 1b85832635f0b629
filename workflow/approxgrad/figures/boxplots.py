"""Agreement of approximated with exact attributions over the step size, as box plots."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from approxgrad.figures import style

METRIC_LABELS = {
    "pearson": "Pearson correlation",
    "cosine": "Cosine similarity",
    "mean_squared_error": "Mean squared error\n(squared attribution units)",
}
GOLDEN_RATIO = (5**0.5 - 1) / 2
SLOT_WIDTH = 0.8  # Of the distance of two gradient sources; one half for the box, the other for its points.
MANY = 100  # With more points than this, they are smaller and fainter.


def boxplot_numbers(metrics: pd.DataFrame, *, dataset: str, model: str, method: str) -> pd.DataFrame:
    """Return what :func:`boxplots` draws of a metric table: a row for each gradient source and sample."""
    rows = style.chosen_rows(metrics, dataset=dataset, model=model, method=method, reference="exact")
    return style.tidy(rows, *METRIC_LABELS)


@style.applied_style()
def boxplots(
    metrics: pd.DataFrame,
    *,
    dataset: str,
    model: str,
    method: str,
    reference_method: str | None = None,
    steps: Iterable[float] = (),
) -> Figure:
    """Draw one panel for each of three metrics, with one box for each approximated gradient.

    Parameters
    ----------
    metrics : DataFrame
        The metric table; the rows whose reference is ``exact`` are drawn.
    dataset, model, method : str
        What to draw.
    reference_method : str, optional
        The method whose exact attribution is the reference, where it is another one.
    steps : iterable of float
        All steps of the data set, which fix the colours.

    Returns
    -------
    Figure
        Three panels below each other.

    Raises
    ------
    ValueError
        If there are no such rows.
    """
    rows = boxplot_numbers(metrics, dataset=dataset, model=model, method=method)
    sources = style.gradient_sources(rows, steps)
    figure = style.source_figure(sources, height=6.2)
    panels = figure.subplots(3, 1)
    for axes, metric in zip(panels, METRIC_LABELS, strict=True):
        _panel(axes, rows, sources, metric)
    panels[-1].set_xlabel(style.STEP_AXIS)
    style.annotate(
        figure,
        style.method_label(method),
        f"data set: {style.name_label(dataset)}, model: {style.name_label(model)}",
        f"{style.schemes_in_words(sources)} against exact {style.reference_label(method, reference_method)}",
        note=(
            "Box: quartiles and median. Whiskers: furthest value within 1.5 interquartile ranges. "
            "Points beside it: the n samples."
        ),
    )
    style.label_schemes(panels[0], sources)
    return figure


def _panel(axes: Axes, rows: pd.DataFrame, sources: list[style.Source], metric: str) -> None:
    labels = []
    drawn = []
    for source in sources:
        values, undefined = source.values(rows, metric)
        labels.append(source.tick_label(len(values), undefined))
        drawn.append(values)
        draw_box(axes, source.position, values, source.colour, SLOT_WIDTH)
    style.source_axis(axes, sources, labels)
    axes.set_ylabel(METRIC_LABELS[metric])
    scale_axis(axes, np.concatenate(drawn), metric)


def draw_box(
    axes: Axes, position: float, values: NDArray[np.float64], colour: Any, width: float, hatch: str | None = None
) -> None:
    """Draw a box with its points beside it, so that neither hides the other; `width` is that of both."""
    axes.boxplot(
        [values],
        positions=[position - 0.24 * width],
        widths=0.46 * width,
        showfliers=False,
        patch_artist=True,
        boxprops={"facecolor": colour, "linewidth": 0.6, "hatch": hatch},
        whiskerprops={"linewidth": 0.6},
        capprops={"linewidth": 0.6},
        medianprops={"color": style.BLACK, "linewidth": 1.6, "zorder": 4, "solid_capstyle": "butt"},
    )
    many = len(values) > MANY
    axes.plot(
        position + 0.26 * width + 0.42 * width * jitter(len(values)),
        values,
        linestyle="none",
        marker="o",
        markersize=1.3 if many else 2.0,
        markerfacecolor=style.BLACK,
        markeredgewidth=0,
        alpha=0.35 if many else 0.5,
        zorder=3,
    )


def jitter(count: int) -> NDArray[np.float64]:
    """Return `count` evenly spread offsets between -0.5 and 0.5, the same ones every time."""
    return np.asarray(np.arange(1, count + 1) * GOLDEN_RATIO % 1 - 0.5, np.float64)


def scale_axis(axes: Axes, values: NDArray[np.float64], metric: str) -> None:
    """Set the range of a metric's axis; an error over several decades is drawn on a logarithmic one."""
    if not len(values):
        return
    low, high = values.min(), values.max()
    if metric != "mean_squared_error":
        # Values that agree to the last digits are not blown up to the whole panel.
        margin = 0.06 * max(high - low, 0.1)
        axes.set_ylim(min(low, high - 0.1) - margin, high + margin)
    elif low > 0 and high / low > 100:
        axes.set_yscale("log")
