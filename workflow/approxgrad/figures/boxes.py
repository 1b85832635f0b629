"""Boxes with their points beside them, and the axes of metrics, for several figures."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from approxgrad.figures import style
from approxgrad.figures.source_axes import EVEN_NOTE, Group, Source

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from approxgrad.evaluation.metrics import Metric

Array = NDArray[np.float64]

SHOWN = ("pearson", "cosine", "relative_error", "mean_squared_error")  # the metrics of box plots

GOLDEN_RATIO = (5**0.5 - 1) / 2
SLOT_WIDTH = 0.8  # Share of a source's place; one half for the box, the other for its points.
MANY = 100  # With more points than this, they are smaller and fainter.
FEWEST = 6  # Fewer values have no box.
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)  # of whiskers, box and median
CROWDED = 0.01  # A quarter of the values so near to the best one are crowded.
DECADES = 2  # Values over more of them stand on a logarithmic axis.
ROUNDING = 4 * np.finfo(float).eps  # Distances from 1 below this are rounding.

BOX_NOTE = "Box: quartiles and median. Whiskers: 5th to 95th percentile. Points beside it: the samples."
FEW_NOTE = f"Fewer than {FEWEST} samples have points alone."
ZERO_NOTE = "On a logarithmic axis, zeros stand at its lower end."


@dataclass(frozen=True)
class MetricAxis:
    """How the values of a metric are drawn: as they are or as what they lack to the best one, and on which scale."""

    label: str
    lacking: float | None  # the best value, where the distance from it is drawn
    logarithmic: bool
    ends: tuple[float, float]

    def heights(self, values: Array) -> Array:
        """Return where values stand; those below a logarithmic axis stand at its lower end."""
        drawn = values if self.lacking is None else np.abs(self.lacking - values)
        return np.maximum(drawn, self.ends[0]) if self.logarithmic else drawn

    def below(self, values: Array) -> int:
        """Return how many values a logarithmic axis has no place for."""
        drawn = values if self.lacking is None else np.abs(self.lacking - values)
        return int((drawn < self.ends[0]).sum()) if self.logarithmic else 0

    def quantiles(self, values: Array) -> list[float]:
        """Return whisker, quartile, median, quartile and whisker of values, computed on the scale of the axis."""
        heights = self.heights(values)
        if not self.logarithmic:
            return [float(value) for value in np.quantile(heights, QUANTILES)]
        return [float(value) for value in 10 ** np.quantile(np.log10(heights), QUANTILES)]

    def apply(self, axes: Axes) -> None:
        """Label and scale an axis."""
        axes.set_ylabel(self.label)
        if self.logarithmic:
            axes.set_yscale("log")
        axes.set_ylim(*self.ends)


def metric_axis(metric: Metric, tables: Iterable[pd.DataFrame]) -> MetricAxis:
    """Return the axis of a metric that has room for the values of some tables, such as those of several models.

    Correlations that crowd at 1 are drawn as what they lack to it. Unbounded values over several decades, and such
    distances, stand on a logarithmic axis.
    """
    found = np.concatenate([table[metric.name].to_numpy(float) for table in tables])
    values = np.asarray(found[np.isfinite(found)], float)
    label = f"{metric.label}\n({metric.unit})" if metric.unit else metric.label
    if not len(values):
        return MetricAxis(label, None, False, (0.0, 1.0))
    if not np.isfinite(metric.upper):
        return axis_of_sizes(label, values)
    distances = metric.distance(values)
    large = distances[distances > ROUNDING]
    if metric.best == metric.upper and len(large) and np.quantile(distances, 0.25) < CROWDED:
        return MetricAxis(f"{metric.best:g} − {metric.label}", metric.best, True, _decades(large))
    low, high = values.min(), values.max()
    # Values that agree to the last digits are not blown up to the whole panel.
    margin = 0.06 * max(high - low, 0.1)
    return MetricAxis(label, None, False, (min(low, high - 0.1) - margin, high + margin))


def axis_of_sizes(label: str, values: Array, decades: float = DECADES) -> MetricAxis:
    """Return an axis for sizes such as errors, logarithmic if they are spread over more than some decades."""
    sizes = values[values > 0]
    if len(sizes) and (values >= 0).all() and sizes.max() / sizes.min() > 10**decades:
        return MetricAxis(label, None, True, _decades(sizes))
    low, high = min(values.min(), 0), max(values.max(), 0)
    margin = 0.06 * ((high - low) or 1)
    return MetricAxis(label, None, False, (low - margin, high + margin))


def _decades(sizes: Array) -> tuple[float, float]:
    low, high = sizes.min(), sizes.max()
    room = (high / low) ** 0.06
    return float(low / max(room, 1.3)), float(high * max(room, 1.3))


def draw_box(
    axes: Axes,
    axis: MetricAxis,
    values: Array,
    source: Source,
    *,
    place: tuple[float, float] | None = None,
    colour: str | None = None,
    hatch: str | None = None,
) -> None:
    """Draw a box with its points beside it, so that neither hides the other; few values are points alone.

    The `place` is its middle and the width of both, by default those of the source.
    """
    if not len(values):
        return
    middle, width = place or (source.position, SLOT_WIDTH * source.width)
    enough = len(values) >= FEWEST
    if enough:
        names = ("whislo", "q1", "med", "q3", "whishi")
        axes.bxp(
            [dict(zip(names, axis.quantiles(values), strict=True))],
            positions=[middle - 0.24 * width],
            widths=0.46 * width,
            showfliers=False,
            patch_artist=True,
            manage_ticks=False,
            boxprops={"facecolor": colour or source.colour, "linewidth": 0.6, "hatch": hatch},
            whiskerprops={"linewidth": 0.6},
            capprops={"linewidth": 0.6},
            medianprops={"color": style.BLACK, "linewidth": 1.6, "zorder": 4, "solid_capstyle": "butt"},
        )
    many = len(values) > MANY
    axes.plot(
        middle + (0.26 if enough else 0) * width + 0.42 * width * jitter(len(values)),
        axis.heights(values),
        linestyle="none",
        marker=source.marker,
        markersize=1.3 if many else 2.0,
        markerfacecolor=style.BLACK,
        markeredgewidth=0,
        alpha=0.35 if many else 0.5,
        zorder=3,
    )


@dataclass
class Legible:
    """What explains the values that a figure shows: counts over its panels, and the words of its note."""

    sizes: list[int] = field(default_factory=list)
    zeros: bool = False
    counted: bool = False  # whether counts stand over the first line of panels

    def add(self, axes: Axes, axis: MetricAxis, source: Source, values: Array, undefined: int, *, first: bool) -> None:
        """Write over a panel how many values of a source are undefined, or have no place on a logarithmic axis."""
        zero = axis.below(values)
        words = [f"{count} {name}" for count, name in ((undefined, "undefined"), (zero, "zero")) if count]
        self.sizes.append(len(values))
        self.zeros = self.zeros or zero > 0
        self.counted = self.counted or (first and bool(words))
        look: dict[str, Any] = {"rotation": 90, "ha": "center", "va": "bottom", "fontsize": 5, "color": style.NOTE_GREY}
        if words:
            axes.text(source.position, 1.02, "\n".join(words), transform=axes.get_xaxis_transform(), **look)

    def note(self, groups: Sequence[Group], shape: str = BOX_NOTE) -> str:
        """Return what explains boxes, or another shape, of such values: only what is there."""
        told = {
            shape: any(size >= FEWEST for size in self.sizes),
            FEW_NOTE: any(0 < size < FEWEST for size in self.sizes),
            ZERO_NOTE: self.zeros,
            EVEN_NOTE: any(group.even for group in groups),
        }
        return " ".join(words for words, present in told.items() if present)


def jitter(count: int) -> Array:
    """Return `count` evenly spread offsets between -0.5 and 0.5, the same ones every time."""
    return np.asarray(np.arange(1, count + 1) * GOLDEN_RATIO % 1 - 0.5, np.float64)
