"""Attribution maps of several images: original, exact, approximated and their difference, for several methods."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from approxgrad.figures import style
from approxgrad.figures.figure import FIGURES, Keys
from approxgrad.figures.pictured import AttributionFigure, compared_words, pictured, shown_files, source_words
from approxgrad.figures.triples import Column, Triple, image, map_numbers, map_triples, read_columns

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing
    from matplotlib.image import AxesImage

    from approxgrad.study.study import Study

QUANTILE = 0.99  # share of the pixels of two maps that their colour scale covers; the rest is shown like its ends

NEAR_ONE = 0.999  # From there on, what a correlation lacks to 1 is written.

SIGNED, UNSIGNED = "RdBu_r", "Reds"

# Inches. Panels have fixed places, so that pixels are equally large in all of them.
PANEL, GAP, GROUP_GAP = 0.58, 0.05, 0.14
LEFT, TOP, BELOW, NOTE_LINE = 0.45, 0.85, 0.4, 0.11
NAME_LETTERS = 36  # in a line above the maps of a method
TITLE_LINES, TITLE_LINE = 3, 0.14  # lines of a title for which there is room, and the height of each further one


@FIGURES.add
class Maps(AttributionFigure):
    """A row for each image, three maps for each method and kind of setting."""

    name: ClassVar[str] = "maps"
    label: ClassVar[str] = "attribution maps"
    file: ClassVar[str] = "attribution_maps"

    def targets(self, study: Study) -> list[tuple[str, ...]]:
        """Return the models of images."""
        return [names for names in study.models if study.is_image(names[0]) and pictured(study, *names)]

    def draw(self, inputs: Mapping[str, Any], params: Mapping[str, Any], keys: Keys) -> tuple[Drawing, pd.DataFrame]:
        """Return the maps of the attribution files."""
        columns = read_columns(*zip(*shown_files(inputs, params, keys), strict=True))
        return attribution_maps(columns, params), map_numbers(columns, keys)


@style.applied_style()
def attribution_maps(columns: Sequence[Column], params: Mapping[str, Any]) -> Drawing:
    """Draw the attribution maps of some images; a ValueError says why there is nothing to draw.

    Zero is palest in every map; a pixel is the sum over the colour channels. Exact and approximated map of one image
    and method share a colour scale, which stands below them; their difference is drawn on it too, multiplied by a power
    of ten that stands in its corner.
    """
    rows = map_triples(columns)
    channels, down, across = rows[0][0].exact.shape
    panel = PANEL * down / across
    group = 3 * PANEL + 2 * GAP + GROUP_GAP
    width = max(style.COLUMN_WIDTH, LEFT + PANEL + GROUP_GAP + len(columns) * group)
    against = compared_words((own.metadata for _, _, own in columns), params["families"])
    note = textwrap.fill(_note(channels, against), int(style.NOTE_LETTERS * width))
    title = _title(columns, params, against, int(style.LETTERS * width))
    names = _names(columns, params)
    lines = max(0, title.count("\n") + 1 - TITLE_LINES) + max(name.count("\n") for name in names)
    top = TOP + TITLE_LINE * lines
    height = top + len(rows) * (panel + BELOW) + NOTE_LINE * (note.count("\n") + 2)
    figure = style.new_figure(width, height, layout=None)
    figure.supxlabel(note, y=0.05 / height, va="bottom", fontsize=6, color=style.NOTE_GREY)
    for number, triples in enumerate(rows):
        bottom = height - top - (number + 1) * (panel + BELOW) + BELOW
        original = _panel(figure, LEFT, bottom, panel, "input" if number == 0 else "")
        original.imshow(image(columns[0][1], triples[0].sample), cmap="gray", vmin=0, vmax=1)
        target = (
            "" if triples[0].target is None else f"\ntarget {textwrap.shorten(triples[0].target, 18, placeholder='…')}"
        )
        original.set_ylabel(f"sample {triples[0].sample}{target}")
        for position, triple in enumerate(triples):
            left = LEFT + PANEL + GROUP_GAP + position * group
            heads = (against, "approximated", "difference") if number == 0 else ("", "", "")
            _draw_triple(figure, triple, left, bottom, panel, heads)
    figure.suptitle(title, y=1 - 0.06 / height, va="top", fontsize=8)
    for position, name in enumerate(names):
        middle = LEFT + PANEL + GROUP_GAP + position * group + (3 * PANEL + 2 * GAP) / 2
        figure.text(middle / width, 1 - (top - 0.15) / height, name, ha="center", va="bottom")
    return figure


def colour_limit(maps: list[NDArray[np.float64]]) -> tuple[float, bool]:
    """Return the end of a colour scale for some maps, and whether a value lies beyond it."""
    sizes = np.abs(np.concatenate([pixels.ravel() for pixels in maps]))
    limit = float(np.quantile(sizes, QUANTILE))
    if limit == 0:
        limit = float(sizes.max())
    return (limit, bool(sizes.max() > limit)) if limit > 0 else (1.0, False)


def _draw_triple(
    figure: Drawing, triple: Triple, left: float, bottom: float, height: float, names: Sequence[str]
) -> None:
    exact, approximated = (np.asarray(maps, np.float64).sum(axis=0) for maps in (triple.exact, triple.approximated))
    difference = triple.difference.sum(axis=0)
    limit, clipped = colour_limit([exact, approximated])
    factor = difference_factor(difference, limit)
    correlation, error = triple.measure("pearson"), triple.measure("relative_error")
    notes = ("", _correlation(correlation), f"error {_percent(error)}")
    maps = (exact, approximated, factor * difference)
    for index, (pixels, name, note) in enumerate(zip(maps, names, notes, strict=True)):
        axes = _panel(figure, left + index * (PANEL + GAP), bottom, height, name)
        drawn = axes.imshow(pixels, cmap=SIGNED, vmin=-limit, vmax=limit)
        axes.set_xlabel(note, fontsize=5, labelpad=1.5)
    box = {"facecolor": "white", "edgecolor": "none", "pad": 0.6, "alpha": 0.8}
    axes.text(0.03, 0.97, f"× {factor:g}", transform=axes.transAxes, ha="left", va="top", fontsize=5, bbox=box)
    _bar(figure, drawn, left, bottom, 3 * PANEL + 2 * GAP, clipped=clipped)


def difference_factor(difference: NDArray[np.float64], limit: float) -> float:
    """Return the largest power of ten with which a difference keeps to the colour scale of its maps."""
    own = colour_limit([difference])[0] if difference.any() else limit
    return float(10.0 ** np.floor(np.log10(limit / own)))


def _panel(figure: Drawing, left: float, bottom: float, height: float, title: str) -> Axes:
    axes = figure.add_axes(_fractions(figure, left, bottom, PANEL, height))
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set(visible=True, linewidth=0.4, color=style.LINE_GREY)
    axes.set_title(title, fontsize=6, pad=2)
    return axes


def _bar(figure: Drawing, drawn: AxesImage, left: float, bottom: float, width: float, *, clipped: bool) -> None:
    """Draw a colour bar with its ends and its middle labelled."""
    inset = 0.04 * width
    axes = figure.add_axes(_fractions(figure, left + inset, bottom - 0.19, width - 2 * inset, 0.045))
    low, high = drawn.get_clim()
    extend = "both" if clipped else "neither"
    bar = figure.colorbar(drawn, cax=axes, orientation="horizontal", extend=extend, extendfrac=0.04)
    ticks = [low, 0.0, high]
    bar.set_ticks(ticks, labels=[_short(tick) for tick in ticks])
    axes.tick_params(labelsize=5, length=1.5, pad=1, width=0.4)
    bar.outline.set_linewidth(0.4)


def _names(columns: Sequence[Column], params: Mapping[str, Any]) -> list[str]:
    """Return the names of the methods, and of the sources where these differ, as lines above their maps."""
    sources = [source_words(own.metadata, params["families"]) for _, own, _ in columns]
    lines = [[params["methods"][method], source] for (method, _, _), source in zip(columns, sources, strict=True)]
    shown = 1 if len(set(sources)) == 1 else 2
    return ["\n".join(textwrap.fill(line, NAME_LETTERS) for line in own[:shown]) for own in lines]


def _title(columns: Sequence[Column], params: Mapping[str, Any], against: str, letters: int) -> str:
    """Return what is shown, in lines of at most so many letters."""
    labels, sources = params["labels"], [source_words(own.metadata, params["families"]) for _, own, _ in columns]
    same = len(set(sources)) == 1
    lines = [
        "Attribution maps",
        f"data set: {labels['dataset']}, model: {labels['model']}",
        f"approximated: {sources[0] if same else 'by the gradients named above the maps'}",
    ]
    if against == "reference":
        references = dict.fromkeys(source_words(own.metadata, params["families"]) for _, _, own in columns)
        lines[-1] += f"; reference: {', '.join(references)}"
    elif params.get("twin"):
        lines[-1] += f"; exact: gradients{params['twin']}"
    return "\n".join(textwrap.fill(line, letters) for line in lines)


def _note(channels: int, against: str) -> str:
    pixel = "Attributions are summed over the colour channels. " if channels > 1 else ""
    return (
        f"{pixel}The palest colour is zero. The difference, approximated minus {against}, is multiplied by the factor "
        "in its corner. A bar with pointed ends covers 99 % of the pixels. r: Pearson correlation; error: relative L2 "
        "error, both over all features of the image."
    )


def _fractions(
    figure: Drawing, left: float, bottom: float, width: float, height: float
) -> tuple[float, float, float, float]:
    across, up = figure.get_size_inches()
    return left / across, bottom / up, width / across, height / up


def _short(value: float) -> str:
    return f"{value:.2g}".replace("e-0", "e-").replace("e+0", "e").replace("-", "−")


def _correlation(value: float) -> str:
    """Return a correlation, or what it lacks to 1 where it crowds there."""
    if np.isnan(value):
        return "r undefined"
    return f"r = {value:.3f}" if value < NEAR_ONE else f"1 − r = {_short(1 - value)}"


def _percent(share: float) -> str:
    return "undefined" if np.isnan(share) else f"{100 * share:.2g} %" if share < 1 else f"{100 * share:.0f} %"
