"""Faithfulness against the error of the attributions: does a worse approximation make a worse explanation?"""

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
TAIL = 30  # How many times the typical gain the largest may be on a linear axis.
OPEN = "white"
NOTE = (
    "Mark: a gradient source; median over the n rows of what a row gains against the reference, so below the line an "
    "explanation is worse."
)
INTERVAL = "Bar: its {level:g} % interval."
VERDICT = "Filled: better or worse by a sign test, adjusted for all sources and measures. White: no difference is shown."
BENT = "Near zero the axis of {} is linear, beyond logarithmic."
ZERO_ERROR = "Errors of zero stand at the left end."
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
    measures = [own for name, own in EVERY.items() if (compared["measure"] == name).any()]
    columns = 2 if len(measures) == 4 else max(1, min(COLUMNS, len(measures)))
    lines = max(1, -(-len(measures) // columns))
    figure = style.new_figure(max(style.COLUMN_WIDTH, 0.3 + 2.3 * columns), 1.9 + 2.0 * lines)
    # The legend has a row of its own, which the layout keeps clear of the title.
    top, body = figure.subfigures(2, 1, squeeze=False, height_ratios=[0.45, 2.0 * lines])[:, 0]
    panels = body.subplots(lines, columns, sharex=True, squeeze=False)
    bent = [own.label.lower() for axes, own in zip(panels.flat, measures, strict=False) if _panel(axes, own, table, params)]
    zeros = _error_axis(panels[0, 0], compared)
    for axes in panels[-1]:
        axes.set_xlabel("median relative L2 error")
    if measures:
        _legend(top, compared, params["families"])
    else:
        panels[0, 0].text(0.5, 0.5, UNDEFINED, transform=panels[0, 0].transAxes, ha="center")
    told = {
        NOTE: len(measures) > 0,
        INTERVAL.format(level=100 * params["intervals"]["level"]): compared["gain_low"].notna().any(),
        VERDICT: len(measures) > 0,
        BENT.format(" and ".join(bent)): bool(bent),
        ZERO_ERROR: zeros,
    }
    note = " ".join(words for words, present in told.items() if present)
    sizes = [style.sizes_in_words(compared["n"])] if measures else []
    title = ", ".join([f"against {params['against']}", *sizes])
    style.annotate(figure, params["labels"], f"Faithfulness of {params['labels']['method']}", title, note=note)
    return figure


def _panel(axes: Axes, measure: Measure, table: pd.DataFrame, params: Mapping[str, Any]) -> bool:
    """Draw the sources of one measure; return whether the axis is bent."""
    own = table[table["measure"] == measure.name]
    rows = own[(own["verdict"] != "") & own["gain"].notna() & own["relative_error"].notna()]
    bent = _gain_axis(axes, rows)
    axes.axhline(0, color=style.NOTE_GREY, linewidth=0.8, zorder=0.9)
    for name in style.present_families(rows, params["families"]):
        looks, marks = params["families"][name], rows[rows["family"] == name]
        for shown, group in marks.groupby(marks["verdict"] != "open"):
            ends = [np.nan_to_num(np.abs(group[end] - group["gain"])) for end in ("gain_low", "gain_high")]
            axes.errorbar(
                _places(group["relative_error"], rows["relative_error"]),
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
    counts = ", ".join(f"{word} {told[word]}" for word in ("worse", "better", "open") if word in told)
    values = own.loc[own["verdict"] == "", "median"]
    at = f" ({params['short']}: {values.iloc[0]:.3g})" if len(values) else ""
    axes.set_title(f"{fill(measure.label + at, LETTERS)}\n{counts.replace('open', 'no difference shown')}")
    axes.set_ylabel(f"gain ({measure.unit})")
    axes.grid(axis="y")
    return bent


def _gain_axis(axes: Axes, rows: pd.DataFrame) -> bool:
    """Scale the axis of gains; return whether it is bent, because some are many times as large as most."""
    sizes = np.abs(rows[["gain", "gain_low", "gain_high"]].to_numpy(float))
    sizes = sizes[sizes > 0]
    typical = float(np.median(np.abs(rows["gain"]))) if len(rows) else 0.0
    typical = typical or (float(np.min(sizes)) if len(sizes) else 0.0)
    if not len(sizes) or sizes.max() <= TAIL * typical:
        return False
    axes.set_yscale("symlog", linthresh=typical)
    return True


def _places(errors: pd.Series[float], every: pd.Series[float]) -> Any:
    """Return where errors stand on a logarithmic axis: zeros below the smallest other one."""
    positive = every[every > 0]
    return np.maximum(errors, positive.min() / 3) if len(positive) else errors


def _error_axis(axes: Axes, rows: pd.DataFrame) -> bool:
    """Make the axis of errors logarithmic if any is not zero; return whether some are."""
    if (rows["relative_error"] > 0).any():
        axes.set_xscale("log")
    return bool((rows["relative_error"] == 0).any())


def _legend(figure: Any, rows: pd.DataFrame, families: style.Families) -> None:
    """Name the families, and what a filled mark says."""
    from matplotlib.lines import Line2D

    looks: dict[str, Any] = {"linestyle": "none", "markersize": 4.5}
    named = {families[name]["label"]: families[name] for name in style.present_families(rows, families)}
    handles = [
        Line2D([], [], color=own["colour"], marker=own["marker"], label=label, **looks) for label, own in named.items()
    ]
    figure.legend(handles=handles, loc="center", ncols=3, handlelength=1)
