"""Error against step of every method: rounding to the left, truncation to the right, the best step between them."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import fill
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from approxgrad.evaluation.convergence import Convergence, convergence
from approxgrad.figures import style

COLUMNS = 3
MARKERS = {"forward": "o", "backward": "^", "central": "s"}
LINES = {"float32": "-", "float64": (0, (4, 1.5))}
BEST: dict[str, Any] = {"marker": "*", "markersize": 9, "markeredgecolor": style.BLACK, "markeredgewidth": 0.6}
CHOSEN: dict[str, Any] = {"marker": "D", "markersize": 4.5, "markerfacecolor": "white", "markeredgewidth": 1.2}
GUIDE: dict[str, Any] = {"color": style.BLACK, "linestyle": (0, (1, 1.2)), "linewidth": 1.1, "zorder": 5}


@style.applied_style()
def anatomy(curves: pd.DataFrame, *, dataset: str, model: str, methods: Sequence[str]) -> Figure:
    """Draw the error over the step on logarithmic axes, a panel for each method.

    Parameters
    ----------
    curves : DataFrame
        As :func:`approxgrad.evaluation.convergence.error_curves` returns them.
    dataset, model : str
        What is drawn.
    methods : sequence of str
        The panels, in this order.

    Returns
    -------
    Figure
        For each scheme and precision a line of the medians over the samples, with the quartiles as a band; the power
        laws of its branches with their exponents; its best step, and the step chosen at run time where there is one.

    Raises
    ------
    ValueError
        If there are no rows for a method.
    """
    columns = 2 if len(methods) == 4 else min(COLUMNS, len(methods))
    lines = -(-len(methods) // columns)
    figure = Figure(figsize=(max(style.COLUMN_WIDTH, 0.5 + 2.5 * columns), 1.8 + 2.3 * lines), layout="constrained")
    # The legend has a row of its own, which the layout keeps clear of the title.
    top, body = figure.subfigures(2, 1, squeeze=False, height_ratios=[0.35, 2.3 * lines])[:, 0]
    panels = body.subplots(lines, columns, sharex=True, sharey=True, squeeze=False)
    handles: dict[str, Line2D] = {}
    positive = False
    for axes, method in zip(panels.flat, methods, strict=False):
        rows = style.chosen_rows(curves, dataset=dataset, model=model, method=method)
        missing = _panel(axes, rows, handles)
        positive = positive or bool((rows["error"] > 0).any())
        sizes = sorted({rows["n"].min(), rows["n"].max()})
        title = [style.method_label(method), f"n = {' to '.join(map(str, sizes))}"]
        if missing:
            title.append(f"too few points for a slope: {', '.join(missing)}")
        axes.set_title("\n".join(fill(line, 44) for line in title))
    if positive:
        # Of all panels, which share the axis; errors that are all zero have no place on it.
        panels[0, 0].set_yscale("log")
    for axes in panels.flat[len(methods) :]:
        axes.set_visible(False)
    for place, axes in enumerate(panels.flat[: len(methods)]):
        if place + columns >= len(methods):
            axes.set_xlabel(style.STEP_AXIS)
            axes.tick_params(labelbottom=True)
        if place % columns == 0:
            axes.set_ylabel("relative L2 error of the attribution")
    top.legend(
        handles=sorted(handles.values(), key=lambda handle: handle.get_linestyle() == "None"),
        loc="center",
        ncols=max(2, columns),
    )
    style.annotate(
        figure,
        "Error against step",
        f"data set: {style.name_label(dataset)}, model: {style.name_label(model)}",
        "against exact gradients of the same precision",
        note=(
            "Line: median of the n samples. Band: quartiles. Dotted: power laws with the exponents of the panel (left, "
            "right of the minimum), fitted to at least three points of a branch."
        ),
    )
    return figure


def _panel(axes: Axes, rows: pd.DataFrame, handles: dict[str, Line2D]) -> list[str]:
    """Draw the curves of one method, add what is new to the legend and return the curves without slopes."""
    missing = []
    exponents = {}
    for key, curve in rows.groupby(["scheme", "dtype"]):
        scheme, dtype = map(str, key)
        colour, line = style.SCHEME_COLOURS.get(scheme, style.ORANGE), LINES[dtype]
        fixed = curve[~curve["chosen"]].sort_values("step")
        if len(fixed):
            shown: dict[str, Any] = {"color": colour, "linestyle": line, "linewidth": 1, "markersize": 2.5}
            label = f"{scheme} differences, {dtype}"
            (handles[label],) = axes.plot(
                fixed["step"], fixed["error"], marker=MARKERS.get(scheme, "v"), label=label, **shown
            )
            axes.fill_between(
                fixed["step"], fixed["lower_quartile"], fixed["upper_quartile"], color=colour, alpha=0.18, linewidth=0
            )
            found = convergence(fixed["step"], fixed["error"], dtype)
            _mark(axes, found, colour, handles)
            if found.truncation is None and found.rounding is None:
                missing.append(f"{scheme} {dtype}")
            else:
                exponents[f"{scheme} {dtype}"] = (_exponents(found), colour)
        chosen = curve[curve["chosen"]]
        if len(chosen):
            axes.plot(chosen["step"], chosen["error"], linestyle="none", markeredgecolor=colour, zorder=7, **CHOSEN)
            handles.setdefault("chosen", _legend_mark("step chosen at run time", CHOSEN, markeredgecolor=style.BLACK))
    axes.set_xscale("log")
    axes.grid(which="major")
    if exponents:
        _write_exponents(axes, exponents)
    return missing


def _mark(axes: Axes, found: Convergence, colour: str, handles: dict[str, Line2D]) -> None:
    """Mark the best step and draw the power laws of the branches."""
    axes.plot(found.best_step, found.best_error, linestyle="none", color=colour, zorder=6, **BEST)
    handles.setdefault("best", _legend_mark("best step of the study", BEST, color="white"))
    for branch in (found.rounding, found.truncation):
        if branch is not None:
            ends = np.array([branch.low, branch.high])
            axes.plot(ends, branch.error(ends), **GUIDE)


def _exponents(found: Convergence) -> str:
    """Return the exponents to the left and to the right of the minimum."""
    return ", ".join(
        "none" if branch is None else f"{branch.slope:.2f}" for branch in (found.rounding, found.truncation)
    )


def _write_exponents(axes: Axes, exponents: dict[str, tuple[str, str]]) -> None:
    """Write the exponents of every curve in its colour below the rounding branch, where there is room."""
    lines = [("exponents:", style.BLACK)]
    lines += [(f"{name}: {text}", colour) for name, (text, colour) in exponents.items()]
    for place, (text, colour) in enumerate(reversed(lines)):
        axes.text(0.02, 0.02 + 0.06 * place, text, transform=axes.transAxes, fontsize=5.5, color=colour, zorder=8)


def _legend_mark(label: str, look: dict[str, Any], **colours: str) -> Line2D:
    options: dict[str, Any] = {**look, **colours}
    return Line2D([], [], linestyle="none", label=label, **options)
