"""Faithfulness against the error of the attributions: whether a worse approximation makes a worse explanation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from textwrap import fill
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from approxgrad.evaluation.files import FAITHFULNESS, METRIC_TABLE
from approxgrad.figures import style
from approxgrad.figures.figure import FIGURES, Figure, Keys, listed, reference_label, short_reference
from approxgrad.study.judged import judged_cells, judged_references, moved_cells

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing

    from approxgrad.evaluation.faithful_sources import Measure
    from approxgrad.study.study import Study

COLUMNS = 3
LETTERS = 42  # in a line of a panel's title
TAIL = 10  # How many times the value of the reference a gain may be on a linear axis.
ROOM = 0.05  # Share of that value that an axis shows at least, so that what hardly differs is not blown up.
DECADE = 10  # Errors over more than that stand on a logarithmic axis.
KEYS_IN_LINE = 3  # Families in a line of the legend.
ROW = 0.17  # Inches of a line of the legend.
OPEN = "white"
NOTE = (
    "Mark: a gradient source; median over the n rows of what a row gains against the reference, so below the line an "
    "explanation is worse."
)
INTERVAL = "Bar: its {level:g} % interval."
VERDICT = (
    "Filled: better or worse by a sign test, adjusted for all sources and measures. White: open, as no difference is "
    "shown."
)
BENT = "The axis of {} is linear up to the value of the reference, and logarithmic beyond."
ZERO_ERROR = "Errors of zero stand at the left end."
VERDICTS = ("worse", "better", "open")
DIRECTION = "← worse      better →"
UNDEFINED = "No measure is defined: all maps are zero."


@FIGURES.add
class Faithfulness(Figure):
    """What each source gains or loses in faithfulness over its error, a panel for each measure."""

    name: ClassVar[str] = "faithfulness"
    label: ClassVar[str] = "faithfulness against error"
    level: ClassVar[tuple[str, ...]] = ("dataset", "model", "method")
    caption: ClassVar[str] = "faithfulness_figure.rst"
    target: ClassVar[str] = "figures"

    def targets(self, study: Study) -> Sequence[tuple[str, ...]]:
        """Return all comparisons, if the model is asked about maps."""
        return study.comparisons if study.config.faithfulness else []

    def inputs(self, study: Study, keys: Keys) -> dict[str, str | list[str]]:
        """Return the tables of faithfulness, metrics and, where it is measured, sensitivity."""
        return {
            "faithfulness": FAITHFULNESS.format(**keys),
            "metrics": METRIC_TABLE.format(**keys),
            "sensitivity": list(_moved(study, keys)),
        }

    def params(self, study: Study, keys: Keys) -> dict[str, Any]:
        """Return labels and looks, what is compared with what, and how intervals are computed."""
        names, intervals = _names(keys), study.config.uncertainty
        return super().params(study, keys) | {
            "against": reference_label(study, names[2], *names[:2]),
            "short": short_reference(study, *names),
            "comparisons": [list(names)],
            "references": judged_references(study, names),
            "moved": [[*names, source] for source in _moved(study, keys).values()],
            "intervals": {"seed": study.config.seed, "level": intervals.level, "resamples": intervals.resamples},
        }

    def draw(self, inputs: Mapping[str, Any], params: Mapping[str, Any], keys: Keys) -> tuple[Drawing, pd.DataFrame]:
        """Return the panels of the tables."""
        from approxgrad.evaluation.faithful_sources import judged_sources
        from approxgrad.evaluation.uncertainty import Bootstrap

        files = {name: listed(inputs.get(name)) for name in ("faithfulness", "metrics", "sensitivity")}
        table = judged_sources(files, params, Bootstrap(**params["intervals"]))
        return gains(table, params), table


def _names(keys: Keys) -> tuple[str, str, str]:
    return keys["dataset"], keys["model"], keys["method"]


def _moved(study: Study, keys: Keys) -> dict[str, str]:
    """Return the sources of a comparison whose sensitivity is measured, by the path of its table."""
    paths = {cell: path for path, cell in moved_cells(study).items()}
    return {paths[cell]: source for source, cell in judged_cells(study, _names(keys)).items() if cell in paths}


@style.applied_style()
def gains(table: pd.DataFrame, params: Mapping[str, Any]) -> Drawing:
    """Draw the gain of every source over the reference against its error, a panel for each measure that has values.

    Parameters
    ----------
    table : DataFrame
        As :func:`approxgrad.evaluation.faithful_sources.judged_sources` returns it, of one comparison.
    params : mapping
        ``labels``, ``families``, ``against``, ``short`` and the ``level`` among the ``intervals``.
    """
    from approxgrad.evaluation.faithful_sources import EVERY

    compared = table[(table["verdict"] != "") & table["gain"].notna() & table["relative_error"].notna()]
    places, logarithmic = _error_places(compared["relative_error"])
    compared = compared.assign(place=places)
    known = table[table["verdict"] == ""].groupby("measure")["median"].first()
    measures = [own for name, own in EVERY.items() if (compared["measure"] == name).any()]
    columns = 2 if len(measures) == 4 else max(1, min(COLUMNS, len(measures)))
    lines = max(1, -(-len(measures) // columns))
    named = style.present_families(compared, params["families"])
    above = 0.1 + ROW * -(-len(named) // KEYS_IN_LINE)
    figure = style.new_figure(max(style.COLUMN_WIDTH, 0.3 + 2.3 * columns), 1.4 + above + 2.0 * lines)
    # The legend has a row of its own, which the layout keeps clear of the title.
    top, body = figure.subfigures(2, 1, squeeze=False, height_ratios=[above, 2.0 * lines])[:, 0]
    panels = body.subplots(lines, columns, sharex=True, squeeze=False)
    bent = [
        own.label.lower()
        for axes, own in zip(panels.flat, measures, strict=False)
        if _panel(axes, own, compared[compared["measure"] == own.name], known.get(own.name), params)
    ]
    if logarithmic:
        panels[0, 0].set_xscale("log")
    else:
        panels[0, 0].update_datalim([(0, 0)], updatey=False)
        panels[0, 0].locator_params(axis="x", nbins=4)
    for axes in panels[-1]:
        axes.set_xlabel("median relative L2 error")
    if measures:
        _legend(top, named, params["families"])
    else:
        panels[0, 0].text(0.5, 0.5, UNDEFINED, transform=panels[0, 0].transAxes, ha="center")
    told = {
        NOTE: len(measures) > 0,
        INTERVAL.format(level=100 * params["intervals"]["level"]): compared["gain_low"].notna().any(),
        VERDICT: len(measures) > 0,
        BENT.format(" and ".join(filter(None, [", ".join(bent[:-1]), *bent[-1:]]))): bool(bent),
        ZERO_ERROR: logarithmic and bool((compared["relative_error"] == 0).any()),
    }
    note = " ".join(words for words, present in told.items() if present)
    sizes = [style.sizes_in_words(compared["n"])] if measures else []
    title = ", ".join([f"against {params['against']}", *sizes])
    style.annotate(figure, params["labels"], f"Faithfulness of {params['labels']['method']}", title, note=note)
    return figure


def _panel(axes: Axes, measure: Measure, rows: pd.DataFrame, value: float | None, params: Mapping[str, Any]) -> bool:
    """Draw the sources of one measure, which has a value for the reference; return whether the axis is bent."""
    bent = _gain_axis(axes, rows, value or 0.0)
    axes.axhline(0, color=style.NOTE_GREY, linewidth=0.8, zorder=0.9)
    for name in style.present_families(rows, params["families"]):
        looks, marks = params["families"][name], rows[rows["family"] == name]
        for shown, group in marks.groupby(marks["verdict"] != "open"):
            ends = [np.nan_to_num(np.abs(group[end] - group["gain"])) for end in ("gain_low", "gain_high")]
            axes.errorbar(
                group["place"],
                group["gain"],
                yerr=ends,
                linestyle="none",
                color=looks["colour"],
                marker=looks["marker"],
                markersize=4.5,
                markerfacecolor=looks["colour"] if shown else OPEN,
                elinewidth=0.7,
                capsize=1.5,
            )
    told = rows["verdict"].value_counts()
    counts = ", ".join(f"{told[verdict]} {verdict}" for verdict in VERDICTS if verdict in told)
    at = "" if value is None else f" ({params['short']}: {value:.3g})".replace("-", "−")
    axes.set_title(f"{fill(measure.label + at, LETTERS)}\n{counts}")
    axes.set_ylabel(f"gain ({measure.unit})\n{DIRECTION}")
    axes.grid(axis="y")
    return bent


def _gain_axis(axes: Axes, rows: pd.DataFrame, value: float) -> bool:
    """Scale the axis of gains; return whether it is bent, because some are many times the value of the reference."""
    largest = np.nanmax(np.abs(rows[["gain", "gain_low", "gain_high"]].to_numpy(float)))
    bent = bool(0 < TAIL * abs(value) < largest)
    if bent:
        axes.set_yscale("symlog", linthresh=abs(value))
    axes.update_datalim([(0, -ROOM * value), (0, ROOM * value)], updatex=False)
    return bent


def _error_places(errors: pd.Series[float]) -> tuple[pd.Series[float], bool]:
    """Return where errors stand, and whether on a logarithmic axis, on which zeros have a place below the others."""
    positive = errors[errors > 0]
    if not len(positive) or errors.max() <= DECADE * positive.min():
        return errors, False
    return errors.clip(lower=positive.min() / (1 + 2 * (errors == 0).any())), True


def _legend(figure: Any, names: Sequence[str], families: style.Families) -> None:
    """Name the families that are drawn."""
    from matplotlib.lines import Line2D

    looks: dict[str, Any] = {"linestyle": "none", "markersize": 4.5}
    handles = [
        Line2D([], [], color=own["colour"], marker=own["marker"], label=own["label"], **looks)
        for own in (families[name] for name in names)
    ]
    figure.legend(handles=handles, loc="center", ncols=KEYS_IN_LINE, handlelength=1)
