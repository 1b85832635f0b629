"""How a model learned: its measures on training and validation rows over the epochs."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from approxgrad.figures import style

# What training minimises follows from the kind of model, as does the second measure.
METRIC_LABELS = {
    "accuracy": ("loss (cross-entropy)", "accuracy (share of correct rows)"),
    "r2": ("loss (mean squared error)", "R² (explained variance)"),
}
# Greys, since the hues stand for gradient sources in the other figures.
SPLITS = {"train": ("training rows", style.LINE_GREY, "-"), "validation": ("validation rows", style.BLACK, "--")}
COLUMNS = ["dataset", "model", "metric", "split", "epoch", "value", "best"]


def curve_numbers(curves: pd.DataFrame, *, dataset: str, model: str) -> pd.DataFrame:
    """Return what :func:`learning_curves` draws: a row for each measure, split and epoch.

    Raises
    ------
    ValueError
        If the loss or the other measure is missing.
    """
    rows = curves[curves["metric"].isin(["loss", _other_metric(curves)])].assign(dataset=dataset, model=model)
    return rows[COLUMNS].sort_values(["metric", "split", "epoch"], ignore_index=True)


@style.applied_style()
def learning_curves(curves: pd.DataFrame, *, dataset: str, model: str) -> Figure:
    """Draw loss and accuracy (or R²) over the epochs and mark the epoch whose state was restored.

    Parameters
    ----------
    curves : DataFrame
        Columns ``epoch`` (from 1), ``split`` (``train`` or ``validation``), ``metric`` (``loss``, and ``accuracy`` or
        ``r2``), ``value`` and ``best`` (whether the epoch's state was restored).
    dataset, model : str
        Named in the title.

    Returns
    -------
    Figure
        Two panels: the loss and the other measure.

    Raises
    ------
    ValueError
        If a measure or the best epoch is missing.
    """
    other = _other_metric(curves)
    best = sorted(set(curves.loc[curves["best"], "epoch"]))
    if len(best) != 1:
        raise ValueError(f"curves: expected one best epoch, got {len(best)}")
    figure = Figure(figsize=(style.COLUMN_WIDTH, 4.0), layout="constrained")
    panels = figure.subplots(2, 1, sharex=True)
    for axes, metric, label in zip(panels, ("loss", other), METRIC_LABELS[other], strict=True):
        _panel(axes, curves[curves["metric"] == metric], best[0])
        axes.set_ylabel(label)
    panels[1].set_xlabel("epoch")
    panels[1].xaxis.set_major_locator(MaxNLocator(integer=True))
    style.annotate(
        figure,
        "Learning curves",
        f"data set: {style.name_label(dataset)}, model: {style.name_label(model)}",
        note="Best epoch: lowest validation loss; the model is used as it was then.",
    )
    panels[0].legend(**style.ABOVE, ncols=3, columnspacing=1, handlelength=1.6, handletextpad=0.5)
    return figure


def _other_metric(curves: pd.DataFrame) -> str:
    present = set(curves["metric"])
    other = next((metric for metric in METRIC_LABELS if metric in present), None)
    if other is None or "loss" not in present:
        raise ValueError(f"curves: expected the metric loss and one of {', '.join(METRIC_LABELS)}")
    return other


def _panel(axes: Axes, curves: pd.DataFrame, best: int) -> None:
    for split, (label, colour, line) in SPLITS.items():
        own = curves[curves["split"] == split].sort_values("epoch")
        # A single epoch is no line, so few epochs get markers.
        marker = "o" if len(own) <= 20 else ""
        axes.plot(own["epoch"], own["value"], line, color=colour, marker=marker, markersize=2.5, label=label)
    axes.axvline(best, color=style.BLACK, linestyle=":", linewidth=1, label=f"best epoch: {best}")
    axes.grid()
    values = curves["value"]
    if values.min() > 0 and values.max() / values.min() > 100:
        axes.set_yscale("log")
