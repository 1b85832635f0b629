"""Attribution maps of one image side by side: approximated and exact, for several methods."""

from __future__ import annotations

import textwrap
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator
from numpy.typing import NDArray

from approxgrad.figures import style
from approxgrad.tables import Attributions

Column = tuple[str, Attributions, Attributions]
ROWS = ("original image", "approximated", "exact")


@style.applied_style()
def attribution_maps(columns: list[Column], *, dataset: str, model: str, row: int = 0) -> Figure:
    """Draw the attribution maps of one image: a column for each method, below each other image, approximated and exact.

    Parameters
    ----------
    columns : list of (str, Attributions, Attributions)
        Name of the method, approximated and exact attributions.
    dataset, model : str
        Named in the title.
    row : int
        Which of the samples that all attributions have in common, in the order of the first ones.

    Returns
    -------
    Figure
        A pixel is the largest absolute value over the colour channels. Methods differ in units and size, so the two
        maps of a column share a colour scale and the columns do not.

    Raises
    ------
    ValueError
        If there are no columns, no such sample, or the inputs are no images.
    """
    if not columns:
        raise ValueError("columns: expected at least one method, got none")
    sample = _common_sample(columns, row)
    sources = [(meta["scheme"], style.step_label(meta["step"])) for meta in (item[1].metadata for item in columns)]
    same = len(set(sources)) == 1
    figure = Figure(figsize=(max(style.COLUMN_WIDTH, 0.45 + 1.15 * len(columns)), 5.0), layout="compressed")
    panels = figure.subplots(3, len(columns), squeeze=False)
    for panel in panels.flat:
        panel.set(xticks=[], yticks=[])
        panel.spines[:].set_visible(False)
    for panel, label in zip(panels[:, 0], ROWS, strict=True):
        panel.set_ylabel(label)
    for axes, (method, approximated, exact), (scheme, step) in zip(panels.T, columns, sources, strict=True):
        title = textwrap.fill(style.method_label(method), 22)
        axes[0].set_title(title if same else f"{title}\n{scheme}, h = {step}")
        _column(figure, axes, approximated, exact, sample)
    target = _value(columns[0][1], "target", sample)
    channels = columns[0][1].metadata["feature_shape"][0]
    colour = "absolute attribution" + (", largest of the colour channels" if channels > 1 else "")
    style.annotate(
        figure,
        f"data set: {style.name_label(dataset)}, model: {style.name_label(model)}",
        f"test sample {sample}" + ("" if target is None else f", target {target}"),
        f"approximated with {scheme} differences, h = {step}"
        if same
        else "approximated: scheme and step h above each column",
        note=f"Colour: {colour}. The scale is shared by the two maps of a column, not between columns.",
    )
    return figure


def image(attributions: Attributions, sample: int) -> NDArray[np.float64]:
    """Return the input of a sample as a picture in [0, 1]: shape (H, W), or (H, W, 3) in colour."""
    channels = _channels(attributions, "inputs", sample)
    normalisation = attributions.metadata["normalisation"]
    mean, std = (np.reshape(normalisation[name], (-1, 1, 1)) for name in ("mean", "std"))
    picture = np.clip(channels * std + mean, 0, 1)
    return picture[0] if len(picture) == 1 else np.moveaxis(picture, 0, -1)


def attribution_map(attributions: Attributions, sample: int) -> NDArray[np.float64]:
    """Return the largest absolute attribution over the channels of a sample, of shape (H, W)."""
    return np.asarray(np.abs(_channels(attributions, "attribution", sample)).max(axis=0))


def _column(figure: Figure, axes: NDArray[Any], approximated: Attributions, exact: Attributions, sample: int) -> None:
    maps = [attribution_map(attributions, sample) for attributions in (approximated, exact)]
    largest = max(pixels.max() for pixels in maps)
    axes[0].imshow(image(approximated, sample), cmap="gray", vmin=0, vmax=1)
    for panel, pixels in zip(axes[1:], maps, strict=True):
        drawn = panel.imshow(pixels, cmap="hot", vmin=0, vmax=largest if largest > 0 else 1)
    bar = figure.colorbar(drawn, cax=axes[-1].inset_axes((0, -0.13, 1, 0.06)), orientation="horizontal")
    bar.locator = MaxNLocator(3)
    bar.formatter = FuncFormatter(lambda value, _: f"{value:g}")
    bar.update_ticks()
    bar.outline.set_linewidth(0.4)


def _common_sample(columns: list[Column], row: int) -> int:
    files = [attributions for _, *pair in columns for attributions in pair]
    common = [int(sample) for sample in files[0].sample if all(sample in file.sample for file in files)]
    if not 0 <= row < len(common):
        raise ValueError(f"row: got {row}, but the attributions have {len(common)} samples in common")
    return common[row]


def _value(attributions: Attributions, field: str, sample: int) -> Any:
    """Return what a field holds for a sample, which is found by its number."""
    values = getattr(attributions, field)
    return None if values is None else values[int(np.flatnonzero(attributions.sample == sample)[0])]


def _channels(attributions: Attributions, field: str, sample: int) -> NDArray[np.float64]:
    shape = attributions.metadata["feature_shape"]
    if len(shape) != 3 or shape[0] not in (1, 3):
        raise ValueError(f"feature_shape: got {shape}, expected an image of 1 or 3 channels, [C, H, W]")
    return np.asarray(_value(attributions, field, sample), float).reshape(shape)
