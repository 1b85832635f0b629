"""Cached maps of others beside the study's own, as paired box plots over the step size."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from approxgrad.figures import style
from approxgrad.figures.boxplots import METRIC_LABELS, draw_box, scale_axis

SERIES = {"published": style.ORANGE, "this study": style.BLUE}
OFFSET = 0.2
WIDTH = 0.34


@style.applied_style()
def published_boxplots(published: pd.DataFrame, own: pd.DataFrame, *, dataset: str, model: str, method: str) -> Figure:
    """Draw one panel for each of three metrics, with a published box and one of this study for each step.

    Parameters
    ----------
    published, own : DataFrame
        Metric tables of the cached maps and of this study; drawn are the method's rows whose reference is ``exact`` and
        whose step is among the published ones.
    dataset, model, method : str
        What to draw.

    Returns
    -------
    Figure
        Three panels below each other.

    Raises
    ------
    ValueError
        If the cached maps have no rows of the method.
    """
    keys = {"dataset": dataset, "model": model, "method": method, "reference": "exact"}
    tables = dict(zip(SERIES, (style.chosen_rows(published, **keys), style.chosen_rows(own, **keys)), strict=True))
    sources = style.gradient_sources(tables["published"])
    figure = style.source_figure(sources, height=6.2)
    panels = figure.subplots(3, 1)
    for axes, metric in zip(panels, METRIC_LABELS, strict=True):
        _panel(axes, tables, sources, metric)
    panels[-1].set_xlabel(style.STEP_AXIS)
    handles = [Patch(color=colour, label=name) for name, colour in SERIES.items()]
    panels[0].legend(handles=handles, **style.ABOVE, ncols=len(handles))
    style.annotate(
        figure,
        style.method_label(method),
        f"data set: {style.name_label(dataset)}, model: {style.name_label(model)}",
        "published maps and this study's, each against its own exact ones",
        note=(
            "Box: quartiles and median. Whiskers: furthest value within 1.5 interquartile ranges. Points: one for each "
            "sample; n counts the published and this study's samples, which are not the same images."
        ),
    )
    return figure


def _panel(axes: Axes, tables: dict[str, pd.DataFrame], sources: list[style.Source], metric: str) -> None:
    labels, drawn = [], []
    for source in sources:
        counts = []
        for shift, (name, colour) in zip((-OFFSET, OFFSET), SERIES.items(), strict=True):
            values, _ = source.values(tables[name], metric)
            counts.append(str(len(values)))
            drawn.append(values)
            draw_box(axes, source.position + shift, values, colour, WIDTH)
        labels.append(f"{style.step_label(source.step)}\nn = {', '.join(counts)}")
    style.source_axis(axes, sources, labels)
    axes.set_ylabel(METRIC_LABELS[metric])
    scale_axis(axes, np.concatenate(drawn), metric)
