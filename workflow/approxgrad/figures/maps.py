"""Attribution maps of several images: original, exact, approximated and their difference, for several methods."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from numpy.typing import NDArray

from approxgrad.evaluation.metrics import METRICS
from approxgrad.figures import style
from approxgrad.storage.table_file import TableFile
from approxgrad.storage.tables import Attributions, read_attributions

Column = tuple[str, Attributions, Attributions]

SAMPLES = 3
"""Images of one figure: the first of the randomly drawn test rows."""

QUANTILE = 0.99
"""Share of the pixels of two maps that their colour scale covers; the rest is shown like its ends."""

SIGNED, UNSIGNED = "RdBu_r", "Reds"
UNSIGNED_METHODS = ("saliency",)
NAMES = ("exact", "approximated", "difference")

# Inches. Panels have fixed places, so that pixels are equally large in all of them.
PANEL, GAP, GROUP_GAP = 0.58, 0.05, 0.14
LEFT, TOP, BELOW, NOTE_LINE = 0.45, 0.85, 0.4, 0.11


@dataclass(frozen=True)
class Triple:
    """The maps of one sample and method: (C, H, W) in the precision of the file."""

    sample: int
    method: str
    exact: NDArray[np.floating[Any]]
    approximated: NDArray[np.floating[Any]]
    inputs: NDArray[np.floating[Any]]
    unsigned: bool

    @property
    def difference(self) -> NDArray[np.float64]:
        """Approximated minus exact, in float64."""
        return np.asarray(self.approximated, np.float64) - np.asarray(self.exact, np.float64)

    def measure(self, metric: str) -> float:
        """Return a measure of agreement over all features, the one of the metric tables."""
        flat = [np.asarray(maps, np.float64).reshape(1, -1) for maps in (self.approximated, self.exact)]
        return float(METRICS[metric].function(*flat)[0])


def map_triples(columns: list[Column], samples: int = SAMPLES) -> list[list[Triple]]:
    """Return the maps of the first samples that all files have, a list for each sample with an entry for each method.

    Parameters
    ----------
    columns : list of (str, Attributions, Attributions)
        Name of the method, approximated and exact attributions.
    samples : int
        The most samples to return, in the order of the first file.

    Raises
    ------
    ValueError
        If there are no columns, no common samples, or the inputs are no images.
    """
    if not columns:
        raise ValueError("columns: expected at least one method, got none")
    common = _common([attributions.sample.tolist() for _, *pair in columns for attributions in pair])
    return [
        [
            Triple(
                sample,
                method,
                exact=_channels(exact, "attribution", sample),
                approximated=_channels(approximated, "attribution", sample),
                inputs=_channels(approximated, "inputs", sample),
                unsigned=approximated.metadata["method"]["attribution"] in UNSIGNED_METHODS,
            )
            for method, approximated, exact in columns
        ]
        for sample in common[:samples]
    ]


def read_columns(
    methods: Sequence[str], approximated: Sequence[Path | str], exact: Sequence[Path | str]
) -> list[Column]:
    """Return the columns of a picture; of the maps, only those that it shows are read.

    Parameters
    ----------
    methods : sequence of str
        Name of each column.
    approximated, exact : sequence of path
        Its attribution files.

    Raises
    ------
    ValueError
        If a file cannot be read, or they have no common samples.
    """
    held = {
        path: TableFile(path, ["sample"]).read(["sample"])["sample"].to_pylist() for path in (*approximated, *exact)
    }
    shown = _common(list(held.values()))[:SAMPLES]

    def read(path: Path | str) -> Attributions:
        return read_attributions(path, [held[path].index(sample) for sample in shown])

    return [(method, read(own), read(other)) for method, own, other in zip(methods, approximated, exact, strict=True)]


def _common(files: Sequence[Sequence[int]]) -> list[int]:
    """Return the samples that all files have, in the order of the first."""
    known = [set(samples) for samples in files]
    common = [sample for sample in files[0] if all(sample in samples for samples in known)]
    if not common:
        raise ValueError("columns: the attributions have no sample in common")
    return common


def map_numbers(columns: list[Column], *, dataset: str, model: str) -> pd.DataFrame:
    """Return what :func:`attribution_maps` draws: a row for each method, sample, channel and pixel.

    Returns
    -------
    DataFrame
        Columns ``dataset``, ``model``, ``method``, ``scheme``, ``step``, ``sample``, ``channel``, ``row``, ``column``,
        ``input`` (as the model was given it), ``exact``, ``approximated`` and ``difference``.
    """
    sources = {method: approximated.metadata for method, approximated, _ in columns}
    parts = []
    for triple in (triple for triples in map_triples(columns) for triple in triples):
        channel, row, column = (index.ravel() for index in np.indices(triple.exact.shape))
        source = sources[triple.method]
        keys = {"dataset": dataset, "model": model, "method": triple.method}
        values = {
            "channel": channel,
            "row": row,
            "column": column,
            "input": triple.inputs.ravel(),
            "exact": triple.exact.ravel(),
            "approximated": triple.approximated.ravel(),
            "difference": triple.difference.ravel(),
        }
        place = {"scheme": source["scheme"], "step": source["step"], "sample": triple.sample}
        parts.append(pd.DataFrame({**keys, **place, **values}))
    return pd.concat(parts, ignore_index=True)


@style.applied_style()
def attribution_maps(columns: list[Column], *, dataset: str, model: str) -> Figure:
    """Draw the attribution maps of some images: a row for each image, three panels for each method.

    Parameters
    ----------
    columns : list of (str, Attributions, Attributions)
        Name of the method, approximated and exact attributions.
    dataset, model : str
        Named in the title.

    Returns
    -------
    Figure
        Zero is palest in every map; a pixel is the sum over the colour channels. Exact and approximated map of one
        image and method share a colour scale, and their difference has its own; both stand below the maps.

    Raises
    ------
    ValueError
        If there are no columns, no common samples, or the inputs are no images.
    """
    rows = map_triples(columns)
    channels, down, across = rows[0][0].exact.shape
    panel = PANEL * down / across
    group = 3 * PANEL + 2 * GAP + GROUP_GAP
    width = max(style.COLUMN_WIDTH, LEFT + PANEL + GROUP_GAP + len(columns) * group)
    note = textwrap.fill(_note(channels), int(20 * width))
    height = TOP + len(rows) * (panel + BELOW) + NOTE_LINE * (note.count("\n") + 2)
    figure = Figure(figsize=(width, height))
    figure.text(0.5, 0.05 / height, note, ha="center", va="bottom", fontsize=6, color=style.NOTE_GREY)
    for number, triples in enumerate(rows):
        bottom = height - TOP - (number + 1) * (panel + BELOW) + BELOW
        original = _panel(figure, LEFT, bottom, panel, "input" if number == 0 else "")
        original.imshow(image(columns[0][1], triples[0].sample), cmap="gray", vmin=0, vmax=1)
        original.set_ylabel(_sample_label(columns[0][1], triples[0].sample))
        for position, triple in enumerate(triples):
            left = LEFT + PANEL + GROUP_GAP + position * group
            _draw_triple(figure, triple, left, bottom, panel, named=number == 0)
    _label(figure, columns, dataset, model, group)
    return figure


def image(attributions: Attributions, sample: int) -> NDArray[np.float64]:
    """Return the input of a sample as a picture in [0, 1]: shape (H, W), or (H, W, 3) in colour."""
    channels = np.asarray(_channels(attributions, "inputs", sample), np.float64)
    normalisation = attributions.metadata["normalisation"]
    mean, std = (np.reshape(normalisation[name], (-1, 1, 1)) for name in ("mean", "std"))
    picture = np.clip(channels * std + mean, 0, 1)
    return picture[0] if len(picture) == 1 else np.moveaxis(picture, 0, -1)


def colour_limit(maps: list[NDArray[np.float64]]) -> tuple[float, bool]:
    """Return the end of a colour scale for some maps, and whether a value lies beyond it."""
    sizes = np.abs(np.concatenate([pixels.ravel() for pixels in maps]))
    limit = float(np.quantile(sizes, QUANTILE))
    if limit == 0:
        limit = float(sizes.max())
    return (limit, bool(sizes.max() > limit)) if limit > 0 else (1.0, False)


def _draw_triple(figure: Figure, triple: Triple, left: float, bottom: float, height: float, *, named: bool) -> None:
    exact, approximated = (np.asarray(maps, np.float64).sum(axis=0) for maps in (triple.exact, triple.approximated))
    difference = triple.difference.sum(axis=0)
    shared, own = colour_limit([exact, approximated]), colour_limit([difference])
    correlation, error = triple.measure("pearson"), triple.measure("relative_error")
    notes = ("", "r undefined" if np.isnan(correlation) else f"r = {correlation:.3f}", f"error {_percent(error)}")
    drawn: list[AxesImage] = []
    for index, (pixels, name, note) in enumerate(zip((exact, approximated, difference), NAMES, notes, strict=True)):
        axes = _panel(figure, left + index * (PANEL + GAP), bottom, height, name if named else "")
        limit = own[0] if index == 2 else shared[0]
        one_sided = triple.unsigned and index < 2
        colours = UNSIGNED if one_sided else SIGNED
        drawn.append(axes.imshow(pixels, cmap=colours, vmin=0 if one_sided else -limit, vmax=limit))
        axes.set_xlabel(note, fontsize=5, labelpad=1.5)
    _bar(figure, drawn[1], left, bottom, 2 * PANEL + GAP, clipped=shared[1])
    _bar(figure, drawn[2], left + 2 * (PANEL + GAP), bottom, PANEL, clipped=own[1])


def _panel(figure: Figure, left: float, bottom: float, height: float, title: str) -> Axes:
    axes = figure.add_axes(_fractions(figure, left, bottom, PANEL, height))
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set(visible=True, linewidth=0.4, color=style.LINE_GREY)
    axes.set_title(title, fontsize=6, pad=2)
    return axes


def _bar(figure: Figure, drawn: AxesImage, left: float, bottom: float, width: float, *, clipped: bool) -> None:
    """Draw a colour bar with its ends and its middle labelled."""
    inset = 0.06 * width
    axes = figure.add_axes(_fractions(figure, left + inset, bottom - 0.19, width - 2 * inset, 0.045))
    low, high = drawn.get_clim()
    extend = "neither" if not clipped else "max" if low == 0 else "both"
    bar = figure.colorbar(drawn, cax=axes, orientation="horizontal", extend=extend, extendfrac=0.06)
    ticks = [0.0, high] if low == 0 else [low, 0.0, high]
    bar.set_ticks(ticks, labels=[_short(tick) for tick in ticks])
    axes.tick_params(labelsize=5, length=1.5, pad=1, width=0.4)
    bar.outline.set_linewidth(0.4)


def _label(figure: Figure, columns: list[Column], dataset: str, model: str, group: float) -> None:
    width, height = figure.get_size_inches()
    sources = [(meta["scheme"], style.step_label(meta["step"])) for meta in (item[1].metadata for item in columns)]
    same = len(set(sources)) == 1
    for position, ((method, _, _), (scheme, step)) in enumerate(zip(columns, sources, strict=True)):
        middle = LEFT + PANEL + GROUP_GAP + position * group + (3 * PANEL + 2 * GAP) / 2
        title = style.method_label(method) if same else f"{style.method_label(method)} ({scheme}, h = {step})"
        figure.text(middle / width, 1 - (TOP - 0.15) / height, textwrap.fill(title, 36), ha="center", va="bottom")
    scheme, step = sources[0]
    approximated = (
        f"approximated: {scheme} differences, h = {step}" if same else "approximated: scheme and step h above"
    )
    title = f"Attribution maps\ndata set: {style.name_label(dataset)}, model: {style.name_label(model)}\n{approximated}"
    figure.text(0.5, 1 - 0.06 / height, title, ha="center", va="top", fontsize=8)


def _note(channels: int) -> str:
    pixel = "Attributions are summed over the colour channels. " if channels > 1 else ""
    return (
        f"{pixel}The palest colour is zero. Exact and approximated map share the scale of the wide bar; their "
        "difference, approximated minus exact, has its own. A bar with pointed ends covers 99 % of the pixels. "
        "r: Pearson correlation; error: relative L2 error, both over all features of the image."
    )


def _fractions(
    figure: Figure, left: float, bottom: float, width: float, height: float
) -> tuple[float, float, float, float]:
    across, up = figure.get_size_inches()
    return left / across, bottom / up, width / across, height / up


def _short(value: float) -> str:
    return f"{value:.2g}".replace("e-0", "e-").replace("e+0", "e").replace("-", "−")


def _percent(share: float) -> str:
    return "undefined" if np.isnan(share) else f"{100 * share:.2g} %" if share < 1 else f"{100 * share:.0f} %"


def _sample_label(attributions: Attributions, sample: int) -> str:
    target = _value(attributions, "target", sample)
    return f"sample {sample}" + ("" if target is None else f"\ntarget {target}")


def _value(attributions: Attributions, field: str, sample: int) -> Any:
    """Return what a field holds for a sample, which is found by its number."""
    values = getattr(attributions, field)
    return None if values is None else values[int(np.flatnonzero(attributions.sample == sample)[0])]


def _channels(attributions: Attributions, field: str, sample: int) -> NDArray[np.floating[Any]]:
    shape = attributions.metadata["feature_shape"]
    if len(shape) != 3 or shape[0] not in (1, 3):
        raise ValueError(f"feature_shape: got {shape}, expected an image of 1 or 3 channels, [C, H, W]")
    return np.asarray(_value(attributions, field, sample)).reshape(shape)
