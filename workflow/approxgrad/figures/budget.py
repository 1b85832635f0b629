"""Agreement against the number of model evaluations, a line for each gradient source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from approxgrad.figures import style
from approxgrad.figures.boxes import MetricAxis, metric_axis
from approxgrad.figures.figure import FIGURES, ComparisonFigure, Keys, listed

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing

    from approxgrad.study.study import Study

NOTE = "Line: median of the n samples."
INTERVAL = "Bar: its {level:g} % interval."
MARKS = "Single marks: sources without a budget, at their best setting."
REFERENCE = "The reference is what the attribution is compared with, whatever a source estimates."
PREDICTIONS = ("predicted", "predicted_low", "predicted_high")
ROOM = 0.06  # Share of a logarithmic axis that the label of a tick needs.
PREDICTED = "Dotted line and band: what a source predicts without the reference, with its 90 % interval."


@FIGURES.add
class Budget(ComparisonFigure):
    """The median agreement over the evaluations that were spent on each input."""

    name: ClassVar[str] = "budget"
    label: ClassVar[str] = "agreement for a budget"

    def targets(self, study: Study) -> list[tuple[str, str, str]]:
        """Return the comparisons with a source that has a budget."""
        return study.budgeted

    def inputs(self, study: Study, keys: Keys) -> dict[str, str | list[str]]:
        """Return the metric table, and the attributions whose agreement was predicted."""
        predicted = [cell.path for cell in study.approximated(*keys.values()) if cell.gradient.kind.predicts]
        return super().inputs(study, keys) | {"predicted": predicted}

    def params(self, study: Study, keys: Keys) -> dict[str, Any]:
        """Return labels and looks, the families that have a budget, and how intervals are computed."""
        own = [cell.gradient.kind for cell in study.approximated(*keys.values())]
        intervals = study.config.uncertainty
        return super().params(study, keys) | {
            "budgets": sorted({kind.family for kind in own if kind.is_budget}),
            "attribution": study.method(keys["method"]).name,
            "intervals": {
                "seed": study.config.seed,
                "level": intervals.level,
                "resamples": intervals.resamples,
            },
        }

    def draw(self, inputs: Mapping[str, Any], params: Mapping[str, Any], keys: Keys) -> tuple[Drawing, pd.DataFrame]:
        """Return the curves of the metric table."""
        from approxgrad.evaluation.budgets import agreements, best_of, predicted_agreements
        from approxgrad.evaluation.frames import read_metrics
        from approxgrad.evaluation.uncertainty import Bootstrap

        models = [keys["model"], *params["others"]]
        paths = [inputs["metrics"], *listed(inputs.get("others"))]
        tables = (read_metrics(path, **{**keys, "model": model}) for path, model in zip(paths, models, strict=True))
        # What costs no evaluations has no place on the axis.
        every = [agreements(table, Bootstrap(**params["intervals"])) for table in tables]
        found, *others = (table[table["evaluations"] > 0] for table in every)
        approximated = found[[not params["families"][family]["exact"] for family in found["family"]]]
        predicted = predicted_agreements(listed(inputs.get("predicted")), params["attribution"])
        approximated = approximated.merge(predicted, "left", "gradient")
        own = approximated["family"].isin(params["budgets"])
        marks = best_of(approximated[~own], ["family", "evaluations"])
        return curves(approximated[own], marks, params, others)


@style.applied_style()
def curves(
    lines: pd.DataFrame, marks: pd.DataFrame, params: Mapping[str, Any], others: Sequence[pd.DataFrame] = ()
) -> tuple[Drawing, pd.DataFrame]:
    """Draw sources with a budget as lines and others as single marks, on a logarithmic axis; also return both.

    The axis of the agreement has room for the medians of other models.
    """
    import pandas as pd

    from approxgrad.evaluation.budgets import AGREEMENT
    from approxgrad.evaluation.metrics import METRICS

    families, labels = params["families"], params["labels"]
    figure = style.new_figure(1.6 * style.COLUMN_WIDTH, 3.6)
    axes = figure.subplots()
    metric, numbers = METRICS[AGREEMENT], pd.concat([lines, marks], ignore_index=True)
    ends = [numbers[name] for name in ("median", "low", "high")] + [table["median"] for table in others]
    tables = (values.rename(AGREEMENT).to_frame() for values in ends)
    axis = metric_axis(replace(metric, label=f"{metric.label} (median)"), tables)
    drawn: set[str] = set()
    for name in style.present_families(lines, families):
        colour = families[name]["colour"]
        # A variant of a source that is there already.
        _source(axes, axis, lines, name, families, linestyle="--" if colour in drawn else "-", markersize=4)
        drawn.add(colour)
    for name in style.present_families(marks, families):
        _source(axes, axis, marks, name, families, linestyle="none", markersize=6, markerfacecolor="white")
    axes.set_xscale("log")
    ticks = _ticks([*lines["setting"], *marks["evaluations"]])
    axes.set_xticks(ticks, [f"{tick:,.0f}" for tick in ticks])
    axes.minorticks_off()
    axes.set_xlabel("model evaluations for each input")
    axis.apply(axes)
    axes.grid(which="major")
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), handlelength=2.8)
    told = {
        NOTE: True,
        INTERVAL.format(level=100 * params["intervals"]["level"]): numbers["low"].notna().any(),
        MARKS: len(marks) > 0,
        PREDICTED: numbers["predicted"].notna().any(),
        REFERENCE: True,
    }
    note = " ".join(words for words, present in told.items() if present)
    title = f"against {params['against']}, {style.sizes_in_words(numbers['n'])}"
    style.annotate(figure, labels, labels["method"], title, note=note)
    return figure, numbers


def _source(
    axes: Axes, axis: MetricAxis, rows: pd.DataFrame, name: str, families: style.Families, **looks: Any
) -> None:
    """Draw the medians of a family with their intervals, and what it predicted."""
    own, colour = rows[rows["family"] == name].sort_values("evaluations"), families[name]["colour"]
    heights = {key: axis.heights(own[key].to_numpy(float)) for key in ("median", "low", "high", *PREDICTIONS)}
    ends = [np.nan_to_num(np.abs(heights[end] - heights["median"])) for end in ("low", "high")]
    looks = {"markerfacecolor": colour, "linewidth": 1.1, "elinewidth": 0.7, "capsize": 1.5, **looks}
    described = {"color": colour, "marker": families[name]["marker"], "label": families[name]["label"]}
    # What a correlation lacks to 1 is the smaller, the higher the correlation.
    yerr = ends if axis.lacking is None else ends[::-1]
    axes.errorbar(own["evaluations"], heights["median"], yerr=yerr, **described, **looks)
    predicted, low, high = (heights[key] for key in PREDICTIONS)
    axes.plot(own["evaluations"], predicted, color=colour, linestyle=":", linewidth=1.3, zorder=1.5)
    axes.fill_between(own["evaluations"], low, high, color=colour, alpha=0.12, linewidth=0)


def _ticks(values: list[float]) -> list[float]:
    """Return the values whose labels have room beside each other."""
    ticks: list[float] = []
    span = max(values) / min(values)
    for value in sorted(set(values)):
        if not ticks or value / ticks[-1] > span**ROOM:
            ticks.append(value)
    return ticks
