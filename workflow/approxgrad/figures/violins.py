"""Agreement of attributions with the true effects, as violins."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from approxgrad.figures import style


def violin_numbers(metrics: pd.DataFrame, *, dataset: str, model: str, method: str) -> pd.DataFrame:
    """Return what :func:`truth_violins` draws of a metric table: a row for each gradient source and sample.

    Raises
    ------
    ValueError
        If there are no such rows, exact or approximated.
    """
    keys = {"dataset": dataset, "model": model, "method": method, "reference": "truth"}
    exact = style.chosen_rows(metrics, **keys, scheme=style.EXACT)
    approximated = style.chosen_rows(metrics[metrics["scheme"] != style.EXACT], **keys)
    return style.tidy(pd.concat([exact, approximated]), "pearson")


@style.applied_style()
def truth_violins(
    metrics: pd.DataFrame,
    *,
    dataset: str,
    model: str,
    method: str,
    reference_method: str | None = None,
    steps: Iterable[float] = (),
) -> Figure:
    """Draw the distribution of the Pearson correlation with the true effects for each gradient source.

    Parameters
    ----------
    metrics : DataFrame
        The metric table; the rows whose reference is ``truth`` are drawn.
    dataset, model, method : str
        What to draw.
    reference_method : str, optional
        The method that the exact attribution is of, where it is another one.
    steps : iterable of float
        All steps of the data set, which fix the colours.

    Returns
    -------
    Figure
        One panel: the exact gradient, then every approximated one by numeric step.

    Raises
    ------
    ValueError
        If there are no such rows, exact or approximated.
    """
    rows = violin_numbers(metrics, dataset=dataset, model=model, method=method)
    sources = style.gradient_sources(rows, steps)
    figure = style.source_figure(sources, height=3.2)
    axes = figure.subplots()
    labels = []
    for source in sources:
        values, undefined = source.values(rows, "pearson")
        labels.append(source.tick_label(len(values), undefined))
        if len(values):
            _violin(axes, source, values)
    style.source_axis(axes, sources, labels)
    axes.set_ylim(-1.05, 1.05)
    axes.axhline(0, color=style.NOTE_GREY, linewidth=0.6, zorder=0.9)
    axes.set_xlabel(style.STEP_AXIS)
    axes.set_ylabel("Pearson correlation with the truth")
    style.annotate(
        figure,
        style.method_label(method),
        f"data set: {style.name_label(dataset)}, model: {style.name_label(model)}",
        f"exact {style.reference_label(method, reference_method)} and {style.schemes_in_words(sources)}",
        note="Violin: density of the n samples, from the smallest to the largest. Bar: quartiles. White dot: median.",
    )
    style.label_schemes(axes, sources)
    return figure


def _violin(axes: Axes, source: style.Source, values: np.ndarray) -> None:
    parts: dict[str, Any] = axes.violinplot([values], [source.position], widths=0.85, showextrema=False)
    (body,) = parts["bodies"]
    body.set(facecolor=source.colour, edgecolor=style.BLACK, linewidth=0.6, alpha=1)
    lower, median, upper = np.quantile(values, [0.25, 0.5, 0.75])
    axes.vlines(source.position, lower, upper, color=style.BLACK, linewidth=3.5)
    axes.plot(source.position, median, "o", markersize=3, markerfacecolor="white", markeredgecolor=style.BLACK, mew=0.6)
