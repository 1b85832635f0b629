"""Attribution maps of one image as the thesis shows them."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from approxgrad.figures import style
from approxgrad.figures.figure import FIGURES, Figure, Keys
from approxgrad.figures.maps import colour_limit
from approxgrad.figures.triples import Column, image, map_numbers, map_triples, read_columns

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure as Drawing

    from approxgrad.study.grid import Cell
    from approxgrad.study.study import Study

KINDS = (("saliency",), ("input_x_gradient",), ("integrated_gradients_published", "integrated_gradients"))
"""The methods of the columns; of several kinds in one entry the first that is compared."""

STEP = 0.1  # of the thesis' picture

NOTE = (
    "A pixel is the largest absolute attribution of its colour channels. All maps share the colour scale, which ends "
    "at the 99 % quantile of their pixels."
)


@FIGURES.add
class ThesisMaps(Figure):
    """The first image, with a column for each method: original, approximated and exact map, as in the thesis."""

    name: ClassVar[str] = "thesis_maps"
    label: ClassVar[str] = "maps as in the thesis"
    level: ClassVar[tuple[str, ...]] = ("dataset", "model")

    def targets(self, study: Study) -> list[tuple[str, ...]]:
        """Return the models of images with a step of a difference, where the study asks for the picture."""
        if not study.config.thesis_maps:
            return []
        return [names for names in study.models if study.is_image(names[0]) and shown_cells(study, *names)]

    def inputs(self, study: Study, keys: Keys) -> dict[str, str | list[str]]:
        """Return the attribution files of the columns."""
        columns = shown_cells(study, keys["dataset"], keys["model"])
        return {"approximated": [cell.path for _, cell, _ in columns], "exact": [cell.path for _, _, cell in columns]}

    def params(self, study: Study, keys: Keys) -> dict[str, Any]:
        """Return labels and looks, and the method of each column with its label."""
        methods = [method for method, _, _ in shown_cells(study, keys["dataset"], keys["model"])]
        labels = {method: study.labels["method"][method] for method in methods}
        return super().params(study, keys) | {"columns": methods, "methods": labels}

    def draw(self, inputs: Mapping[str, Any], params: Mapping[str, Any], keys: Keys) -> tuple[Drawing, pd.DataFrame]:
        """Return the maps of the first image that all files have."""
        columns = read_columns(params["columns"], inputs["approximated"], inputs["exact"])
        numbers = map_numbers(columns, keys)
        return thesis_maps(columns, params), numbers[numbers["sample"] == numbers["sample"].iloc[0]]


def shown_cells(study: Study, dataset: str, model: str) -> list[tuple[str, Cell, Cell]]:
    """Return method, approximated and exact cell for each column: the step nearest to ``map_setting``, if a number."""
    wanted = STEP if study.config.map_setting == "recommended" else float(study.config.map_setting)
    compared = study.compared_methods(dataset, model)
    found = []
    for kinds in KINDS:
        own = [method for kind in kinds for method in compared if study.method(method).name == kind]
        cells = study.approximated(dataset, model, own[0]) if own else []
        steps = [cell for cell in cells if cell.gradient.kind.setting_name == "step" and not cell.gradient.chosen]
        if steps:
            nearest = min(steps, key=lambda cell: cell.gradient.distance(wanted))
            found.append((own[0], nearest, study.exact(dataset, model, own[0], nearest.gradient.dtype)))
    return found


@style.applied_style()
def thesis_maps(columns: Sequence[Column], params: Mapping[str, Any]) -> Drawing:
    """Draw the maps of the first image; rows are the image, the approximated and the exact maps."""
    triples = map_triples(columns)[0]
    maps = [[largest(triple.approximated), largest(triple.exact)] for triple in triples]
    limit, beyond = colour_limit([pixels for pair in maps for pixels in pair])
    width = max(style.COLUMN_WIDTH, 0.8 + 1.25 * len(triples))
    figure = style.new_figure(width, 5.4)
    panels = figure.subplots(3, len(triples), squeeze=False)
    for axes, triple, (_, own, _), (approximated, exact) in zip(panels.T, triples, columns, maps, strict=True):
        axes[0].imshow(image(own, triple.sample), cmap="gray", vmin=0, vmax=1)
        axes[0].set_title(textwrap.fill(params["methods"][triple.method], 18), fontsize=6)
        drawn = [
            panel.imshow(pixels, cmap="hot", vmin=0, vmax=limit)
            for panel, pixels in zip(axes[1:], (approximated, exact), strict=True)
        ]
        step = style.setting_label(own.metadata["setting"])
        axes[1].set_xlabel(f"h = {step}, r = {triple.measure('pearson'):.3f}", fontsize=6)
    for panel in panels.flat:
        panel.set(xticks=[], yticks=[])
    target = "" if triples[0].target is None else f", target {triples[0].target}"
    for row, words in zip(panels, ("original", "approximated", "exact"), strict=True):
        row[0].set_ylabel(words)
    figure.colorbar(drawn[0], ax=panels[1:].ravel().tolist(), shrink=0.8, extend="max" if beyond else "neither")
    title = f"Attribution maps, sample {triples[0].sample}{target}"
    style.annotate(figure, params["labels"], title, note=NOTE)
    return figure


def largest(maps: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Return the largest absolute value of the channels of every pixel."""
    return np.asarray(np.abs(maps).max(axis=0), np.float64)
