"""How a model learned: its measures on training and validation rows over the epochs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from approxgrad.figures import style
from approxgrad.figures.figure import FIGURES, Figure, Keys

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing

    from approxgrad.study.study import Study

CURVES = "results/learning_curves/dataset={dataset}/model={model}/part-0.parquet"

# The kind of model decides what training minimises, and the second measure.
METRIC_LABELS = {
    "accuracy": ("loss (cross-entropy)", "accuracy (share of correct rows)"),
    "r2": ("loss (mean squared error)", "R² (explained variance)"),
}
# Greys, since the hues stand for gradient sources in the other figures.
SPLITS = {"train": ("training rows", style.LINE_GREY, "-"), "validation": ("validation rows", style.BLACK, "--")}
MARGIN = 0.04  # share of the epochs that is left at both ends
COLUMNS = ["dataset", "model", "metric", "split", "epoch", "value", "best"]


@FIGURES.add
class LearningCurves(Figure):
    """Loss and accuracy (or R²) over the epochs, with the epoch whose state was restored."""

    name: ClassVar[str] = "learning_curves"
    label: ClassVar[str] = "learning curves"
    level: ClassVar[tuple[str, ...]] = ("dataset", "model")
    of_method: ClassVar[str] = "none"
    target: ClassVar[str] = "figures"

    def targets(self, study: Study) -> list[tuple[str, ...]]:
        """Return the models that are trained here."""
        return [names for names in study.models if study.model(names[1]).trained]

    def inputs(self, study: Study, keys: Keys) -> dict[str, str | list[str]]:
        """Return the table of the training."""
        return {"curves": CURVES.format(**keys)}

    def params(self, study: Study, keys: Keys) -> dict[str, Any]:
        """Return the labels alone: the curves have nothing to do with gradient sources."""
        return {"labels": super().params(study, keys)["labels"]}

    def draw(self, inputs: Mapping[str, Any], params: Mapping[str, Any], keys: Keys) -> tuple[Drawing, pd.DataFrame]:
        """Return the curves of the table."""
        from approxgrad.evaluation.frames import read_keyed

        return learning_curves(read_keyed(inputs["curves"], **keys), params["labels"])


@style.applied_style()
def learning_curves(curves: pd.DataFrame, labels: Mapping[str, str]) -> tuple[Drawing, pd.DataFrame]:
    """Draw the measures of both splits, with labels of data set and model; also return them.

    It needs ``epoch`` (from 1), ``split`` (``train`` or ``validation``), ``metric`` (``loss``, and ``accuracy`` or
    ``r2``), ``value`` and ``best`` (whether the epoch's state was restored).
    """
    present = set(curves["metric"])
    other = next((metric for metric in METRIC_LABELS if metric in present), None)
    if other is None or "loss" not in present:
        raise ValueError(f"curves: expected the metric loss and one of {', '.join(METRIC_LABELS)}")
    best = sorted(set(curves.loc[curves["best"], "epoch"]))
    if len(best) != 1:
        raise ValueError(f"curves: expected one best epoch, got {len(best)}")
    rows = curves.loc[curves["metric"].isin(["loss", other]), COLUMNS]
    numbers = rows.sort_values(["metric", "split", "epoch"], ignore_index=True)
    figure = style.new_figure(style.COLUMN_WIDTH, 4.0)
    panels = figure.subplots(2, 1, sharex=True)
    for axes, metric, label in zip(panels, ("loss", other), METRIC_LABELS[other], strict=True):
        _panel(axes, numbers[numbers["metric"] == metric], best[0])
        axes.set_ylabel(label)
    panels[1].set_xlabel("epoch")
    last = int(numbers["epoch"].max())
    panels[1].set_xlim(1 - MARGIN * max(last - 1, 1), last + MARGIN * max(last - 1, 1))
    panels[1].set_xticks(_ticks(last))
    note = "Best epoch: lowest validation loss; the model is used as it was then."
    style.annotate(figure, labels, "Learning curves", note=note)
    panels[0].legend(**style.ABOVE, ncols=3, columnspacing=1, handlelength=1.6, handletextpad=0.5)
    return figure, numbers


def _panel(axes: Axes, curves: pd.DataFrame, best: int) -> None:
    for split, (label, colour, line) in SPLITS.items():
        own = curves[curves["split"] == split]
        # A single epoch is no line, so few epochs get markers.
        marker = "o" if len(own) <= 20 else ""
        axes.plot(own["epoch"], own["value"], line, color=colour, marker=marker, markersize=2.5, label=label)
    axes.axvline(best, color=style.BLACK, linestyle=":", linewidth=1, label=f"best epoch: {best}")
    axes.grid()
    values = curves["value"]
    if values.min() > 0 and values.max() / values.min() > 100:
        axes.set_yscale("log")


def _ticks(last: int) -> list[int]:
    """Return the first epoch and round ones after it."""
    from matplotlib.ticker import MaxNLocator

    round_ones = [int(tick) for tick in MaxNLocator(nbins=8, integer=True).tick_values(1, last)]
    return [1, *(tick for tick in round_ones if 1 < tick <= last)]
