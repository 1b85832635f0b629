"""Completeness residual of Integrated Gradients over the gradient sources, the correct variant over the published."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from approxgrad.figures import style
from approxgrad.figures.boxplots import SLOT_WIDTH, draw_box

COLUMNS = ["dataset", "model", "method", "gradient", "scheme", "step", "sample", "residual", "relative_residual"]


def completeness_numbers(residuals: pd.DataFrame, *, dataset: str, model: str, methods: Iterable[str]) -> pd.DataFrame:
    """Return what :func:`completeness_boxplots` draws: a row for each method, gradient source and sample.

    Raises
    ------
    ValueError
        If a method has no rows.
    """
    parts = [style.chosen_rows(residuals, dataset=dataset, model=model, method=method) for method in methods]
    ordered = [part.sort_values(["scheme", "step", "sample"]) for part in parts]
    return pd.concat(ordered, ignore_index=True)[COLUMNS]


@style.applied_style()
def completeness_boxplots(
    residuals: pd.DataFrame, *, dataset: str, model: str, methods: Iterable[str], steps: Iterable[float] = ()
) -> Figure:
    """Draw the absolute relative residual of every sample on a logarithmic axis, a panel for each method.

    Parameters
    ----------
    residuals : DataFrame
        The table of :func:`approxgrad.evaluation.completeness.completeness_residuals` with columns ``dataset`` and
        ``model``.
    dataset, model : str
        What to draw.
    methods : iterable of str
        One panel each, in this order.
    steps : iterable of float
        All steps of the data set, which fix the colours.

    Returns
    -------
    Figure
        Panels below each other with common axes; a source has the same place in each.

    Raises
    ------
    ValueError
        If a method has no rows.
    """
    methods = list(methods)
    rows = completeness_numbers(residuals, dataset=dataset, model=model, methods=methods)
    sources = style.gradient_sources(rows, steps)
    figure = style.source_figure(sources, height=1.3 + 1.85 * len(methods))
    panels = figure.subplots(len(methods), 1, sharey=True, squeeze=False)[:, 0]
    for axes, method in zip(panels, methods, strict=True):
        _panel(axes, rows[rows["method"] == method], sources)
        title = style.method_label(method)
        axes.set_title(title, loc="left", pad=14 if _several_schemes(sources) else 4)
        axes.set_ylabel("|relative residual|")
    _scale(panels[0], np.abs(rows["relative_residual"].to_numpy(float)))
    panels[-1].set_xlabel(style.STEP_AXIS)
    style.annotate(
        figure,
        "Completeness of Integrated Gradients",
        f"data set: {style.name_label(dataset)}, model: {style.name_label(model)}",
        note=(
            "Residual: sum of the attributions − (output at the input − output at the baseline), over the absolute "
            "value of the bracket; 1 (dashed) means that it is as large as what should be explained. Box: quartiles "
            "and median. Whiskers: furthest value within 1.5 interquartile ranges. Points beside it: the n samples."
        ),
    )
    return figure


def _several_schemes(sources: list[style.Source]) -> bool:
    return len({source.scheme for source in sources} - {style.EXACT}) > 1


def _panel(axes: Axes, rows: pd.DataFrame, sources: list[style.Source]) -> None:
    labels = []
    for source in sources:
        values, undefined = source.values(rows, "relative_residual")
        sizes = np.abs(values[values != 0])
        zeros = len(values) - len(sizes)
        # A method may lack a source that another one has: it keeps its place and stays empty.
        present = len(values) + undefined > 0
        labels.append(source.tick_label(len(values), undefined) if present else "not\ncomputed")
        if zeros:
            labels[-1] += f"\n{zeros} zero"
        if len(sizes):
            draw_box(axes, source.position, sizes, source.colour, SLOT_WIDTH)
    style.source_axis(axes, sources, labels)
    style.label_schemes(axes, sources)
    axes.axhline(1, color=style.NOTE_GREY, linewidth=0.8, linestyle="--", zorder=0.9)


def _scale(axes: Axes, sizes: NDArray[np.float64]) -> None:
    """Make the common axis logarithmic, over at least the decades around 1."""
    axes.set_yscale("log")
    drawn = sizes[np.isfinite(sizes) & (sizes > 0)]
    axes.set_ylim(min(drawn.min(initial=0.1), 0.1) / 2, max(drawn.max(initial=1), 1) * 2)
