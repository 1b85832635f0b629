"""The one style of all figures: sizes, colours, titles and notes, and files that are the same byte for byte.

The `families` of a study say how gradient sources look: for each family, in drawing order, ``label``, ``colour``,
``marker``, ``exact``, and ``setting_name``, ``setting_label`` and ``symbol`` of what is varied.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from approxgrad.evaluation.truths import TRUTHS
from approxgrad.storage.files import write_atomically

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Families = Mapping[str, Mapping[str, Any]]

# Inches of one column of a journal, for which the text sizes are chosen, and of its page.
COLUMN_WIDTH, PAGE_WIDTH = 3.5, 7.2
LETTERS, NOTE_LETTERS = 16, 20  # in an inch of a title and of a note

STYLE: dict[Any, Any] = {
    "font.size": 7,
    "axes.titlesize": 7,
    "figure.dpi": 200,
    # Text stays text, which readers search and editors change; PDF files hold the font.
    "svg.fonttype": "none",
    "svg.hashsalt": "approxgrad",
    "pdf.fonttype": 42,
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

# A colour means the same in all figures: one for each family, orange for published results.
PUBLISHED_COLOUR, PUBLISHED_HATCH = ORANGE, "//////"
# Without dates, names and version numbers, which would differ from run to run.
METADATA: dict[str, dict[str, None]] = {
    "svg": {"Date": None, "Creator": None},
    "png": {"Software": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}

SOURCE = ["gradient", "family", "setting", "setting_name", "evaluations"]
"""Columns of a gradient source in the numbers of a figure."""

ABOVE: dict[str, Any] = {"loc": "lower center", "bbox_to_anchor": (0.5, 1.0)}
MOST_LABELS = 7  # Settings within two decades are labelled one by one, unless there are more.
EDGE = 0.04  # inches around a picture without its title or its note


def complete_looks(families: Families) -> dict[str, dict[str, Any]]:
    """Return the looks of families; those without a colour or marker of their own take the next one that is left.

    The settings of a data set are left out: no figure depends on settings that it does not show.
    """
    free = {"colour": iter(COLOURS), "marker": iter(MARKERS)}
    return {
        name: {
            key: look or next(free[key], LAST[key]) if key in free else look
            for key, look in looks.items()
            if key != "settings"
        }
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
def save(figure: Figure, *paths: Path | str, titles: bool = True, notes: bool = True) -> None:
    """Write a figure to files of the formats that their names end in; its layout is fixed from then on.

    The same figure gives the same bytes. Its title, or the note below it, can be left out: the panels stay as they are,
    and the picture is as much lower.
    """
    from matplotlib.transforms import Bbox

    layout = figure.get_layout_engine()
    if layout is not None:
        layout.execute(figure)
        figure.set_layout_engine("none")
    if not titles:
        figure.suptitle("")
    if not notes:
        figure.supxlabel("")
    cut: dict[str, Any] = {}
    if not (titles and notes):
        width, height = figure.get_size_inches()
        drawn = figure.get_tightbbox()
        low, high = max(0, drawn.y0 - EDGE), min(height, drawn.y1 + EDGE)
        cut["bbox_inches"] = Bbox([[0, low if not notes else 0], [width, high if not titles else height]])
    for path in paths:
        ending = Path(path).suffix[1:]
        write_atomically(path, partial(figure.savefig, format=ending, metadata=METADATA[ending], **cut))


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
    figure.suptitle("\n".join(textwrap.fill(line, int(LETTERS * width)) for line in lines), fontsize=8)
    figure.supxlabel(textwrap.fill(note, int(NOTE_LETTERS * width)), fontsize=6, color=NOTE_GREY)


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


def setting_axis(axes: Axes, settings: Iterable[float]) -> None:
    """Make the x axis logarithmic, and label the settings themselves if they are few and near to each other."""
    axes.set_xscale("log")
    known = sorted(set(settings))
    if known and len(known) <= MOST_LABELS and known[-1] / known[0] < 100:
        axes.set_xticks(known, [setting_label(setting) for setting in known])
        axes.minorticks_off()


def error_axis(axes: Axes, curves: Iterable[pd.DataFrame], errors: str, *marks: float) -> None:
    """Make the y axis logarithmic, with room for errors and quartiles of tables and for marks, unless all are zero."""
    tables = list(curves)
    columns = [table[name] for table in tables for name in (errors, "lower_quartile", "upper_quartile")]
    ends = np.concatenate([*columns, marks])
    ends = ends[ends > 0]
    if any((table[errors] > 0).any() for table in tables):
        axes.set_yscale("log")
        room = max((ends.max() / ends.min()) ** 0.05, 1.2)
        axes.set_ylim(ends.min() / room, ends.max() * room)
