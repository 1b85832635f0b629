"""Error of a variant of a method beside that of the method itself, over the setting."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from typing import TYPE_CHECKING, Any, ClassVar

from approxgrad.evaluation.files import METRIC_TABLE
from approxgrad.figures import style
from approxgrad.figures.figure import FIGURES, ComparisonFigure, Keys

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing

    from approxgrad.study.study import Study

CORRECT, PUBLISHED = "correct", "published variant"
MOST_LABELS = 7  # Settings within two decades are labelled one by one, unless there are more.


@FIGURES.add
class Variants(ComparisonFigure):
    """The median error of both over the setting, a panel for each kind of setting."""

    name: ClassVar[str] = "variants"
    label: ClassVar[str] = "published against correct"

    def targets(self, study: Study) -> list[tuple[str, ...]]:
        """Return the approximations of the exact attribution of another method that is itself approximated."""
        return [
            (dataset, model, method)
            for dataset, model, method in study.comparisons
            if study.method(method).takes_gradients
            and study.reference(method) != method
            and (dataset, model, study.reference(method)) in study.comparisons
        ]

    def inputs(self, study: Study, keys: Keys) -> dict[str, str | list[str]]:
        """Return the metric tables of both methods."""
        correct = METRIC_TABLE.format(**{**keys, "method": study.reference(keys["method"])})
        return {"correct": correct, "published": METRIC_TABLE.format(**keys)}

    def params(self, study: Study, keys: Keys) -> dict[str, Any]:
        """Return labels and looks, and the name of the method that the variant is compared with."""
        return super().params(study, keys) | {"reference": study.reference(keys["method"])}

    def draw(self, inputs: Mapping[str, Any], params: Mapping[str, Any], keys: Keys) -> tuple[Drawing, pd.DataFrame]:
        """Return the error curves of both metric tables."""
        from approxgrad.evaluation.frames import read_shown

        correct = read_shown(inputs["correct"], **{**keys, "method": params["reference"]})
        return variants(correct, read_shown(inputs["published"], **keys), params)


def variant_numbers(correct: pd.DataFrame, published: pd.DataFrame) -> pd.DataFrame:
    """Return the quartiles of the relative error for each variant, family and setting, over n samples."""
    import pandas as pd

    parts = []
    for variant, table in ((CORRECT, correct), (PUBLISHED, published)):
        keys = ["dataset", "model", "method", "family", "setting", "setting_name"]
        groups = style.compared_rows(table).groupby(keys, observed=True)["relative_error"]
        quartiles = {
            "lower_quartile": groups.quantile(0.25),
            "median": groups.median(),
            "upper_quartile": groups.quantile(0.75),
            "n": groups.count(),
        }
        parts.append(pd.DataFrame(quartiles).reset_index().assign(variant=variant))
    return pd.concat(parts, ignore_index=True)


@style.applied_style()
def variants(correct: pd.DataFrame, published: pd.DataFrame, params: Mapping[str, Any]) -> tuple[Drawing, pd.DataFrame]:
    """Draw the medians over the samples with the quartiles as a band, on logarithmic axes; also return them."""
    labels, families = params["labels"], params["families"]
    numbers = variant_numbers(correct, published)
    groups = style.source_groups(numbers, families)
    figure = style.new_figure(style.COLUMN_WIDTH * len(groups), 3.1)
    for axes, group in zip(figure.subplots(1, len(groups), squeeze=False)[0], groups, strict=True):
        names = dict.fromkeys(source.family for source in group.sources)
        _panel(axes, numbers[numbers["family"].isin(names)], names, families)
        axes.set(xlabel=group.title, ylabel="relative L2 error")
    note = (
        f"Reference: {params['against']}. Line: median of {style.sizes_in_words(numbers['n'])} samples. "
        "Band: quartiles. An error that stays while the other one shrinks means convergence to another quantity."
    )
    style.annotate(figure, labels, labels["method"], note=note)
    return figure, numbers


def _panel(axes: Axes, numbers: pd.DataFrame, names: Mapping[str, Any], families: style.Families) -> None:
    for variant, name in product((CORRECT, PUBLISHED), names):
        rows = numbers[(numbers["variant"] == variant) & (numbers["family"] == name)]
        if rows.empty:
            continue
        own = variant == CORRECT
        colour = families[name]["colour"] if own else style.PUBLISHED_COLOUR
        axes.plot(
            rows["setting"],
            rows["median"],
            color=colour,
            linestyle="-" if own else "--",
            marker=families[name]["marker"],
            markersize=4,
            markerfacecolor=colour if own else "white",
            label=f"{variant}, {families[name]['label']}",
        )
        axes.fill_between(
            rows["setting"], rows["lower_quartile"], rows["upper_quartile"], color=colour, alpha=0.25, linewidth=0
        )
    axes.set_xscale("log")
    if (numbers["median"] > 0).any():
        axes.set_yscale("log")
    settings = sorted(set(numbers["setting"]))
    if len(settings) <= MOST_LABELS and settings[-1] / settings[0] < 100:
        axes.set_xticks(settings, [style.setting_label(setting) for setting in settings])
        axes.minorticks_off()
    axes.grid(which="major")
    axes.legend(**style.ABOVE, handlelength=3)
