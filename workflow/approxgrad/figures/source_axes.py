"""Where gradient sources stand on an x axis: settings at their place on a logarithmic scale, families side by side."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from approxgrad.figures import style

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_PLACES = 40  # Settings that would need more places on a logarithmic scale stand at equal distances.
BESIDE = 1.3  # Places between the first setting and the sources without one.
MARGIN = 0.6  # Places at both ends of an axis.
# Inches of a place and of a source that shares one, where the page has room; left of a panel; of a letter.
PLACE, SHARE, LEFT, LETTER = 0.45, 0.26, 0.7, 0.05
TICK_LETTERS = 12  # in a line of the label of a source without a setting
COUNTS = 6.0  # Letters that counts above a panel are high.
EVEN_NOTE = "Settings stand at equal distances."


@dataclass(frozen=True)
class Source:
    """A gradient source in a figure: where it stands, how wide it may be, and its look; the setting may be NaN."""

    family: str
    setting: float
    position: float
    width: float
    colour: str
    marker: str

    def values(self, rows: pd.DataFrame, metric: str) -> tuple[NDArray[np.float64], int]:
        """Return the defined values of a metric in the order of the samples, and the number of undefined ones."""
        same = rows["setting"].isna() if np.isnan(self.setting) else rows["setting"] == self.setting
        own = rows[(rows["family"] == self.family) & same]
        values = own.sort_values("sample")[metric].to_numpy(float)
        defined = values[np.isfinite(values)]
        return defined, len(values) - len(defined)


@dataclass(frozen=True)
class Group:
    """Gradient sources that share an axis, because the same thing is varied: its title, sources, ticks and scale."""

    title: str
    sources: list[Source]
    ticks: dict[float, str]
    even: bool  # whether settings stand at equal distances and not at their place

    @property
    def ends(self) -> tuple[float, float]:
        """The ends of the axis, in places."""
        return min(self.ticks) - MARGIN, max(self.ticks) + MARGIN

    @property
    def places(self) -> float:
        """The length of the axis, in places."""
        return self.ends[1] - self.ends[0]

    @property
    def inches(self) -> float:
        """The length of the axis where the page has room."""
        return self.places * max(PLACE, SHARE / min(source.width for source in self.sources))


def source_groups(rows: pd.DataFrame, families: style.Families) -> list[Group]:
    """Return the gradient sources of some rows, one group for each ``setting_name``.

    A place is the smallest distance of two settings; families that have the same setting share its place. Sources
    without a setting, such as the exact gradient, stand before the settings of every group.
    """
    present = style.present_families(rows, families)
    varied = dict.fromkeys(filter(None, (families[name]["setting_name"] for name in present)))
    return [
        _group(rows, [name for name in present if families[name]["setting_name"] in ("", setting_name)], families)
        for setting_name in varied or [""]
    ]


def _group(rows: pd.DataFrame, names: Sequence[str], families: style.Families) -> Group:
    """Return the sources of some families; one that varies may lack numbers, as steps along a path do."""
    settings = {name: sorted(set(rows.loc[rows["family"] == name, "setting"].dropna())) for name in names}
    plain = [name for name in names if not settings[name]]
    places, even = setting_places(value for own in settings.values() for value in own)
    ticks, sources = {}, []
    for number, name in enumerate(plain):
        position = (-BESIDE if places else 0.0) - (len(plain) - 1 - number)
        ticks[position] = textwrap.fill(families[name]["label"], TICK_LETTERS)
        sources.append(Source(name, np.nan, position, 1.0, families[name]["colour"], families[name]["marker"]))
    at = {setting: [name for name in names if setting in settings[name]] for setting in places}
    width = 1 / max(map(len, at.values()), default=1)
    for setting, place in places.items():
        ticks[place] = style.setting_label(setting)
        for number, name in enumerate(at[setting]):
            position = place + width * (number - (len(at[setting]) - 1) / 2)
            look = families[name]
            sources.append(Source(name, setting, position, width, look["colour"], look["marker"]))
    titles = [families[name]["setting_label"] for name in names if settings[name]]
    return Group(titles[0] if titles else "", sources, ticks, even)


def setting_places(settings: Iterable[float]) -> tuple[dict[float, float], bool]:
    """Return where settings stand, in places, and whether they stand at equal distances.

    They stand on a logarithmic scale whose nearest neighbours are one place apart, unless that has no room.
    """
    known = sorted(set(settings))
    places, even = np.arange(len(known), dtype=float), False
    if len(known) > 2 and known[0] > 0:
        logs = np.log10(known) - np.log10(known[0])
        logs /= np.diff(logs).min()
        even = bool(logs[-1] > max(MOST_PLACES, 2 * len(known)))
        places = places if even else logs
    return dict(zip(known, places.tolist(), strict=True)), even


def source_figure(groups: Sequence[Group], rows: int, height: float) -> tuple[Figure, NDArray[Any]]:
    """Return a figure with panels, rows x groups, whose x axes are labelled below."""
    widths = [group.inches for group in groups]
    width = min(max(style.COLUMN_WIDTH, LEFT + sum(widths)), style.PAGE_WIDTH)
    figure = style.new_figure(width, height)
    panels = figure.subplots(rows, len(groups), sharex="col", sharey="row", squeeze=False, width_ratios=widths)
    for column, group in zip(panels.T, groups, strict=True):
        inches = (width - LEFT) * group.inches / sum(widths)
        for axes in column:
            axes.set_xlim(*group.ends)
            axes.tick_params(axis="x", length=2)
            axes.grid(axis="y")
        _label_settings(column[-1], group, inches)
        # Titles of panels side by side must not run into each other.
        column[-1].set_xlabel(textwrap.fill(group.title, 120 if len(groups) == 1 else max(12, int(13 * inches))))
    return figure, panels


def _label_settings(axes: Axes, group: Group, inches: float) -> None:
    """Label the x axis, upright where labels side by side have no room."""
    positions = sorted(group.ticks)
    labels = [group.ticks[position] for position in positions]
    letters = np.array([max(map(len, label.split("\n"))) for label in labels])
    room = np.diff(positions) * inches / group.places
    crowded = bool(((letters[1:] + letters[:-1]) / 2 * LETTER > room).any())
    upright: dict[str, Any] = {"rotation": 90, "multialignment": "right"} if crowded else {}
    axes.set_xticks(positions, labels, **upright)


def name_families(
    panels: Sequence[Axes], groups: Sequence[Group], families: style.Families, *, counted: bool = False
) -> None:
    """Name the approximated families over each panel that has several, above the counts if there are any."""
    from matplotlib.patches import Patch

    for axes, group in zip(panels, groups, strict=True):
        drawn = {source.family for source in group.sources}
        names = [name for name in families if name in drawn and not families[name]["exact"]]
        if len(names) < 2:
            continue
        looks: dict[str, Any] = {"edgecolor": style.BLACK, "linewidth": 0.6}
        handles = [Patch(facecolor=families[name]["colour"], label=families[name]["label"], **looks) for name in names]
        letters = max(len(families[name]["label"]) for name in names) + 5
        axes.legend(
            handles=handles,
            loc="lower left",
            bbox_to_anchor=(0, 1),
            ncols=max(1, min(len(names), int(style.LETTERS * group.inches / letters))),
            borderaxespad=COUNTS if counted else 0.5,
            handlelength=1.4,
            columnspacing=1.2,
        )
