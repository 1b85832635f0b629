"""Attribution maps of several images: original, exact, approximated and their difference, for several methods."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from approxgrad.figures import style
from approxgrad.figures.figure import FIGURES, Figure, Keys, twin_words
from approxgrad.figures.triples import Column, Triple, image, map_numbers, map_triples, read_columns
from approxgrad.gradients.precisions import precedence
from approxgrad.methods.method import METHODS

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing
    from matplotlib.image import AxesImage

    from approxgrad.study.grid import Cell
    from approxgrad.study.study import Study

QUANTILE = 0.99  # share of the pixels of two maps that their colour scale covers; the rest is shown like its ends

SIGNED, UNSIGNED = "RdBu_r", "Reds"

# Inches. Panels have fixed places, so that pixels are equally large in all of them.
PANEL, GAP, GROUP_GAP = 0.58, 0.05, 0.14
LEFT, TOP, BELOW, NOTE_LINE = 0.45, 0.85, 0.4, 0.11
TITLE_LINES, TITLE_LINE = 3, 0.14  # lines of a title for which there is room, and the height of each further one


@FIGURES.add
class Maps(Figure):
    """A row for each image, three maps for each method and kind of setting."""

    name: ClassVar[str] = "maps"
    label: ClassVar[str] = "attribution maps"
    level: ClassVar[tuple[str, ...]] = ("dataset", "model")
    file: ClassVar[str] = "attribution_maps"

    def targets(self, study: Study) -> list[tuple[str, ...]]:
        """Return the models of images."""
        return [names for names in study.models if study.is_image(names[0]) and mapped_cells(study, *names)]

    def inputs(self, study: Study, keys: Keys) -> dict[str, str | list[str]]:
        """Return the attribution files of the columns."""
        columns = mapped_cells(study, keys["dataset"], keys["model"])
        return {"approximated": [cell.path for _, cell, _ in columns], "exact": [cell.path for _, _, cell in columns]}

    def params(self, study: Study, keys: Keys) -> dict[str, Any]:
        """Return labels and looks, and the method of each column with the labels of all."""
        methods = [method for method, _, _ in mapped_cells(study, keys["dataset"], keys["model"])]
        labels = {method: study.labels["method"][method] for method in methods}
        return super().params(study, keys) | {
            "columns": methods,
            "methods": labels,
            "twin": twin_words(study, keys["model"]),
        }

    def draw(self, inputs: Mapping[str, Any], params: Mapping[str, Any], keys: Keys) -> tuple[Drawing, pd.DataFrame]:
        """Return the maps of the attribution files."""
        columns = read_columns(params["columns"], inputs["approximated"], inputs["exact"])
        return attribution_maps(columns, params), map_numbers(columns, keys)


def mapped_cells(study: Study, dataset: str, model: str) -> list[tuple[str, Cell, Cell]]:
    """Return method, approximated and exact cell for each column.

    Of several methods of one kind the first is shown, and none that is compared with another method. Of the cells with
    one kind of setting it is that nearest to ``map_setting``, then that of the :func:`.leading` precision; one with a
    setting chosen at run time is shown only where there is no other.
    """
    columns: dict[tuple[str, str], tuple[str, Cell, Cell]] = {}
    for method in study.compared_methods(dataset, model):
        if study.reference(method) != method:
            continue
        cells = sorted(study.approximated(dataset, model, method), key=_varied)
        for varied, own in groupby(cells, key=_varied):
            nearest = min(own, key=lambda cell: shown_place(cell, study.config.map_setting))
            exact = study.exact(dataset, model, method, nearest.gradient.dtype)
            columns.setdefault((study.method(method).name, varied), (method, nearest, exact))
    order = list(METHODS)
    return [columns[key] for key in sorted(columns, key=lambda key: (order.index(key[0]), key[1]))]


def shown_place(cell: Cell, setting: float) -> tuple[Any, ...]:
    """Return what orders cells of one kind of setting by how well they are shown at a setting."""
    return cell.gradient.distance(setting), precedence(cell.gradient.dtype)


def _varied(cell: Cell) -> str:
    return cell.gradient.kind.setting_name


@style.applied_style()
def attribution_maps(columns: Sequence[Column], params: Mapping[str, Any]) -> Drawing:
    """Draw the attribution maps of some images; a ValueError says why there is nothing to draw.

    Zero is palest in every map; a pixel is the sum over the colour channels. Exact and approximated map of one image
    and method share a colour scale, and their difference has its own; both stand below the maps.
    """
    rows = map_triples(columns)
    channels, down, across = rows[0][0].exact.shape
    panel = PANEL * down / across
    group = 3 * PANEL + 2 * GAP + GROUP_GAP
    width = max(style.COLUMN_WIDTH, LEFT + PANEL + GROUP_GAP + len(columns) * group)
    against = _against(columns, params["families"])
    note = textwrap.fill(_note(channels, against), int(20 * width))
    title = _title(columns, params, int(16 * width))
    top = TOP + TITLE_LINE * max(0, title.count("\n") + 1 - TITLE_LINES)
    height = top + len(rows) * (panel + BELOW) + NOTE_LINE * (note.count("\n") + 2)
    figure = style.new_figure(width, height, layout=None)
    figure.text(0.5, 0.05 / height, note, ha="center", va="bottom", fontsize=6, color=style.NOTE_GREY)
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
            names = (against, "approximated", "difference") if number == 0 else ("", "", "")
            _draw_triple(figure, triple, left, bottom, panel, names)
    figure.text(0.5, 1 - 0.06 / height, title, ha="center", va="top", fontsize=8)
    _label(figure, columns, params, group, top)
    return figure


def colour_limit(maps: list[NDArray[np.float64]]) -> tuple[float, bool]:
    """Return the end of a colour scale for some maps, and whether a value lies beyond it."""
    sizes = np.abs(np.concatenate([pixels.ravel() for pixels in maps]))
    limit = float(np.quantile(sizes, QUANTILE))
    if limit == 0:
        limit = float(sizes.max())
    return (limit, bool(sizes.max() > limit)) if limit > 0 else (1.0, False)


def _against(columns: Sequence[Column], families: style.Families) -> str:
    """Return what maps are compared with: exact ones, or those of the source that stands in for exact gradients."""
    return "exact" if all(families[own.metadata["family"]]["exact"] for _, _, own in columns) else "reference"


def _draw_triple(
    figure: Drawing, triple: Triple, left: float, bottom: float, height: float, names: Sequence[str]
) -> None:
    exact, approximated = (np.asarray(maps, np.float64).sum(axis=0) for maps in (triple.exact, triple.approximated))
    difference = triple.difference.sum(axis=0)
    shared, own = colour_limit([exact, approximated]), colour_limit([difference])
    correlation, error = triple.measure("pearson"), triple.measure("relative_error")
    notes = ("", "r undefined" if np.isnan(correlation) else f"r = {correlation:.3f}", f"error {_percent(error)}")
    drawn: list[AxesImage] = []
    for index, (pixels, name, note) in enumerate(zip((exact, approximated, difference), names, notes, strict=True)):
        axes = _panel(figure, left + index * (PANEL + GAP), bottom, height, name)
        limit = own[0] if index == 2 else shared[0]
        one_sided = index < 2 and not triple.signed
        colours = UNSIGNED if one_sided else SIGNED
        drawn.append(axes.imshow(pixels, cmap=colours, vmin=0 if one_sided else -limit, vmax=limit))
        axes.set_xlabel(note, fontsize=5, labelpad=1.5)
    _bar(figure, drawn[1], left, bottom, 2 * PANEL + GAP, clipped=shared[1])
    _bar(figure, drawn[2], left + 2 * (PANEL + GAP), bottom, PANEL, clipped=own[1])


def _panel(figure: Drawing, left: float, bottom: float, height: float, title: str) -> Axes:
    axes = figure.add_axes(_fractions(figure, left, bottom, PANEL, height))
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set(visible=True, linewidth=0.4, color=style.LINE_GREY)
    axes.set_title(title, fontsize=6, pad=2)
    return axes


def _bar(figure: Drawing, drawn: AxesImage, left: float, bottom: float, width: float, *, clipped: bool) -> None:
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


def _label(figure: Drawing, columns: Sequence[Column], params: Mapping[str, Any], group: float, top: float) -> None:
    """Name the methods above their columns."""
    width, height = figure.get_size_inches()
    sources = [_source_words(own.metadata, params["families"]) for _, own, _ in columns]
    same = len(set(sources)) == 1
    for position, ((method, _, _), source) in enumerate(zip(columns, sources, strict=True)):
        middle = LEFT + PANEL + GROUP_GAP + position * group + (3 * PANEL + 2 * GAP) / 2
        title = params["methods"][method] if same else f"{params['methods'][method]} ({source})"
        figure.text(middle / width, 1 - (top - 0.15) / height, textwrap.fill(title, 36), ha="center", va="bottom")


def _title(columns: Sequence[Column], params: Mapping[str, Any], letters: int) -> str:
    """Return what is shown, in lines of at most so many letters."""
    labels, sources = params["labels"], [_source_words(own.metadata, params["families"]) for _, own, _ in columns]
    same = len(set(sources)) == 1
    lines = [
        "Attribution maps",
        f"data set: {labels['dataset']}, model: {labels['model']}",
        f"approximated: {sources[0] if same else 'by the gradients named above the maps'}",
    ]
    if _against(columns, params["families"]) == "reference":
        references = dict.fromkeys(_source_words(own.metadata, params["families"]) for _, _, own in columns)
        lines[-1] += f"; reference: {', '.join(references)}"
    elif params.get("twin"):
        lines[-1] += f"; exact: gradients{params['twin']}"
    return "\n".join(textwrap.fill(line, letters) for line in lines)


def _source_words(metadata: Mapping[str, Any], families: style.Families) -> str:
    """Return a gradient source as text, such as "forward differences, h = 0.1"."""
    looks = families[metadata["family"]]
    if not looks["setting_name"]:
        return str(looks["label"])
    return f"{looks['label']}, {looks['symbol']} = {style.setting_label(metadata['setting'])}"


def _note(channels: int, against: str) -> str:
    pixel = "Attributions are summed over the colour channels. " if channels > 1 else ""
    return (
        f"{pixel}The palest colour is zero. {against.capitalize()} and approximated map share the scale of the wide "
        f"bar; their difference, approximated minus {against}, has its own. A bar with pointed ends covers 99 % of the "
        "pixels. r: Pearson correlation; error: relative L2 error, both over all features of the image."
    )


def _fractions(
    figure: Drawing, left: float, bottom: float, width: float, height: float
) -> tuple[float, float, float, float]:
    across, up = figure.get_size_inches()
    return left / across, bottom / up, width / across, height / up


def _short(value: float) -> str:
    return f"{value:.2g}".replace("e-0", "e-").replace("e+0", "e").replace("-", "−")


def _percent(share: float) -> str:
    return "undefined" if np.isnan(share) else f"{100 * share:.2g} %" if share < 1 else f"{100 * share:.0f} %"
