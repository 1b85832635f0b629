"""Error against the step for all models that share a twin: one network in several precisions or runtimes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from textwrap import fill
from typing import TYPE_CHECKING, Any, ClassVar

from approxgrad.evaluation.files import METRIC_TABLE
from approxgrad.figures import style
from approxgrad.figures.figure import FIGURES, Figure, Keys

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing
    from matplotlib.lines import Line2D

    from approxgrad.study.study import Study

COLUMNS = 3
ZEROS = 1.0  # error of a map of zeros
CHOSEN: dict[str, Any] = {"marker": "D", "markersize": 5, "markerfacecolor": "white", "markeredgewidth": 1.3}
NOTE = "Line: median of the n samples. Band: quartiles. Dotted line: a map of zeros."
CHOSEN_NOTE = "White diamond: the step that was chosen without any exact gradient."
LENGTH_NOTE = "The step is the length by which an input is moved, along one feature or a direction that moves several."


@FIGURES.add
class Twins(Figure):
    """The error over the step for models that share a twin, a panel for each of them."""

    name: ClassVar[str] = "twins"
    label: ClassVar[str] = "error of models with one twin"
    level: ClassVar[tuple[str, ...]] = ("dataset", "model", "method")
    caption: ClassVar[str] = "twins.rst"

    def targets(self, study: Study) -> list[tuple[str, ...]]:
        """Return data set, twin and method wherever several models are compared with the twin."""
        return [keys for keys, models in _groups(study).items() if sum(model != keys[1] for model in models) > 1]

    def inputs(self, study: Study, keys: Keys) -> dict[str, str | list[str]]:
        """Return the metric tables of the models."""
        own = _groups(study)[keys["dataset"], keys["model"], keys["method"]]
        return {"metrics": [METRIC_TABLE.format(**{**keys, "model": model}) for model in own]}

    def params(self, study: Study, keys: Keys) -> dict[str, Any]:
        """Return labels and looks, the models with a title of each, and the families whose setting is a step."""
        own = _groups(study)[keys["dataset"], keys["model"], keys["method"]]
        words = {model: (study.labels["model"][model], study.model(model).words) for model in own}
        titles = {model: list(dict.fromkeys(lines)) for model, lines in words.items()}
        kinds = {cell.gradient.family: cell.gradient.kind for cell in study.cells if cell.dataset == keys["dataset"]}
        steps = [family for family, kind in kinds.items() if kind.is_step]
        return super().params(study, keys) | {"models": titles, "steps": steps}

    def draw(self, inputs: Mapping[str, Any], params: Mapping[str, Any], keys: Keys) -> tuple[Drawing, pd.DataFrame]:
        """Return the error curves of the metric tables."""
        from approxgrad.evaluation.convergence import error_curves
        from approxgrad.evaluation.frames import read_comparisons

        names = [(keys["dataset"], model, keys["method"]) for model in params["models"]]
        curves = error_curves(read_comparisons(inputs["metrics"], names))
        curves = curves[curves["family"].isin(params["steps"])].reset_index(drop=True)
        return twin_curves(curves, params), curves


def _groups(study: Study) -> dict[tuple[str, str, str], list[str]]:
    """Return the models that are compared with the exact gradient of one model, itself among them, by its names."""
    found: dict[tuple[str, str, str], list[str]] = {}
    stepped = {(cell.dataset, cell.model, cell.method) for cell in study.cells if cell.gradient.kind.is_step}
    for dataset, model, method in study.comparisons:
        exact = study.exact(dataset, model, method)
        if exact.gradient.is_exact and (dataset, model, method) in stepped:
            found.setdefault((dataset, exact.model, method), []).append(model)
    return found


@style.applied_style()
def twin_curves(curves: pd.DataFrame, params: Mapping[str, Any]) -> Drawing:
    """Draw the error curves of models that share a twin on logarithmic axes.

    Parameters
    ----------
    curves : DataFrame
        As :func:`approxgrad.evaluation.convergence.error_curves` returns them.
    params : mapping
        ``labels``, ``families``, and ``models`` with the lines of a title for each, in the order of the panels.

    Raises
    ------
    ValueError
        If a model has no rows.
    """
    families, models = params["families"], params["models"]
    missing = [model for model in models if not (curves["model"] == model).any()]
    if missing:
        raise ValueError(f"metrics: no rows of the model {missing[0]}")
    columns = 2 if len(models) in (2, 4) else min(COLUMNS, len(models))
    lines = -(-len(models) // columns)
    figure = style.new_figure(max(style.COLUMN_WIDTH, 0.5 + 2.2 * columns), 1.9 + 1.9 * lines)
    # The legend has a row of its own, which the layout keeps clear of the title.
    top, body = figure.subfigures(2, 1, squeeze=False, height_ratios=[0.45, 1.9 * lines])[:, 0]
    panels = body.subplots(lines, columns, sharex=True, sharey=True, squeeze=False)
    handles: dict[str, Line2D] = {}
    for axes, (model, words) in zip(panels.flat, models.items(), strict=False):
        _panel(axes, curves[curves["model"] == model], families, handles, words)
    style.setting_axis(panels[0, 0], curves.loc[~curves["chosen"], "setting"])
    style.error_axis(panels[0, 0], [curves], "error", ZEROS)
    for axes in panels.flat[len(models) :]:
        axes.set_visible(False)
    for place, axes in enumerate(panels.flat[: len(models)]):
        if place + columns >= len(models):
            axes.set_xlabel("step h (units of the model's inputs)")
            axes.tick_params(labelbottom=True)
        if place % columns == 0:
            axes.set_ylabel("relative L2 error")
    marks_last = sorted(handles.values(), key=lambda handle: handle.get_linestyle() == "None")
    top.legend(handles=marks_last, loc="center", ncols=2, handlelength=3)
    method, twin = params["labels"]["method"], params["labels"]["model"]
    labels = params["labels"] | {"model": f"{twin} and those made from it"}
    units = {families[name]["setting_label"] for name in style.present_families(curves, families)}
    told = {NOTE: True, CHOSEN_NOTE: curves["chosen"].any(), LENGTH_NOTE: len(units) > 1}
    note = " ".join(words for words, present in told.items() if present)
    style.annotate(figure, labels, method, f"against exact gradients of {twin}", note=note)
    return figure


def _panel(
    axes: Axes, rows: pd.DataFrame, families: style.Families, handles: dict[str, Line2D], words: Sequence[str]
) -> None:
    """Draw the curves of one model, and add what is new to the legend."""
    from matplotlib.lines import Line2D

    axes.axhline(ZEROS, color=style.NOTE_GREY, linestyle=":", linewidth=0.7, zorder=0.9)
    for name in style.present_families(rows, families):
        looks, own = families[name], rows[rows["family"] == name].sort_values("setting")
        colour, fixed, chosen = looks["colour"], own[~own["chosen"]], own[own["chosen"]]
        drawn = {"color": colour, "marker": looks["marker"], "markersize": 3, "linewidth": 1.1}
        if len(fixed):
            (handles[name],) = axes.plot(fixed["setting"], fixed["error"], label=looks["label"], **drawn)
            ends = fixed["lower_quartile"], fixed["upper_quartile"]
            axes.fill_between(fixed["setting"], *ends, color=colour, alpha=0.18, linewidth=0)
        if len(chosen):
            place = chosen["setting"], chosen["error"]
            axes.plot(*place, linestyle="none", markeredgecolor=colour, zorder=7, **CHOSEN)
            mark = {"linestyle": "none", "markeredgecolor": style.BLACK, "label": "step chosen at run time", **CHOSEN}
            handles.setdefault("", Line2D([], [], **mark))
    axes.set_title("\n".join(fill(line, 40) for line in [*words, style.sizes_in_words(rows["n"])]))
    axes.grid(which="major")
