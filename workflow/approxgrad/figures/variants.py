"""Error of a variant of a method beside that of the method itself, over the setting."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from typing import TYPE_CHECKING, Any, ClassVar

from approxgrad.evaluation.files import METRIC_TABLE
from approxgrad.figures import style
from approxgrad.figures.figure import FIGURES, ComparisonFigure, Keys, listed
from approxgrad.figures.source_axes import source_groups

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing

    from approxgrad.study.study import Study

CORRECT, PUBLISHED = "correct", "published variant"


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
        """Return the metric tables of both methods: of the model, and then of the others."""
        reference = {**keys, "method": study.reference(keys["method"])}
        models = [keys["model"], *self.others(study, keys)]
        return {
            "correct": [METRIC_TABLE.format(**{**reference, "model": model}) for model in models],
            "published": [METRIC_TABLE.format(**{**keys, "model": model}) for model in models],
        }

    def params(self, study: Study, keys: Keys) -> dict[str, Any]:
        """Return labels and looks, and the name of the method that the variant is compared with."""
        return super().params(study, keys) | {"reference": study.reference(keys["method"])}

    def draw(self, inputs: Mapping[str, Any], params: Mapping[str, Any], keys: Keys) -> tuple[Drawing, pd.DataFrame]:
        """Return the error curves of both metric tables."""
        from approxgrad.evaluation.frames import read_shown

        names = [{**keys, "model": model} for model in (keys["model"], *params["others"])]
        pairs = zip(names, listed(inputs["correct"]), listed(inputs["published"]), strict=True)
        numbers, *others = (
            variant_numbers(read_shown(correct, **{**own, "method": params["reference"]}), read_shown(published, **own))
            for own, correct, published in pairs
        )
        return variants(numbers, params, others), numbers


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
def variants(numbers: pd.DataFrame, params: Mapping[str, Any], others: Sequence[pd.DataFrame] = ()) -> Drawing:
    """Draw :func:`variant_numbers`: medians over the samples with the quartiles as a band, on logarithmic axes.

    The axis of the error has room for the numbers of other models.
    """
    labels, families = params["labels"], params["families"]
    groups = source_groups(numbers, families)
    figure = style.new_figure(style.COLUMN_WIDTH * len(groups), 3.1)
    panels = figure.subplots(1, len(groups), squeeze=False, sharey=True)[0]
    for axes, group in zip(panels, groups, strict=True):
        names = dict.fromkeys(source.family for source in group.sources)
        _panel(axes, numbers[numbers["family"].isin(names)], names, families)
        axes.set(xlabel=group.title)
    panels[0].set_ylabel("relative L2 error")
    style.error_axis(panels[0], [numbers, *others], "median")
    note = (
        f"Reference: {params['against']}. Line: median of {style.sizes_in_words(numbers['n'])} samples. "
        "Band: quartiles. An error that stays while the other one shrinks means convergence to another quantity."
    )
    style.annotate(figure, labels, labels["method"], note=note)
    return figure


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
    style.setting_axis(axes, numbers["setting"])
    axes.grid(which="major")
    axes.legend(**style.ABOVE, handlelength=3)
