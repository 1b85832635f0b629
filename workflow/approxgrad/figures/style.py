"""The one style of all figures: sizes, colours, labels, and files that are the same byte for byte."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from numpy.typing import NDArray

from approxgrad.storage.files import write_atomically

COLUMN_WIDTH = 3.5  # Inches of one column of a journal, for which the text sizes are chosen.
CROWDED = 8  # With more gradient sources, the tick labels stand upright.

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

# What a colour means is the same in all figures: one hue for each scheme, orange for published results.
EXACT = "exact"
SCHEME_COLOURS = {EXACT: VERMILLION, "forward": BLUE, "backward": PURPLE, "central": GREEN}
PUBLISHED_COLOUR, PUBLISHED_HATCH = ORANGE, "//////"
SCHEME_MARKERS = {EXACT: "D", "forward": "o", "backward": "v", "central": "s"}
LIGHTEST, DARKEST = 0.78, 0.0  # Share of white in the colour of the smallest and of the largest step.

ABOVE: dict[str, Any] = {"loc": "lower center", "bbox_to_anchor": (0.5, 1.0)}
STEP_AXIS = "step size h (units of the model's inputs)"

_NAMES = {
    "saliency": "Saliency",
    "input_x_gradient": "Gradient × Input",
    "integrated_gradients": "Integrated Gradients",
    "integrated_gradients_mean": "Integrated Gradients (mean baseline)",
    "integrated_gradients_published": "Integrated Gradients (published variant)",
    "integrated_gradients_published_mean": "Integrated Gradients (published variant, mean baseline)",
    "cifar10": "CIFAR-10",
    "cnn": "CNN",
    "mlp": "MLP",
    "resnet18": "ResNet-18",
    "resnet50": "ResNet-50",
}


@contextmanager
def applied_style() -> Iterator[None]:
    """Apply the style, whatever the user's own matplotlib settings are; also a decorator."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(STYLE)
        yield


@applied_style()
def save(figure: Figure, svg: Path | str, png: Path | str) -> None:
    """Write a figure as SVG and PNG; the same figure gives the same bytes.

    Parameters
    ----------
    figure : Figure
        What to write; its layout is fixed from then on.
    svg, png : path
        The files.
    """
    layout = figure.get_layout_engine()
    if layout is not None:
        layout.execute(figure)
        figure.set_layout_engine("none")
    # Without dates and version numbers, which would differ from run to run.
    write_atomically(svg, partial(figure.savefig, format="svg", metadata={"Date": None, "Creator": None}))
    write_atomically(png, partial(figure.savefig, format="png", metadata={"Software": None}))


def save_numbers(numbers: pd.DataFrame, csv: Path | str) -> None:
    """Write the numbers of a figure as CSV: floats with as many digits as tell them apart, undefined ones empty."""
    write_atomically(csv, partial(numbers.to_csv, index=False, lineterminator="\n"))


def step_label(step: float) -> str:
    """Return a step size as short text that tells its value exactly."""
    if 1e-4 <= step < 1e5:
        return np.format_float_positional(step, trim="-")
    return np.format_float_scientific(step, trim="-", exp_digits=1)


def name_label(name: str) -> str:
    """Return the name of a data set or model for readers; an unknown one as words."""
    return _NAMES.get(name, name.replace("_", " "))


def method_label(name: str) -> str:
    """Return the name of an attribution method for readers; an unknown one as words."""
    label = name_label(name)
    return label[:1].upper() + label[1:]


def reference_label(method: str, reference_method: str | None) -> str:
    """Return what an approximated attribution is compared with: its own gradients, or another method."""
    return "gradients" if reference_method in (None, method) else method_label(str(reference_method))


def annotate(figure: Figure, *title: str, note: str) -> None:
    """Put a title over a figure and an explanation below it, their lines wrapped to the figure's width."""
    width = figure.get_figwidth()
    figure.suptitle("\n".join(textwrap.fill(line, int(16 * width)) for line in title), fontsize=8)
    figure.supxlabel(textwrap.fill(note, int(20 * width)), fontsize=6, color=NOTE_GREY)


@dataclass(frozen=True)
class Source:
    """A gradient source in a figure: its place on the x axis and its colour."""

    scheme: str
    step: float
    position: float
    colour: tuple[float, float, float]

    def values(self, rows: pd.DataFrame, metric: str) -> tuple[NDArray[np.float64], int]:
        """Return the defined values of a metric in the order of the samples, and the number of undefined ones."""
        own = rows[(rows["scheme"] == self.scheme) & ((rows["step"] == self.step) | (self.scheme == EXACT))]
        values = own.sort_values("sample")[metric].to_numpy(float)
        defined = values[np.isfinite(values)]
        return defined, len(values) - len(defined)

    def tick_label(self, count: int, undefined: int) -> str:
        """Return the step with the number of values."""
        lines = [EXACT if self.scheme == EXACT else step_label(self.step), f"n = {count}"]
        return "\n".join([*lines, f"{undefined} undefined"] if undefined else lines)


