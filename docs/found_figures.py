"""The figures of found.md: one for each group of claims."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from found_claims import FOLDER, INTEGRATED, NETWORKS, PUBLISHED, Tables
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from approxgrad.figures.style import (
    BLACK,
    BLUE,
    GREEN,
    LINE_GREY,
    ORANGE,
    PURPLE,
    VERMILLION,
    applied_style,
    new_figure,
)

METHODS = {"saliency": "Saliency", "input_x_gradient": "Gradient x Input"}
WAYS: tuple[tuple[str, str, str, str], ...] = (
    ("forward", "dense", ORANGE, "o"),
    ("forward", "propagated", BLUE, "^"),
    ("central", "propagated", GREEN, "s"),
    ("central", "dense", GREEN, "s"),
)
THESIS = {
    "saliency": {1e-5: 0.956, 1e-4: 0.999, 0.01: 0.989, 0.5: 0.608, 1: 0.450},
    "input_x_gradient": {1e-5: 0.968, 1e-4: 0.999, 0.01: 0.990, 0.5: 0.656, 1: 0.508},
}
"""Median correlations that the thesis published for a CNN, of other images and weights."""

VARIANTS = {INTEGRATED: ("correct", BLUE, "o"), PUBLISHED: ("published", VERMILLION, "s")}


def _curve(axes: Axes, rows: pd.DataFrame, metric: str, **looks: Any) -> None:
    """Draw the median over the images with a band between the quartiles."""
    by_step = rows.groupby("step")[metric]
    low, middle, high = (by_step.quantile(share) for share in (0.25, 0.5, 0.75))
    axes.plot(middle.index, middle, markersize=3, linewidth=1.2, **looks)
    axes.fill_between(middle.index, low, high, color=looks["color"], alpha=0.15, linewidth=0)


@applied_style()
def steps(tables: Tables) -> Figure:
    """Draw relative error and correlation over the step."""
    figure = new_figure(7.2, 4.4)
    panels = figure.subplots(2, 4, sharex=True, sharey="row")
    columns = [(name, method) for method in METHODS for name in NETWORKS]
    for (above, below), (name, method) in zip(panels.T, columns, strict=True):
        own = tables.images[name]
        for scheme, evaluation, colour, marker in WAYS:
            rows = own[(own["method"] == method) & (own["scheme"] == scheme) & (own["evaluation"] == evaluation)]
            if len(rows):
                looks = {
                    "color": colour,
                    "marker": marker,
                    "label": scheme if scheme == "central" else f"{scheme}, {evaluation}",
                }
                _curve(above, rows, "relative_error", **looks)
                _curve(below, rows, "pearson", **looks)
        if name == "cnn":
            published = THESIS[method]
            below.plot([*published], [*published.values()], "x", color=BLACK, markersize=4, label="thesis, its own CNN")
        above.set(
            xscale="log",
            yscale="log",
            title=f"{METHODS[method]}, {NETWORKS[name]}\nn = {tables.count(name, 'gradients')}",
        )
        below.set(xlabel="step h", ylim=(-0.05, 1.05), xticks=[1e-6, 1e-4, 1e-2, 1])
        above.grid(which="major")
        below.grid()
    panels[0, 0].set_ylabel("relative L2 error")
    panels[1, 0].set_ylabel("Pearson correlation")
    handles = {
        label: handle for axes in panels.flat for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=5)
    return figure


@applied_style()
def paths(tables: Tables) -> Figure:
    """Draw both variants of Integrated Gradients over the step."""
    figure = new_figure(5.2, 4.0)
    metrics = {"relative_error": "relative L2 error", "scale_free_error": "error at the best factor"}
    panels = figure.subplots(2, 2, sharex=True, sharey="row")
    for row, (metric, label) in zip(panels, metrics.items(), strict=True):
        for axes, name in zip(row, NETWORKS, strict=True):
            own = tables.images[name]
            for method, (title, colour, marker) in VARIANTS.items():
                rows = own[(own["method"] == method) & (own["scheme"] == "forward")]
                _curve(axes, rows, metric, color=colour, marker=marker, label=f"{title} formula")
            limit = tables.exact(name, PUBLISHED, metric).median()
            axes.axhline(limit, color=LINE_GREY, linestyle="--", linewidth=1, label="published, exact gradients")
            axes.set(xscale="log", yscale="log")
            axes.grid(which="major")
        row[0].set_ylabel(label)
    for axes, name in zip(panels[0], NETWORKS, strict=True):
        axes.set_title(f"Integrated Gradients, {NETWORKS[name]}\nn = {tables.count(name, 'paths')}")
    for axes in panels[1]:
        axes.set_xlabel("step h")
    figure.legend(*panels[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure


@applied_style()
def truth(tables: Tables) -> Figure:
    """Draw the gain in agreement with the true effects over the step, for each training."""
    own = tables.truth[(tables.truth["truth"] == "effects") & tables.truth["step"].notna()]
    titles = METHODS | {INTEGRATED: "Integrated Gradients"}
    figure = new_figure(7.2, 2.5)
    for axes, (method, title) in zip(figure.subplots(1, 3, sharey=True), titles.items(), strict=True):
        for network, rows in own[own["method"] == method].groupby("network", sort=False):
            published = network == "published"
            looks: dict[str, Any] = {"color": VERMILLION if published else LINE_GREY, "marker": "o", "markersize": 3}
            label = (
                "published network" if published else "six others, trained alike" if network == "training 1" else None
            )
            errors = np.array([rows["gain"] - rows["gain_low"], rows["gain_high"] - rows["gain"]])
            axes.errorbar(
                rows["step"], rows["gain"], errors, linewidth=1, zorder=3 if published else 2, label=label, **looks
            )
        axes.axhline(0, color=BLACK, linewidth=0.8)
        axes.set(xscale="log", xlabel="step h", title=title)
        axes.grid(axis="y")
    first = figure.axes[0]
    first.set_ylabel("gain in correlation\nover exact gradients")
    first.legend()
    return figure


@applied_style()
def faithfulness(tables: Tables) -> Figure:
    """Draw deletion plus insertion of each map as a share of what the exact one gains over a random order."""
    figure = new_figure(5.2, 3.0)
    panels = figure.subplots(1, 2, sharey=True)
    for axes, name in zip(panels, NETWORKS, strict=True):
        for (method, title), colour in zip(METHODS.items(), (PURPLE, GREEN), strict=True):
            for evaluation, line, marker in (("dense", "-", "o"), ("propagated", ":", "^")):
                found = tables.faithful(name, method, evaluation)
                if len(found):
                    axes.errorbar(
                        found["step"],
                        found["share"],
                        found[["below", "above"]].to_numpy().T,
                        linestyle=line,
                        linewidth=1,
                        marker=marker,
                        markersize=3,
                        color=colour,
                        label=f"{title}, {evaluation}",
                    )
        axes.axhline(1, color=BLACK, linewidth=0.8)
        axes.axhline(0, color=LINE_GREY, linestyle="--", linewidth=0.8)
        axes.set(xscale="log", xlabel="step h", title=f"{NETWORKS[name]}, n = {tables.count(name, 'gradients')}")
        axes.grid(axis="y")
    panels[0].set_ylabel("deletion + insertion\n(0 random order, 1 exact map)")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure


FIGURES = {"steps": steps, "paths": paths, "truth": truth, "faithfulness": faithfulness}


def draw_all(tables: Tables, folder: Path = FOLDER) -> None:
    """Write all figures."""
    for name, draw in FIGURES.items():
        _save(draw(tables), folder / f"{name}.png")


@applied_style()
def _save(figure: Figure, path: Path) -> None:
    """Write a picture without the version that wrote it, so that the same numbers give the same bytes."""
    figure.savefig(path, metadata={"Software": None})
