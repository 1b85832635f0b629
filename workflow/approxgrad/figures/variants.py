"""Error of the published variant of Integrated Gradients beside that of the correct one, over the step size."""

from __future__ import annotations

from itertools import product

import pandas as pd
from matplotlib.figure import Figure

from approxgrad.figures import style

CORRECT, PUBLISHED = "correct", "published variant"
MOST_LABELS = 7  # Steps within two decades are labelled one by one, unless there are more.


def variant_numbers(correct: pd.DataFrame, published: pd.DataFrame, *, dataset: str, model: str) -> pd.DataFrame:
    """Return what :func:`variants` draws of two metric tables.

    Returns
    -------
    DataFrame
        One row for each variant, scheme and step: ``lower_quartile``, ``median`` and ``upper_quartile`` of the relative
        error over the ``n`` samples where it is defined.

    Raises
    ------
    ValueError
        If one of the variants has no rows whose reference is ``exact``.
    """
    parts = []
    for variant, table in ((CORRECT, correct), (PUBLISHED, published)):
        rows = style.chosen_rows(table, dataset=dataset, model=model, reference="exact")
        groups = rows.groupby(["dataset", "model", "method", "scheme", "step"], observed=True)["relative_error"]
        quartiles = {
            "lower_quartile": groups.quantile(0.25),
            "median": groups.median(),
            "upper_quartile": groups.quantile(0.75),
            "n": groups.count(),
        }
        parts.append(pd.DataFrame(quartiles).reset_index().assign(variant=variant))
    return pd.concat(parts, ignore_index=True)


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
    numbers = variant_numbers(correct, published, dataset=dataset, model=model)
    figure = Figure(figsize=(style.COLUMN_WIDTH, 3.1), layout="constrained")
    axes = figure.subplots()
    for variant, scheme in product((CORRECT, PUBLISHED), style.ordered_schemes(numbers["scheme"])):
        rows = numbers[(numbers["variant"] == variant) & (numbers["scheme"] == scheme)]
        if rows.empty:
            continue
        own = variant == CORRECT
        colour = style.SCHEME_COLOURS.get(scheme, style.LINE_GREY) if own else style.PUBLISHED_COLOUR
        axes.plot(
            rows["step"],
            rows["median"],
            color=colour,
            linestyle="-" if own else "--",
            marker=style.SCHEME_MARKERS.get(scheme, "P"),
            markersize=4,
            markerfacecolor=colour if own else "white",
            label=f"{variant}, {scheme} differences",
        )
        axes.fill_between(
            rows["step"], rows["lower_quartile"], rows["upper_quartile"], color=colour, alpha=0.25, linewidth=0
        )
    axes.set(xscale="log", xlabel=style.STEP_AXIS, ylabel="relative L2 error")
    if (numbers["median"] > 0).any():
        axes.set_yscale("log")
    steps = sorted(set(numbers["step"]))
    if len(steps) <= MOST_LABELS and steps[-1] / steps[0] < 100:
        axes.set_xticks(steps, [style.step_label(step) for step in steps])
        axes.minorticks_off()
    axes.grid(which="major")
    axes.legend(**style.ABOVE, handlelength=3)
    sizes = sorted({numbers["n"].min(), numbers["n"].max()})
    style.annotate(
        figure,
        style.method_label(method),
        f"data set: {style.name_label(dataset)}, model: {style.name_label(model)}",
        note=(
            f"Reference: exact Integrated Gradients with the same baseline. Line: median of n = "
            f"{' to '.join(map(str, sizes))} samples. Band: quartiles. The published variant scales its step along the "
            "path, so it converges to another quantity."
        ),
    )
    return figure
