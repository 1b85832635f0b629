"""Attributions of the features of tables, exact and approximated: their mean sizes, and those of one row."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from approxgrad.figures import style
from approxgrad.figures.figure import FIGURES, Keys
from approxgrad.figures.pictured import AttributionFigure, compared_words, pictured, shown_files, source_words
from approxgrad.figures.triples import class_name, common_samples

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing

    from approxgrad.storage.attributions import Attributions
    from approxgrad.study.study import Study

Array = NDArray[np.float64]

MOST_FEATURES = 15
MEAN, ROW = "mean size", "one row"
EXACT_HATCH = "//////"
LINE, HEAD, PANEL_WIDTH, NAMES_WIDTH = 0.2, 0.55, 1.85, 1.4  # inches: of a feature; over panels; across
LETTERS = 26  # of the name of a feature


@dataclass(frozen=True)
class Column:
    """A method: the attributions of the same samples, exact and approximated, by what is shown of a map."""

    method: str
    exact: Attributions
    approximated: Attributions
    samples: list[int]

    def totals(self, result: Attributions) -> Array:
        """Return attributions (N, d) of the common samples, a value for each column of the table."""
        places = {sample: row for row, sample in enumerate(result.sample.tolist())}
        own = np.asarray(result.attribution, np.float64)[[places[sample] for sample in self.samples]]
        return np.asarray(result.names.totals(own))

    def values(self, part: str) -> dict[str, Array]:
        """Return what is drawn of a part of the figure, shape (d,), exact and approximated."""
        both = {"exact": self.totals(self.exact), "approximated": self.totals(self.approximated)}
        return {name: np.abs(own).mean(axis=0) if part == MEAN else own[0] for name, own in both.items()}


@FIGURES.add
class Features(AttributionFigure):
    """Mean absolute attribution of each feature of a table, exact and approximated, and one row explained."""

    name: ClassVar[str] = "features"
    label: ClassVar[str] = "attributions of features"

    def targets(self, study: Study) -> list[tuple[str, ...]]:
        """Return the models of tables."""
        return [names for names in study.models if not study.is_image(names[0]) and pictured(study, *names)]

    def draw(self, inputs: Mapping[str, Any], params: Mapping[str, Any], keys: Keys) -> tuple[Drawing, pd.DataFrame]:
        """Return the bars of the attribution files."""
        from approxgrad.storage.attributions import read_attributions

        columns = [
            feature_column(method, read_attributions(exact), read_attributions(approximated))
            for method, approximated, exact in shown_files(inputs, params, keys)
        ]
        return feature_bars(columns, params), feature_numbers(columns, keys)


def feature_column(method: str, exact: Attributions, approximated: Attributions) -> Column:
    """Return what is drawn of a method; a ValueError if its files have no sample in common."""
    samples = common_samples([approximated.sample.tolist(), exact.sample.tolist()])
    return Column(method, exact, approximated, samples)


def feature_names(result: Attributions, count: int) -> list[str]:
    """Return the names of the features, or numbers from 1 on."""
    return list(result.names.shown) or [f"feature {number}" for number in range(1, count + 1)]


def feature_numbers(columns: Sequence[Column], keys: Keys) -> pd.DataFrame:
    """Return what :func:`feature_bars` draws and what it has no room for: a row for each method, part and feature."""
    import pandas as pd

    parts = []
    for own in columns:
        source = {name: own.approximated.metadata[name] for name in ("family", "setting", "setting_name")}
        for part, samples in ((MEAN, len(own.samples)), (ROW, 1)):
            values = own.values(part)
            names = feature_names(own.exact, len(values["exact"]))
            sample = None if part == MEAN else own.samples[0]
            described = {**keys, "method": own.method, **source, "part": part, "n": samples, "sample": sample}
            parts.append(pd.DataFrame({**described, "feature": names, **values}))
    return pd.concat(parts, ignore_index=True).astype({"sample": "Int64"})


@style.applied_style()
def feature_bars(columns: Sequence[Column], params: Mapping[str, Any]) -> Drawing:
    """Draw the bars: a column of panels for each method, above the means over the samples, below the first of them.

    The features stand in the order of their exact attributions, each method counted alike, and of many only the first.
    """
    families, first = params["families"], columns[0]
    names = feature_names(first.exact, first.values(MEAN)["exact"].size)
    shown = min(MOST_FEATURES, len(names))
    width = max(style.COLUMN_WIDTH, NAMES_WIDTH + PANEL_WIDTH * len(columns))
    figure = style.new_figure(width, 2 * (HEAD + LINE * shown) + 1.1)
    panels = figure.subplots(2, len(columns), sharey="row", squeeze=False)
    against = compared_words((own.exact.metadata for own in columns), families)
    for line, part in zip(panels, (MEAN, ROW), strict=True):
        order = _order([own.values(part)["exact"] for own in columns])[:shown]
        entries = [""] * len(names) if part == MEAN else _entries(first)
        labels = [f"{textwrap.shorten(names[place], LETTERS, placeholder='…')}{entries[place]}" for place in order]
        for axes, own in zip(line, columns, strict=True):
            _panel(axes, own, {name: values[order] for name, values in own.values(part).items()}, families)
            axes.set_xlabel("mean |attribution|" if part == MEAN else "attribution")
        line[0].set_yticks(range(shown), labels)
        line[0].set_ylim(shown - 0.4, -0.6)
    for axes, own in zip(panels[0], columns, strict=True):
        lines = [params["methods"][own.method], source_words(own.approximated.metadata, families)]
        axes.set_title("\n".join(textwrap.fill(words, 32) for words in [*lines, f"n = {len(own.samples)}"]))
    panels[1, 0].set_title(_row_title(first), loc="left")
    _legend(panels[0, 0], columns, families, against)
    cut = f" The {shown} largest of {len(names)} features." if shown < len(names) else ""
    note = f"Above: means over the n samples. Below: one row, with the values of its features.{cut}"
    compared = f"approximated and {against}{params.get('twin', '')}"
    style.annotate(figure, params["labels"], "Attributions of features", compared, note=note)
    return figure


def _order(maps: Sequence[Array]) -> NDArray[np.intp]:
    """Return the features from the largest to the smallest, with maps of several methods counted alike."""
    sizes = np.array([np.abs(values) / (np.abs(values).sum() or 1) for values in maps]).mean(axis=0)
    return np.argsort(-sizes, kind="stable")


def _entries(own: Column) -> list[str]:
    """Return what the columns of a table hold in the row that is explained, in the units of the table."""
    place = own.exact.sample.tolist().index(own.samples[0])
    mean, std = (np.asarray(own.exact.metadata["normalisation"][name], float) for name in ("mean", "std"))
    entries = own.exact.names.entries(own.exact.inputs[place].astype(float), mean, std)
    words = (f"{entry:.4g}" if isinstance(entry, float) else entry for entry in entries)
    return [f" = {textwrap.shorten(word, LETTERS, placeholder='…')}" for word in words]


def _row_title(own: Column) -> str:
    sample = own.samples[0]
    target, origin = class_name(own.exact, sample), own.exact.origin
    words = [f"test row {sample}"]
    if origin is not None:
        words.append(f"row {origin[own.exact.sample.tolist().index(sample)]} of the table")
    return ", ".join([*words, *([] if target is None else [f"class {target}"])])


def _panel(axes: Axes, own: Column, values: Mapping[str, Array], families: style.Families) -> None:
    """Draw the exact bar of each feature over the approximated one."""
    places = np.arange(len(values["exact"]))
    look: dict[str, Any] = {"height": 0.38, "edgecolor": style.BLACK, "linewidth": 0.4}
    for offset, name, result in ((-0.2, "exact", own.exact), (0.2, "approximated", own.approximated)):
        colour = families[result.metadata["family"]]["colour"]
        axes.barh(places + offset, values[name], color=colour, hatch=EXACT_HATCH if name == "exact" else None, **look)
    axes.axvline(0, color=style.BLACK, linewidth=0.6)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x")
    axes.locator_params(axis="x", nbins=4)


def _legend(axes: Axes, columns: Sequence[Column], families: style.Families, against: str) -> None:
    """Name the looks of the bars where these are shortest; the titles name the sources."""
    from matplotlib.legend_handler import HandlerTuple
    from matplotlib.patches import Patch

    edge: dict[str, Any] = {"edgecolor": style.BLACK, "linewidth": 0.4}
    exact, approximated = (
        tuple(Patch(facecolor=families[name]["colour"], hatch=hatch, **edge) for name in dict.fromkeys(names))
        for hatch, names in (
            (EXACT_HATCH, (own.exact.metadata["family"] for own in columns)),
            (None, (own.approximated.metadata["family"] for own in columns)),
        )
    )
    handlers = {tuple: HandlerTuple(ndivide=None)}
    axes.legend([exact, approximated], [against, "approximated"], handler_map=handlers, loc="lower right")
