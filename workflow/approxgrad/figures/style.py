"""The one style of all figures: sizes, colours, axes of gradient sources, and files that are the same byte for byte.

The `families` of a study say how gradient sources look: for each family, in drawing order, ``label``, ``colour``,
``marker``, ``exact``, ``settings`` (all of the data set), and ``setting_name``, ``setting_label`` and ``symbol`` of
what is varied.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from approxgrad.evaluation.truths import TRUTHS
from approxgrad.storage.files import write_atomically

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Families = Mapping[str, Mapping[str, Any]]

COLUMN_WIDTH = 3.5  # Inches of one column of a journal, for which the text sizes are chosen.
CROWDED = 8  # With more gradient sources, the tick labels stand upright.
TICK_LETTERS = 12  # In a line of a tick label.

STYLE: dict[Any, Any] = {
    "font.size": 7,
    "axes.titlesize": 7,
    "figure.dpi": 200,
    "svg.hashsalt": "approxgrad",
    "xtick.labelsize": 6,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.formatter.useoffset": False,
    "grid.color": "#dddddd",
    "hatch.linewidth": 0.5,
}

# Okabe and Ito (2008), "Color Universal Design".
BLACK, ORANGE, GREEN = "#000000", "#E69F00", "#009E73"
BLUE, VERMILLION, PURPLE = "#0072B2", "#D55E00", "#CC79A7"
NOTE_GREY, LINE_GREY = "#444444", "#8C8C8C"
# For families that describe no look of their own: what is left, and what all others share.
COLOURS, MARKERS = ("#56B4E9", "#F0E442"), ("P", "^", "X")
LAST = {"colour": LINE_GREY, "marker": "*"}

# A colour means the same in all figures: one hue for each family, orange for published results.
PUBLISHED_COLOUR, PUBLISHED_HATCH = ORANGE, "//////"
LIGHTEST, DARKEST = 0.78, 0.0  # Share of white in the colour of the smallest and of the largest setting.

SOURCE = ["gradient", "family", "setting", "setting_name", "evaluations"]
"""Columns of a gradient source in the numbers of a figure."""

ABOVE: dict[str, Any] = {"loc": "lower center", "bbox_to_anchor": (0.5, 1.0)}


def complete_looks(families: Families) -> dict[str, dict[str, Any]]:
    """Return the looks of families; those without a colour or marker of their own take the next one that is left."""
    free = {"colour": iter(COLOURS), "marker": iter(MARKERS)}
    return {
        name: {key: look or next(free[key], LAST[key]) if key in free else look for key, look in looks.items()}
        for name, looks in families.items()
    }


@contextmanager
def applied_style() -> Iterator[None]:
    """Apply the style, whatever the user's own settings of matplotlib are; also a decorator."""
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(STYLE)
        yield


@applied_style()
def save(figure: Figure, svg: Path | str, png: Path | str) -> None:
    """Write a figure as SVG and PNG; the same figure gives the same bytes, and its layout is fixed from then on."""
    layout = figure.get_layout_engine()
    if layout is not None:
        layout.execute(figure)
        figure.set_layout_engine("none")
    # Without dates and version numbers, which would differ from run to run.
    write_atomically(svg, partial(figure.savefig, format="svg", metadata={"Date": None, "Creator": None}))
    write_atomically(png, partial(figure.savefig, format="png", metadata={"Software": None}))


def save_numbers(numbers: pd.DataFrame, csv: Path | str) -> None:
    """Write the numbers of a figure as CSV; undefined ones are empty."""
    write_atomically(csv, partial(numbers.to_csv, index=False, lineterminator="\n"))


def setting_label(setting: float) -> str:
    """Return a setting as short text that tells its value exactly."""
    if 1e-4 <= setting < 1e5:
        return np.format_float_positional(setting, trim="-")
    return np.format_float_scientific(setting, trim="-", exp_digits=1)


def new_figure(width: float, height: float, layout: str | None = "constrained") -> Figure:
    """Return an empty figure of a size in inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout=layout)  # type: ignore[arg-type]


def annotate(figure: Figure, labels: Mapping[str, str], *title: str, note: str) -> None:
    """Put a title with data set and model over a figure and a note below it, wrapped to the figure's width."""
    width = figure.get_figwidth()
    first, *rest = title
    lines = [first, f"data set: {labels['dataset']}, model: {labels['model']}", *rest]
    figure.suptitle("\n".join(textwrap.fill(line, int(16 * width)) for line in lines), fontsize=8)
    figure.supxlabel(textwrap.fill(note, int(20 * width)), fontsize=6, color=NOTE_GREY)


def sizes_in_words(counts: pd.Series[int]) -> str:
    """Return numbers of samples as text: "n = 9" or "n = 5 to 9"."""
    return f"n = {' to '.join(map(str, sorted({counts.min(), counts.max()})))}"


def compared_rows(metrics: pd.DataFrame) -> pd.DataFrame:
    """Return the rows that compare an approximated attribution with another one; a ValueError if there are none."""
    rows = metrics[~metrics["reference"].isin(TRUTHS)]
    if rows.empty:
        raise ValueError("metrics: no rows whose reference is an attribution")
    return rows


def tidy(rows: pd.DataFrame, *values: str) -> pd.DataFrame:
    """Return the keys and some values of metric rows, ordered by reference, family, setting and sample."""
    keys = ["dataset", "model", "method", "reference", *SOURCE, "sample"]
    return rows[[*keys, *values]].sort_values(["reference", "family", "setting", "sample"], ignore_index=True)


