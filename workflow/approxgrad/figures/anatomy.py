"""Error over the setting of every method: for steps, rounding below the best step and truncation above it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from textwrap import fill
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from approxgrad.evaluation.files import ERROR_PARTS, METRIC_TABLE
from approxgrad.figures import style
from approxgrad.figures.figure import FIGURES, Figure, Keys, listed, twin_words
from approxgrad.figures.source_axes import source_groups
from approxgrad.gradients.precisions import PRECISIONS
from approxgrad.study.split_cells import split_cells

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing
    from matplotlib.lines import Line2D

    from approxgrad.evaluation.convergence import Branch, Convergence
    from approxgrad.study.study import Study

COLUMNS = 3
LONG = 30  # letters
LINES: dict[str, Any] = dict(zip(PRECISIONS, [":", (0, (3, 1, 1, 1)), "-", (0, (4, 1.5))], strict=True))
BEST: dict[str, Any] = {"marker": "*", "markersize": 9, "markeredgecolor": style.BLACK, "markeredgewidth": 0.6}
CHOSEN: dict[str, Any] = {"marker": "D", "markersize": 4.5, "markerfacecolor": "white", "markeredgewidth": 1.2}
MEASURED: dict[str, Any] = {"linestyle": (0, (4, 1.2, 1, 1.2)), "linewidth": 1.2}
GUIDE: dict[str, Any] = {"color": style.BLACK, "linestyle": (0, (1, 1.2)), "linewidth": 1.1, "zorder": 5}
UNDEFINED = "No error is defined: what attributions are compared with is zero."
NOTE = "Line: median of the n samples. Band: quartiles."
LAWS_NOTE = (
    "Dotted: power laws with the exponents of the panel (left, right of the minimum), fitted to at least three points "
    "of a branch."
)
PARTS_NOTE = (
    "Measured: rounding is dense minus propagated differences of one step; the error of propagated ones is truncation."
)


@FIGURES.add
class Anatomy(Figure):
    """The error over the setting, a panel for each method and kind of setting."""

    name: ClassVar[str] = "anatomy"
    label: ClassVar[str] = "error against step"
    level: ClassVar[tuple[str, ...]] = ("dataset", "model")

    def targets(self, study: Study) -> list[tuple[str, ...]]:
        """Return the models with an attribution whose source has a setting."""
        return list(dict.fromkeys(names[:2] for names in study.comparisons if _is_varied(study, *names)))

    def inputs(self, study: Study, keys: Keys) -> dict[str, str | list[str]]:
        """Return the metric tables of all methods, and those of other models with the same methods."""
        methods = _methods(study, keys)
        split = [ERROR_PARTS.format(**keys)] if split_cells(study, keys["dataset"], keys["model"]) else []
        others = [METRIC_TABLE.format(dataset=keys["dataset"], model=own, method=m) for own, m in _others(study, keys)]
        metrics = [METRIC_TABLE.format(**keys, method=method) for method in methods]
        return {"metrics": metrics, "parts": split, "others": others}

    def params(self, study: Study, keys: Keys) -> dict[str, Any]:
        """Return labels and looks, and the methods with their labels."""
        methods = _methods(study, keys)
        references = [study.exact(keys["dataset"], keys["model"], method).gradient for method in methods]
        exact = f"exact gradients of the same precision{twin_words(study, keys['model'])}"
        return super().params(study, keys) | {
            "methods": {name: study.labels["method"][name] for name in methods},
            "against": ", ".join(dict.fromkeys(exact if own.is_exact else own.words for own in references)),
            "others": _others(study, keys),
        }

    def draw(self, inputs: Mapping[str, Any], params: Mapping[str, Any], keys: Keys) -> tuple[Drawing, pd.DataFrame]:
        """Return the error curves of the metric tables."""
        import pandas as pd

        from approxgrad.evaluation.convergence import error_curves
        from approxgrad.evaluation.frames import read_comparisons
        from approxgrad.evaluation.splitting import read_parts

        names = [(keys["dataset"], keys["model"], method) for method in params["methods"]]
        curves = error_curves(read_comparisons(listed(inputs["metrics"]), names))
        tables = zip(listed(inputs.get("others")), params["others"], strict=True)
        others = [error_curves(read_comparisons([path], [(keys["dataset"], *own)])) for path, own in tables]
        measured = listed(inputs.get("parts"))
        parts = read_parts(measured, [(keys["dataset"], keys["model"])] * len(measured))
        numbers = curves if parts.empty else pd.concat([curves, parts], ignore_index=True)
        return anatomy(curves, params, parts, others), numbers


def _is_varied(study: Study, dataset: str, model: str, method: str) -> bool:
    """Return whether some source of a comparison has a setting."""
    return any(cell.gradient.setting is not None for cell in study.approximated(dataset, model, method))


def _methods(study: Study, keys: Keys) -> list[str]:
    """Return the methods of a picture."""
    place = keys["dataset"], keys["model"]
    return [method for method in study.compared_methods(*place) if _is_varied(study, *place, method)]


def _others(study: Study, keys: Keys) -> list[list[str]]:
    """Return the other models of the data set, with those of the methods of a picture that they have."""
    models = [model for dataset, model in Anatomy().targets(study) if dataset == keys["dataset"]]
    others = [model for model in models if model != keys["model"] and model not in study.repeats]
    own = _methods(study, keys)
    return [
        [model, method] for model in others for method in _methods(study, {**keys, "model": model}) if method in own
    ]


@style.applied_style()
def anatomy(
    curves: pd.DataFrame,
    params: Mapping[str, Any],
    split: pd.DataFrame | None = None,
    others: Sequence[pd.DataFrame] = (),
) -> Drawing:
    """Draw error curves (:func:`approxgrad.evaluation.convergence.error_curves`) on logarithmic axes.

    For each family and precision there is a line of the medians over the samples, with the quartiles as a band, the
    power laws of its branches with their exponents, its best setting, and the one chosen at run time where there is
    one. Where `split` (:func:`approxgrad.evaluation.splitting.parts_table`) tell rounding and truncation, these are
    drawn in place of power laws. The panels are the `methods` in the parameters; a ValueError names one without rows.
    The axis of the error has room for the curves of `others`. Where no error is defined at all, the picture says so.
    """
    families, methods = params["families"], params["methods"]
    if curves.empty:
        figure = style.new_figure(style.COLUMN_WIDTH, 1.5)
        figure.text(0.5, 0.5, UNDEFINED, ha="center", va="center")
        style.annotate(figure, params["labels"], "Error against step", note="")
        return figure
    kinds = {group.title: {source.family for source in group.sources} for group in source_groups(curves, families)}
    missing = [method for method in methods if not (curves["method"] == method).any()]
    if missing:
        raise ValueError(f"metrics: no rows of the method {missing[0]}")
    parts = {
        (method, kind): curves[(curves["method"] == method) & curves["family"].isin(kinds[kind])]
        for method, kind in product(methods, kinds)
    }
    wanted = [names for names, rows in parts.items() if len(rows)]
    columns = 2 if len(wanted) == 4 else min(COLUMNS, len(wanted))
    lines = -(-len(wanted) // columns)
    figure = style.new_figure(max(style.COLUMN_WIDTH, 0.5 + 2.5 * columns), 1.8 + 2.3 * lines)
    # The legend has a row of its own, which the layout keeps clear of the title.
    top, body = figure.subfigures(2, 1, squeeze=False, height_ratios=[0.35, 2.3 * lines])[:, 0]
    panels = body.subplots(lines, columns, sharex=len(kinds) == 1, sharey=True, squeeze=False)
    handles: dict[str, Line2D] = {}
    laws = False
    for axes, (method, kind) in zip(panels.flat, wanted, strict=False):
        rows = parts[method, kind]
        own = None if split is None or split.empty else split[split["method"] == method]
        laws = _panel(axes, rows, families, handles, own) or laws
        style.setting_axis(axes, curves.loc[curves["family"].isin(kinds[kind]) & ~curves["chosen"], "setting"])
        axes.set_title("\n".join(fill(line, 44) for line in (methods[method], style.sizes_in_words(rows["n"]))))
    # Of all panels, which share the axis.
    style.error_axis(panels[0, 0], [curves, *others], "error")
    for axes in panels.flat[len(wanted) :]:
        axes.set_visible(False)
    for place, (axes, (_, kind)) in enumerate(zip(panels.flat, wanted, strict=False)):
        if len(kinds) > 1 or place + columns >= len(wanted):
            axes.set_xlabel(kind if len(kinds) == 1 else fill(kind, 36))
            axes.tick_params(labelbottom=True)
        if place % columns == 0:
            axes.set_ylabel("relative L2 error of the attribution")
    marks_last = sorted(handles.values(), key=lambda handle: handle.get_linestyle() == "None")
    # One panel has little room for two long labels side by side.
    narrow = columns == 1 and max(map(len, handles), default=0) > LONG
    top.legend(handles=marks_last, loc="center", ncols=max(2, columns), fontsize=5 if narrow else None)
    varied = " and ".join(_words(name) for name in dict.fromkeys(curves["setting_name"]))
    told = {NOTE: True, LAWS_NOTE: laws, PARTS_NOTE: split is not None and not split.empty}
    note = " ".join(words for words, present in told.items() if present)
    style.annotate(figure, params["labels"], f"Error against {varied}", f"against {params['against']}", note=note)
    return figure


def _panel(
    axes: Axes,
    rows: pd.DataFrame,
    families: style.Families,
    handles: dict[str, Line2D],
    parts: pd.DataFrame | None = None,
) -> bool:
    """Draw the curves of one method, add what is new to the legend, and return whether there are power laws."""
    from approxgrad.evaluation.convergence import convergence

    laws = False
    exponents = {}
    for name, dtype in product(style.present_families(rows, families), PRECISIONS):
        curve = rows[(rows["family"] == name) & (rows["dtype"] == dtype)]
        looks, colour = families[name], families[name]["colour"]
        fixed, chosen = curve[~curve["chosen"]].sort_values("setting"), curve[curve["chosen"]]
        if len(fixed):
            x, line = fixed["setting"], {"color": colour, "linestyle": LINES[dtype], "linewidth": 1}
            label = f"{looks['label']}, {dtype}"
            (handles[label],) = axes.plot(
                x, fixed["error"], marker=looks["marker"], markersize=2.5, label=label, **line
            )
            axes.fill_between(
                x, fixed["lower_quartile"], fixed["upper_quartile"], color=colour, alpha=0.18, linewidth=0
            )
            found = convergence(x, fixed["error"], dtype)
            words = f"{name.replace('_', ' ')} {dtype}"
            own = None if parts is None else parts[parts["dtype"] == dtype]
            split = None if own is None else own[own["family"] == name]
            measured = own is not None and name in {*own["family"], *own["unrounded"]}
            if len(fixed) > 1:
                _mark_best(axes, found, colour, handles, _words(looks["setting_name"]))
            branches = [found.rounding, found.truncation]
            if not measured:
                _draw_laws(axes, branches)
            if split is not None and measured:
                for part, text in _draw_rounding(axes, split, looks, handles).items() if len(split) else ():
                    exponents[f"{words}, {part}"] = text, colour
            elif any(branches):
                slopes = ", ".join("none" if branch is None else f"{branch.slope:.2f}" for branch in branches)
                exponents[words] = (slopes, colour)
                laws = True
        if len(chosen):
            place = chosen["setting"], chosen["error"]
            axes.plot(*place, linestyle="none", markeredgecolor=colour, zorder=7, **CHOSEN)
            label = f"{_words(looks['setting_name'])} chosen at run time"
            handles.setdefault(label, _legend_mark(label, CHOSEN, markeredgecolor=style.BLACK))
    axes.grid(which="major")
    if exponents:
        smallest = rows[~rows["chosen"]].groupby("setting")["error"].min()
        title = "exponents" if parts is None else "exponents, or what rules"
        _write_exponents(axes, exponents, title, rising=smallest.idxmin() == smallest.index[0])
    return laws


def _draw_rounding(
    axes: Axes, parts: pd.DataFrame, looks: Mapping[str, Any], handles: dict[str, Line2D]
) -> dict[str, str]:
    """Draw measured rounding, and return at which settings it rules, and truncation."""
    from approxgrad.evaluation.splitting import ROUNDING, TRUNCATION, ruled

    own = parts[parts["part"] == ROUNDING].sort_values("setting")
    label = f"rounding of {looks['label']}, measured"
    (handles[label],) = axes.plot(own["setting"], own["error"], color=looks["colour"], label=label, **MEASURED)
    ends = zip((ROUNDING, TRUNCATION), "≤≥", ruled(parts), strict=True)
    return {
        part: f"{looks['symbol']} {sign} {style.setting_label(end)}" for part, sign, end in ends if not np.isnan(end)
    }


def _words(setting_name: str) -> str:
    return setting_name.replace("_", " ")


def _mark_best(axes: Axes, found: Convergence, colour: str, handles: dict[str, Line2D], varied: str) -> None:
    """Mark the best of several settings."""
    axes.plot(found.best_setting, found.best_error, linestyle="none", color=colour, zorder=6, **BEST)
    label = f"best {varied} of the study"
    handles.setdefault(label, _legend_mark(label, BEST, color="white"))


def _draw_laws(axes: Axes, branches: Sequence[Branch | None]) -> None:
    """Draw the power laws of branches."""
    for branch in branches:
        if branch is not None:
            ends = np.array([branch.low, branch.high])
            axes.plot(ends, branch.error(ends), **GUIDE)


def _write_exponents(axes: Axes, exponents: dict[str, tuple[str, str]], title: str, rising: bool) -> None:
    """Write the exponents of every curve in its colour where there is room: below its higher end."""
    lines = [(f"{title}:", style.BLACK)]
    lines += [(f"{name}: {text}", colour) for name, (text, colour) in exponents.items()]
    for place, (text, colour) in enumerate(reversed(lines)):
        look: dict[str, Any] = {"ha": "right" if rising else "left", "fontsize": 5.5, "color": colour, "zorder": 8}
        axes.text(0.98 if rising else 0.02, 0.02 + 0.06 * place, text, transform=axes.transAxes, **look)


def _legend_mark(label: str, look: dict[str, Any], **colours: str) -> Line2D:
    from matplotlib.lines import Line2D

    options: dict[str, Any] = {**look, **colours}
    return Line2D([], [], linestyle="none", label=label, **options)
