"""The picture of an explanation: the map over the image, its colours, and how good it is predicted to be."""

from __future__ import annotations

import textwrap
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from numpy.typing import NDArray

from approxgrad.explaining.explanation import Explanation
from approxgrad.figures import style
from approxgrad.figures.maps import SIGNED, UNSIGNED, colour_limit
from approxgrad.methods.method import METHODS
from approxgrad.storage.files import write_atomically

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FORMATS = (".png", ".svg", ".pdf")
"""Endings of the names of pictures."""

WIDTH, HEIGHT = 3.5, 3.2  # inches
LETTERS, TITLE = 58, 7  # most letters of a line of the title, and their size


@style.applied_style()
def draw(explanation: Explanation) -> Figure:
    """Return the picture of an explanation: of images a map over the image, of all else the values of the features."""
    figure = style.new_figure(WIDTH, HEIGHT)
    axes = figure.subplots()
    values = explanation.values
    if values.ndim > 2:
        _draw_map(figure, axes, explanation, values)
    else:
        for number, channel in enumerate(np.atleast_2d(values)):
            axes.plot(channel, ".-", label=f"channel {number}", lw=0.8, ms=3)
        axes.axhline(0, color=style.LINE_GREY, lw=0.5)
        axes.set_xlabel("feature")
        axes.set_ylabel("attribution")
        if values.ndim > 1 and len(values) > 1:
            axes.legend()
    what = "the only output" if explanation.target is None else f"output {explanation.target}"
    title = f"{METHODS[explanation.method].label} of {what}, {explanation.evaluations:,} evaluations"
    lines = [line for text in (title, explanation.quality) for line in textwrap.wrap(text, LETTERS)]
    figure.suptitle("\n".join(lines), fontsize=TITLE)
    return figure


def _draw_map(figure: Figure, axes: Axes, explanation: Explanation, values: NDArray[np.float64]) -> None:
    shown = values.reshape(-1, *values.shape[-2:]).sum(axis=0)
    limit, clipped = colour_limit([shown])
    signed = METHODS[explanation.method].signed
    scale = ScalarMappable(Normalize(-limit if signed else 0.0, limit), SIGNED if signed else UNSIGNED)
    image = explanation.image.reshape(-1, *explanation.image.shape[-2:]).mean(axis=0)
    axes.imshow(image, cmap="gray")
    # Where a map says nothing, the image is seen.
    axes.imshow(scale.to_rgba(shown, alpha=np.sqrt(np.clip(np.abs(shown) / limit, 0, 1))))
    axes.set_axis_off()
    extend = "neither" if not clipped else "both" if signed else "max"
    label = "attribution, summed over the channels" if len(values) > 1 else "attribution"
    figure.colorbar(scale, ax=axes, shrink=0.8, extend=extend, label=label)


def save_picture(explanation: Explanation, path: Path) -> None:
    """Write the picture as a file whose name ends in one of :data:`FORMATS`."""
    figure = draw(explanation)
    with style.applied_style():
        write_atomically(path, partial(figure.savefig, format=path.suffix[1:]))


def check_format(path: Path) -> None:
    """Refuse, by a ValueError, the name of a file that does not say how the picture is written."""
    if path.suffix not in FORMATS:
        raise ValueError(f"output: expected a name that ends in {', '.join(FORMATS)}, got {path.name!r}")
