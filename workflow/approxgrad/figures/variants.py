"""Error of the published variant of Integrated Gradients beside that of the correct one, over the step size."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from approxgrad.figures import style

SERIES = {"correct": (style.BLUE, "o", "-"), "published variant": (style.ORANGE, "s", "--")}


@style.applied_style()
def variants(correct: pd.DataFrame, published: pd.DataFrame, *, dataset: str, model: str, method: str) -> Figure:
    """Draw the relative error against exact Integrated Gradients over the step size, on logarithmic axes.

    Parameters
    ----------
    correct, published : DataFrame
        Metric tables of the two variants; the rows whose reference is ``exact`` are drawn.
    dataset, model, method : str
        What is drawn; the method is the published variant.

    Returns
    -------
    Figure
        One panel: for each variant and scheme the median over the samples, with the quartiles as a band.

    Raises
    ------
    ValueError
        If one of the variants has no such rows.
    """
    keys = {"dataset": dataset, "model": model, "reference": "exact"}
    figure = Figure(figsize=(style.COLUMN_WIDTH, 3.2), layout="constrained")
    axes = figure.subplots()
    counts: set[int] = set()
    for (name, (colour, marker, line)), table in zip(SERIES.items(), (correct, published), strict=True):
        for scheme, rows in style.chosen_rows(table, **keys).groupby("scheme"):
            groups = rows.groupby("step")["relative_error"]
            steps = np.unique(rows["step"])
            lower, median, upper = (groups.quantile(share).loc[steps].to_numpy() for share in (0.25, 0.5, 0.75))
            label = f"{name}, {scheme} differences"
            axes.plot(steps, median, color=colour, marker=marker, linestyle=line, markersize=4, label=label)
            axes.fill_between(steps, lower, upper, color=colour, alpha=0.25, linewidth=0)
            counts |= set(groups.count().tolist())
    axes.set(xscale="log", yscale="log", xlabel=style.STEP_AXIS, ylabel="relative L2 error of the attribution")
    axes.grid(which="major")
    axes.legend(**style.ABOVE)
    sizes = sorted({min(counts), max(counts)})
    style.annotate(
        figure,
        style.method_label(method),
        f"data set: {style.name_label(dataset)}, model: {style.name_label(model)}",
        "against exact Integrated Gradients with the same baseline",
        note=(
            f"Line: median of n = {' to '.join(map(str, sizes))} samples. Band: quartiles. "
            "The published variant scales its step along the path, so it converges to another quantity."
        ),
    )
    return figure
