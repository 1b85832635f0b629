"""Attributions of one's own as a picture for a paper."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from approxgrad.figures import style
from approxgrad.figures.maps import SIGNED, UNSIGNED, colour_limit

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_ROWS = 20
"""Inputs of one picture."""

SIDE = 1.1
"""Inches of the longer side of a map."""


@style.applied_style()
def plot_attribution(
    attributions: Any,
    inputs: Any = None,
    *,
    titles: Sequence[str] | None = None,
    feature_names: Sequence[str] | None = None,
    most_features: int = 15,
) -> Figure:
    """Draw attributions of some inputs: maps of images, bars of the features of rows.

    Parameters
    ----------
    attributions : Tensor, array or DataFrame
        Of images, shape (N, channels, height, width), or of rows, shape (N, d). N is at most 20.
    inputs : Tensor, array or DataFrame, optional
        Of the same shape. An image is drawn beside its map, with its values from the smallest to the largest; of a row
        the values stand behind the names of the features.
    titles : sequence of str, optional
        One for each input.
    feature_names : sequence of str, optional
        For rows; by default the columns of a data frame, or numbers from 0 on.
    most_features : int
        Of a row so many features are drawn, those with the largest attributions.

    Returns
    -------
    Figure
        Of matplotlib; ``figure.savefig("maps.pdf")`` writes it.

    Raises
    ------
    ValueError
        If the shapes do not fit, or a value is not finite.
    TypeError
        If `titles` are a single text.

    Notes
    -----
    The channels of an image are summed. Zero is the palest colour; the ends of a scale cover 99 % of the pixels. Maps
    without negative values in any of them have one colour, others two. Each map has its own scale.
    """
    maps = _array(attributions, "attributions")
    shown = None if inputs is None else _array(inputs, "inputs")
    if maps.ndim not in (2, 4) or not 1 <= len(maps) <= MOST_ROWS or not maps.size:
        shapes = "(N, channels, height, width) or (N, d)"
        raise ValueError(f"attributions: expected shape {shapes} with N from 1 to {MOST_ROWS}, got {maps.shape}")
    if shown is not None and shown.shape != maps.shape:
        raise ValueError(f"inputs: expected the shape of the attributions, {maps.shape}, got {shown.shape}")
    if isinstance(titles, str):
        raise TypeError(f"titles: got the text {titles!r}, expected a list with one for each input")
    if titles is not None and len(titles) != len(maps):
        raise ValueError(f"titles: expected {len(maps)}, one for each input, got {len(titles)}")
    if maps.ndim == 4:
        return _image_maps(maps, shown, titles)
    names = getattr(attributions, "columns", range(maps.shape[1])) if feature_names is None else feature_names
    if len(names) != maps.shape[1]:
        raise ValueError(f"feature_names: expected {maps.shape[1]}, got {len(names)}")
    return _bars(maps, shown, titles, [str(name) for name in names], max(1, most_features))


def _array(values: Any, name: str) -> NDArray[np.float64]:
    values = values.detach().cpu() if hasattr(values, "detach") else values
    found = np.asarray(values, np.float64)
    if not np.isfinite(found).all():
        raise ValueError(f"{name}: expected finite values")
    return found


def _image_maps(maps: NDArray[np.float64], images: NDArray[np.float64] | None, titles: Sequence[str] | None) -> Figure:
    down, across = maps.shape[2:]
    height, width = (SIDE * side / max(down, across) for side in (down, across))
    columns = 1 if images is None else 2
    figure = style.new_figure(columns * (width + 0.25) + 0.7, len(maps) * (height + 0.35), layout="constrained")
    panels = figure.subplots(len(maps), columns, squeeze=False)
    one_sided = bool((maps.sum(axis=1) >= 0).all())
    for row, (axes, values) in enumerate(zip(panels, maps, strict=True)):
        for panel in axes:
            panel.set(xticks=[], yticks=[])
            panel.spines[:].set(visible=True, linewidth=0.4, color=style.LINE_GREY)
        if images is not None:
            axes[0].imshow(_picture(images[row]), cmap="gray")
        pixels = values.sum(axis=0)
        limit, clipped = colour_limit([pixels])
        drawn = axes[-1].imshow(
            pixels, cmap=UNSIGNED if one_sided else SIGNED, vmin=0 if one_sided else -limit, vmax=limit
        )
        extend = "neither" if not clipped else "max" if one_sided else "both"
        bar = figure.colorbar(drawn, ax=axes[-1], extend=extend, fraction=0.05, format="%.2g", label="attribution")
        bar.outline.set_linewidth(0.4)
        if titles is not None:
            axes[0].set_title(titles[row])
    return figure


def _picture(channels: NDArray[np.float64]) -> NDArray[np.float64]:
    low, high = channels.min(), channels.max()
    scaled = (channels - low) / (high - low if high > low else 1)
    return np.moveaxis(scaled, 0, -1) if len(scaled) == 3 else np.asarray(scaled.mean(axis=0))


def _bars(
    maps: NDArray[np.float64],
    rows: NDArray[np.float64] | None,
    titles: Sequence[str] | None,
    names: list[str],
    most: int,
) -> Figure:
    count = min(most, maps.shape[1])
    figure = style.new_figure(style.COLUMN_WIDTH, len(maps) * (0.45 + 0.14 * count), layout="constrained")
    for row, axes in enumerate(figure.subplots(len(maps), 1, squeeze=False)[:, 0]):
        order = np.argsort(-np.abs(maps[row]), kind="stable")[:count][::-1]
        labels = [names[place] if rows is None else f"{names[place]} = {rows[row, place]:.4g}" for place in order]
        _bar_panel(axes, maps[row, order], labels)
        axes.set_title("" if titles is None else titles[row])
    axes.set_xlabel("attribution")
    return figure


def _bar_panel(axes: Axes, values: NDArray[np.float64], labels: list[str]) -> None:
    # The hues of the maps: red is positive.
    colours = [style.BLUE if value < 0 else style.VERMILLION for value in values]
    axes.barh(np.arange(len(values)), values, color=colours, height=0.7)
    axes.set_yticks(np.arange(len(values)), labels=labels)
    axes.axvline(0, color=style.BLACK, linewidth=0.6)
    axes.tick_params(axis="y", length=0)