def chosen_rows(metrics: pd.DataFrame, **keys: str) -> pd.DataFrame:
    """Return the rows with the given values in the given columns.

    Raises
    ------
    ValueError
        If there are none.
    """
    rows = metrics
    for column, value in keys.items():
        rows = rows[rows[column] == value]
    if rows.empty:
        raise ValueError("metrics: no rows with " + ", ".join(f"{column} {value}" for column, value in keys.items()))
    return rows


def ordered_schemes(schemes: Iterable[str]) -> list[str]:
    """Return schemes in the order of all figures: exact, forward, backward, central, others by name."""
    present = set(schemes)
    return [s for s in SCHEME_COLOURS if s in present] + sorted(present - set(SCHEME_COLOURS))


def source_colour(scheme: str, step: float, steps: Iterable[float]) -> tuple[float, float, float]:
    """Return the colour of a gradient source: the hue tells the scheme, and the darker it is, the larger the step.

    Parameters
    ----------
    scheme : str
        ``exact`` or a finite-difference scheme.
    step : float
        Its step; without meaning for ``exact``.
    steps : iterable of float
        All steps of the data set, `step` among them. Given the same ones, two figures show a source alike.
    """
    hue = np.array(to_rgb(SCHEME_COLOURS.get(scheme, LINE_GREY)))
    ordered = sorted(set(steps))
    rank = 1.0 if scheme == EXACT or len(ordered) < 2 else ordered.index(step) / (len(ordered) - 1)
    white = LIGHTEST + rank * (DARKEST - LIGHTEST)
    red, green, blue = map(float, white + (1 - white) * hue)
    return red, green, blue


def tidy(rows: pd.DataFrame, *values: str) -> pd.DataFrame:
    """Return the keys and some values of metric rows, ordered by reference, scheme, step and sample."""
    keys = ["dataset", "model", "method", "reference", "gradient", "scheme", "step", "sample"]
    return rows[[*keys, *values]].sort_values(["reference", "scheme", "step", "sample"], ignore_index=True)


def gradient_sources(rows: pd.DataFrame, steps: Iterable[float] = ()) -> list[Source]:
    """Return the gradient sources of metric rows: exact, then by scheme and numeric step; a gap parts the schemes.

    Parameters
    ----------
    rows : DataFrame
        Columns ``scheme`` and ``step``.
    steps : iterable of float
        Further steps of the data set, so that its figures agree in their colours.
    """
    shades = {*steps, *rows["step"].dropna()}
    sources: list[Source] = []
    for gap, scheme in enumerate(ordered_schemes(rows["scheme"])):
        own = [np.nan] if scheme == EXACT else sorted(set(rows.loc[rows["scheme"] == scheme, "step"]))
        for step in own:
            sources.append(Source(scheme, step, len(sources) + 0.6 * gap, source_colour(scheme, step, shades)))
    return sources


def source_figure(sources: Sequence[Source], height: float) -> Figure:
    """Return an empty figure that is wide enough for the tick labels of the sources."""
    slot = 0.4 if len(sources) > CROWDED else 0.54
    width = max(COLUMN_WIDTH, 0.8 + slot * (sources[-1].position + 1))
    return Figure(figsize=(width, height), layout="constrained")


def source_axis(axes: Axes, sources: Sequence[Source], labels: Sequence[str]) -> None:
    """Label the x axis with gradient sources."""
    upright: dict[str, Any] = {"rotation": 90, "multialignment": "right"} if len(sources) > CROWDED else {}
    axes.set_xticks([source.position for source in sources], labels, **upright)
    axes.set_xlim(-0.6, sources[-1].position + 0.6)
    axes.tick_params(axis="x", length=0)
    axes.grid(axis="y")


def schemes_in_words(sources: Sequence[Source]) -> str:
    """Return the finite-difference schemes as text, such as "forward, central differences"."""
    return ", ".join(dict.fromkeys(s.scheme for s in sources if s.scheme != EXACT)) + " differences"


def label_schemes(axes: Axes, sources: Sequence[Source]) -> None:
    """Name the schemes above their sources if there are several, so that no reader has to match colours."""
    schemes = [scheme for scheme in ordered_schemes(s.scheme for s in sources) if scheme != EXACT]
    if len(schemes) < 2:
        return
    for scheme in schemes:
        centre = np.mean([source.position for source in sources if source.scheme == scheme])
        axes.text(float(centre), 1.01, scheme, transform=axes.get_xaxis_transform(), ha="center", va="bottom")