def present_families(rows: pd.DataFrame, families: Families) -> list[str]:
    """Return the families that rows have, in drawing order."""
    return [name for name in families if (rows["family"] == name).any()]


def families_in_words(rows: pd.DataFrame, families: Families) -> str:
    """Return the approximated families as text, such as "forward differences, central differences"."""
    names = present_families(rows, families)
    return ", ".join(families[name]["label"] for name in names if not families[name]["exact"])


@dataclass(frozen=True)
class Source:
    """A gradient source in a figure: its place on the x axis, its label and its colour; the setting may be NaN."""

    family: str
    setting: float
    label: str
    position: float
    colour: tuple[float, float, float]

    def values(self, rows: pd.DataFrame, metric: str) -> tuple[NDArray[np.float64], int]:
        """Return the defined values of a metric in the order of the samples, and the number of undefined ones."""
        same = rows["setting"].isna() if np.isnan(self.setting) else rows["setting"] == self.setting
        own = rows[(rows["family"] == self.family) & same]
        values = own.sort_values("sample")[metric].to_numpy(float)
        defined = values[np.isfinite(values)]
        return defined, len(values) - len(defined)

    def tick_label(self, count: int, undefined: int) -> str:
        """Return the setting with the number of values."""
        lines = [self.label, f"n = {count}"]
        return "\n".join([*lines, f"{undefined} undefined"] if undefined else lines)


@dataclass(frozen=True)
class Group:
    """Gradient sources that share an axis, because the same thing is varied, and the title of that axis."""

    title: str
    sources: list[Source]

    @property
    def width(self) -> float:
        """Length of the axis in places of sources."""
        return self.sources[-1].position + 1


def source_groups(rows: pd.DataFrame, families: Families) -> list[Group]:
    """Return the gradient sources of some rows, one group for each ``setting_name``.

    In a group they stand in drawing order and by numeric setting, with a gap between families. Those without a setting,
    such as the exact gradient, stand in every group.
    """
    present = present_families(rows, families)
    varied = dict.fromkeys(filter(None, (families[name]["setting_name"] for name in present)))
    groups = []
    for setting_name in varied or {"": None}:
        own = [name for name in present if families[name]["setting_name"] in ("", setting_name)]
        sources: list[Source] = []
        for gap, name in enumerate(own):
            looks = families[name]
            settings = sorted(set(rows.loc[rows["family"] == name, "setting"].dropna()))
            known = sorted({*looks["settings"], *rows.loc[rows["setting_name"] == setting_name, "setting"].dropna()})
            for setting in settings or [np.nan]:
                label = setting_label(setting) if settings else textwrap.fill(looks["label"], TICK_LETTERS)
                shade = known.index(setting) / (len(known) - 1) if settings and len(known) > 1 else 1.0
                colour = shaded(looks["colour"], shade)
                sources.append(Source(name, setting, label, len(sources) + 0.6 * gap, colour))
        titles = [families[name]["setting_label"] for name in own if families[name]["setting_name"] == setting_name]
        groups.append(Group(titles[0], sources))
    return groups


def shaded(hue: str, shade: float) -> tuple[float, float, float]:
    """Return a hue between its lightest (0) and its darkest shade (1)."""
    from matplotlib.colors import to_rgb

    white = LIGHTEST + shade * (DARKEST - LIGHTEST)
    red, green, blue = map(float, white + (1 - white) * np.array(to_rgb(hue)))
    return red, green, blue


def source_figure(groups: Sequence[Group], rows: int, height: float) -> tuple[Figure, NDArray[Any]]:
    """Return a figure that is wide enough for the tick labels, and its panels: rows x groups."""
    slot = 0.4 if any(len(group.sources) > CROWDED for group in groups) else 0.54
    widths = [group.width for group in groups]
    figure = new_figure(max(COLUMN_WIDTH, 0.4 + 0.4 * len(groups) + slot * sum(widths)), height)
    panels = figure.subplots(rows, len(groups), sharey="row", squeeze=False, width_ratios=widths)
    for axes, group in zip(panels[-1], groups, strict=True):
        # Titles of panels side by side must not run into each other.
        letters = 120 if len(groups) == 1 else max(12, int(13 * figure.get_figwidth() * group.width / sum(widths)))
        axes.set_xlabel(textwrap.fill(group.title, letters))
    return figure, panels


def source_axis(axes: Axes, sources: Sequence[Source], labels: Sequence[str]) -> None:
    """Label the x axis with gradient sources."""
    upright: dict[str, Any] = {"rotation": 90, "multialignment": "right"} if len(sources) > CROWDED else {}
    axes.set_xticks([source.position for source in sources], labels, **upright)
    axes.set_xlim(-0.6, sources[-1].position + 0.6)
    axes.tick_params(axis="x", length=0)
    axes.grid(axis="y")


def labelled_families(sources: Sequence[Source], families: Families) -> list[str]:
    """Return the approximated families if there are several, so that they must be named."""
    names = [name for name in families if not families[name]["exact"] and any(s.family == name for s in sources)]
    return names if len(names) > 1 else []


def label_families(axes: Axes, sources: Sequence[Source], families: Families) -> None:
    """Name several families above their sources, so that no reader has to match colours."""
    for name in labelled_families(sources, families):
        centre = np.mean([source.position for source in sources if source.family == name])
        words = name.replace("_", " ")
        axes.text(float(centre), 1.01, words, transform=axes.get_xaxis_transform(), ha="center", va="bottom")
