"""Agreement against the number of model evaluations, a line for each gradient source."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from approxgrad.descriptions import written
from approxgrad.figures import style
from approxgrad.figures.figure import FIGURES, ComparisonFigure, Keys

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure as Drawing

    from approxgrad.study.study import Study

NOTE = (
    "Line: median of the n samples. Bar: its {level:g} % interval. Single marks: sources without a budget, at their "
    "best setting. {predicted}The reference is what the attribution is compared with, whatever a source estimates."
)
PREDICTED = "Dotted line and band: what a source predicts without the reference, with its 90 % interval. "


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
        return super().params(study, keys) | {
            "budgets": sorted({kind.family for kind in own if kind.is_budget}),
            "attribution": study.method(keys["method"]).name,
            "intervals": {"seed": study.config.seed, **written(study.config.uncertainty)},
        }

    def draw(self, inputs: Mapping[str, Any], params: Mapping[str, Any], keys: Keys) -> tuple[Drawing, pd.DataFrame]:
        """Return the curves of the metric table."""
        from approxgrad.evaluation.budgets import agreements, best_of, predicted_agreements
        from approxgrad.evaluation.frames import read_metrics
        from approxgrad.evaluation.uncertainty import Bootstrap

        found = agreements(read_metrics(inputs["metrics"], **keys), Bootstrap(**params["intervals"]))
        approximated = found[[not params["families"][family]["exact"] for family in found["family"]]]
        paths = inputs.get("predicted") or []
        predicted = predicted_agreements([paths] if isinstance(paths, str) else paths, params["attribution"])
        approximated = approximated.merge(predicted, "left", "gradient")
        own = approximated["family"].isin(params["budgets"])
        marks = best_of(approximated[~own], ["family", "evaluations"])
        return curves(approximated[own], marks, params)


@style.applied_style()
def curves(lines: pd.DataFrame, marks: pd.DataFrame, params: Mapping[str, Any]) -> tuple[Drawing, pd.DataFrame]:
    """Draw sources with a budget as lines and others as single marks, on a logarithmic axis; also return both."""
    import pandas as pd

    from approxgrad.evaluation.budgets import AGREEMENT
    from approxgrad.evaluation.metrics import METRICS

    families, labels = params["families"], params["labels"]
    figure = style.new_figure(1.6 * style.COLUMN_WIDTH, 3.6)
    axes = figure.subplots()
    for rows, line in ((lines, "-"), (marks, "none")):
        for name in style.present_families(rows, families):
            own, look = rows[rows["family"] == name].sort_values("evaluations"), families[name]
            axes.errorbar(
                own["evaluations"],
                own["median"],
                yerr=[(own["median"] - own["low"]).fillna(0), (own["high"] - own["median"]).fillna(0)],
                color=look["colour"],
                marker=look["marker"],
                linestyle=line,
                markersize=4 if line == "-" else 6,
                markerfacecolor=look["colour"] if line == "-" else "white",
                linewidth=1.1,
                elinewidth=0.7,
                capsize=1.5,
                label=look["label"],
            )
    known = lines.dropna(subset="predicted")
    for name in style.present_families(known, families):
        own, colour = known[known["family"] == name].sort_values("evaluations"), families[name]["colour"]
        axes.plot(own["evaluations"], own["predicted"], color=colour, linestyle=":", linewidth=1.1, zorder=1.5)
        ends = own["predicted_low"], own["predicted_high"]
        axes.fill_between(own["evaluations"], *ends, color=colour, alpha=0.15, linewidth=0)
    axes.set_xscale("log")
    axes.set(xlabel="model evaluations for each input", ylabel=f"{METRICS[AGREEMENT].label} (median)")
    axes.grid(which="major")
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), handlelength=2.5)
    note = NOTE.format(level=100 * params["intervals"]["level"], predicted=PREDICTED if len(known) else "")
    numbers = pd.concat([lines, marks], ignore_index=True)
    title = f"against {params['against']}, {style.sizes_in_words(numbers['n'])}"
    style.annotate(figure, labels, labels["method"], title, note=note)
    return figure, numbers
