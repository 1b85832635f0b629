"""Cached maps of others beside the study's own, as paired box plots over the step size."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from approxgrad.figures import style
from approxgrad.figures.boxplots import METRIC_LABELS, draw_box, scale_axis

PUBLISHED, OWN = "published", "this study"
OFFSET = 0.22
WIDTH = 0.42


def published_numbers(
    published: pd.DataFrame, own: pd.DataFrame, *, dataset: str, model: str, method: str
) -> pd.DataFrame:
    """Return what :func:`published_boxplots` draws of two metric tables, told apart by the column ``series``.

    Raises
    ------
    ValueError
        If one of them has no rows of the method whose reference is ``exact``.
    """
    keys = {"dataset": dataset, "model": model, "method": method, "reference": "exact"}
    steps = set(style.chosen_rows(published, **keys)["step"])
    parts = []
    for series, table in ((PUBLISHED, published), (OWN, own)):
        rows = style.tidy(style.chosen_rows(table, **keys), *METRIC_LABELS)
        parts.append(rows[rows["step"].isin(steps)].assign(series=series))
    return pd.concat(parts, ignore_index=True)


@style.applied_style()
def published_boxplots(
    published: pd.DataFrame,
    own: pd.DataFrame,
    *,
    dataset: str,
    model: str,
    method: str,
    steps: Iterable[float] = (),
) -> Figure:
    """Draw one panel for each of three metrics, with a published box and one of this study for each step.

    Parameters
    ----------
    published, own : DataFrame
        Metric tables of the cached maps and of this study; drawn are the method's rows whose reference is ``exact`` and
        whose step is among the published ones.
    dataset, model, method : str
        What to draw.
    steps : iterable of float
        All steps of the data set, which fix the colours.

    Returns
    -------
    Figure
        Three panels below each other.

    Raises
    ------
    ValueError
        If the cached maps have no rows of the method.
    """
    rows = published_numbers(published, own, dataset=dataset, model=model, method=method)
    sources = style.gradient_sources(rows[rows["series"] == PUBLISHED], steps)
    figure = style.source_figure(sources, height=6.2)
    panels = figure.subplots(3, 1)
    for axes, metric in zip(panels, METRIC_LABELS, strict=True):
        _panel(axes, rows, sources, metric)
    panels[-1].set_xlabel(style.STEP_AXIS)
    handles = [
        Patch(facecolor=style.PUBLISHED_COLOUR, hatch=style.PUBLISHED_HATCH, edgecolor=style.BLACK, label=PUBLISHED),
        Patch(facecolor=sources[-1].colour, edgecolor=style.BLACK, label=f"{OWN} (the darker, the larger the step)"),
    ]
    panels[0].legend(handles=handles, **style.ABOVE, ncols=len(handles), handlelength=1.4, columnspacing=1)
    style.annotate(
        figure,
        style.method_label(method),
        f"data set: {style.name_label(dataset)}, model: {style.name_label(model)}",
        "published maps and this study's",
        note=(
            "Box: quartiles and median. Whiskers: furthest value within 1.5 interquartile ranges. Points beside it: "
            "the samples; n counts the published and this study's, which are not the same images. Each is compared "
            "with exact maps of its own."
        ),
    )
    return figure


def _panel(axes: Axes, rows: pd.DataFrame, sources: list[style.Source], metric: str) -> None:
    labels, drawn = [], []
    for source in sources:
        published, own = (source.values(rows[rows["series"] == series], metric)[0] for series in (PUBLISHED, OWN))
        draw_box(axes, source.position - OFFSET, published, style.PUBLISHED_COLOUR, WIDTH, style.PUBLISHED_HATCH)
        draw_box(axes, source.position + OFFSET, own, source.colour, WIDTH)
        labels.append(f"{style.step_label(source.step)}\nn = {len(published)}, {len(own)}")
        drawn += [published, own]
    style.source_axis(axes, sources, labels)
    axes.set_ylabel(METRIC_LABELS[metric])
    scale_axis(axes, np.concatenate(drawn), metric)
