"""Boxes with their points beside them, and the axes of metrics, for several figures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from approxgrad.figures import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from approxgrad.evaluation.metrics import Metric

SHOWN = ("pearson", "cosine", "mean_squared_error")  # the metrics of box plots

GOLDEN_RATIO = (5**0.5 - 1) / 2
SLOT_WIDTH = 0.8  # Of the distance of two gradient sources; one half for the box, the other for its points.
MANY = 100  # With more points than this, they are smaller and fainter.
BOX_NOTE = (
    "Box: quartiles and median. Whiskers: furthest value within 1.5 interquartile ranges. "
    "Points beside it: the n samples."
)


def draw_box(
    axes: Axes, position: float, values: NDArray[np.float64], colour: Any, width: float, hatch: str | None = None
) -> None:
    """Draw a box with its points beside it, so that neither hides the other; `width` is that of both."""
    axes.boxplot(
        [values],
        positions=[position - 0.24 * width],
        widths=0.46 * width,
        showfliers=False,
        patch_artist=True,
        boxprops={"facecolor": colour, "linewidth": 0.6, "hatch": hatch},
        whiskerprops={"linewidth": 0.6},
        capprops={"linewidth": 0.6},
        medianprops={"color": style.BLACK, "linewidth": 1.6, "zorder": 4, "solid_capstyle": "butt"},
    )
    many = len(values) > MANY
    axes.plot(
        position + 0.26 * width + 0.42 * width * jitter(len(values)),
        values,
        linestyle="none",
        marker="o",
        markersize=1.3 if many else 2.0,
        markerfacecolor=style.BLACK,
        markeredgewidth=0,
        alpha=0.35 if many else 0.5,
        zorder=3,
    )


def jitter(count: int) -> NDArray[np.float64]:
    """Return `count` evenly spread offsets between -0.5 and 0.5, the same ones every time."""
    return np.asarray(np.arange(1, count + 1) * GOLDEN_RATIO % 1 - 0.5, np.float64)


def metric_axis(axes: Axes, values: list[NDArray[np.float64]], metric: Metric) -> None:
    """Label and scale the axis of a metric; an unbounded one over several decades is logarithmic."""
    axes.set_ylabel(f"{metric.label}\n({metric.unit})" if metric.unit else metric.label)
    drawn = np.concatenate(values)
    if not len(drawn):
        return
    low, high = drawn.min(), drawn.max()
    if np.isfinite(metric.upper):
        # Values that agree to the last digits are not blown up to the whole panel.
        margin = 0.06 * max(high - low, 0.1)
        axes.set_ylim(min(low, high - 0.1) - margin, high + margin)
    elif low > 0 and high / low > 100:
        axes.set_yscale("log")
