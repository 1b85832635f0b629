"""The story of a study: sentences and tables whose every number comes from its tables.

The numbers choose the words, so that a sentence is true whatever they are; a finding without its numbers is left out.
"""

from __future__ import annotations

import math

import pandas as pd

from approxgrad.evaluation.truths import TRUTHS
from approxgrad.report import wording
from approxgrad.report.faithful import faithful_in_short, faithfulness_table
from approxgrad.report.findings import Curve, Facts, Median
from approxgrad.report.judging import WHO, truth_in_short, truth_table, variants_in_short, variants_table, who
from approxgrad.report.pages import Section, Table
from approxgrad.report.parts import parts_in_short, parts_table
from approxgrad.report.stability import stability_table, stable_in_short

QUESTION = (
    "What happens to a feature attribution when its gradient is only approximated? An approximation needs nothing but "
    "evaluations of the model, so it also works where a model gives no gradient. Each one has a setting: finite "
    "differences have a step. A very small step drowns in rounding. A large one runs across what bends the model: the "
    "curvature of a smooth one, the kinks of a network of rectifiers, or the stairs of trees and of networks of "
    "integers. An attribution is compared with its reference: the one with the exact gradient or, for a model without "
    "one, with the gradient source that the study names."
)
EXPLAINED = (
    "What is explained is one output of the model for each row: for classes the output of the true class as the model "
    "gives it (a logit for the networks that are trained here, not a probability), for a regression its number. A "
    "positive value means that the output grows with the feature. Features are normalised as the model sees them, so a "
    "gradient is the change of the output for each unit of a normalised feature."
)
READING = (
    (
        "Correlation",
        "is Pearson's over the features of one row. It is 1 if one map is the other times a positive factor plus a "
        "constant, so it says whether the pattern is right, not the size.",
    ),
    (
        "Relative error",
        "is the Euclidean norm of the difference of the two maps over that of the reference. It is 0 if the maps are "
        "equal and 1 for a map of zeros. The scale-free error is what is left of it when the map is multiplied by its "
        "best factor.",
    ),
    (
        "Median",
        "is over the attributed test rows, which are the same for every model, method and setting of a data set. The "
        "tail is the 95th percentile of the errors: one row of twenty is worse.",
    ),
    (
        "The truth",
        "are the effects that the data were made with. They are signed and have an offset. The matched truth is what "
        "the method would give if the model were the truth: for Saliency the absolute slope of the effect, for "
        "Gradient × Input the input times the slope, for Integrated Gradients the effect minus that at the baseline.",
    ),
)
JUDGED = 0.9
"""Share of the variance that can be explained which a model must explain for the truth to judge its attributions."""

GOOD_ERROR = 0.1
"""Median relative error up to which a setting looks good."""


def start(facts: Facts) -> list[Section]:
    """Return the sections of the report's first page."""
    return [
        Section("The question", [QUESTION, EXPLAINED, *_scope(facts)]),
        Section("The findings in short", points=_in_short(facts)),
        Section("Data and models", points=_data(facts)),
    ]


def tell(facts: Facts) -> list[Section]:
    """Return the sections of the whole story."""
    return [
        *start(facts),
        Section("Agreement with the reference", table=_agreement(facts)),
        Section("Rounding and truncation, measured", table=parts_table(facts)),
        Section("Variants beside what they are compared with", table=variants_table(facts)),
        Section("The truth, where it is known", table=truth_table(facts)),
        Section("Faithfulness", table=faithfulness_table(facts)),
        Section("What holds for other trainings", table=stability_table(facts)),
        Section("How to read the numbers", points=READING),
    ]


def _scope(facts: Facts) -> list[str]:
    rows, found = facts.summary[~facts.summary["reference"].isin(TRUTHS)], facts.curves("relative_error")
    if not found:
        return []
    cells = rows[["dataset", "model", "method", "gradient"]].drop_duplicates()
    nouns = {"dataset": "data set", "model": "model", "method": "method"}
    counted = wording.listed([wording.count(rows[key].nunique(), noun) for key, noun in nouns.items()])
    gradients = []
    for label in dict.fromkeys(curve.look["label"] for curve in found):
        own = [
            (curve.settings[end], curve.at(end)) for curve in found if curve.look["label"] == label for end in (0, -1)
        ]
        smallest, largest = min(own)[1], max(own)[1]
        # A source without a setting is called by its label.
        ends = [] if smallest == label else [smallest] if smallest == largest else [f"{smallest} to {largest}"]
        gradients.append(" ".join([label, *(f"({own})" for own in ends)]))
    return [
        f"This study compares {wording.count(len(cells), 'approximated attribution')} with the reference: {counted}, "
        f"with {wording.listed(gradients)}.",
        *_other_quantities(facts, rows),
    ]


def _other_quantities(facts: Facts, rows: pd.DataFrame) -> list[str]:
    """Say which references are no gradients: sources without a setting, besides the exact one."""
    found = []
    for label, own in _labelled(facts, rows).groupby("label", sort=False):
        methods = list(dict.fromkeys(facts.labels["method"][name] for name in own["method"].astype(str)))
        found.append(f"The reference of {wording.listed(methods)} is {label}.")
    return found


def _labelled(facts: Facts, rows: pd.DataFrame) -> pd.DataFrame:
    looks = [
        facts.families[str(dataset)].get(str(reference), {"exact": True})
        for dataset, reference in zip(rows["dataset"], rows["reference"], strict=True)
    ]
    other = [not look["exact"] for look in looks]
    return rows[other].assign(label=[look["label"] for look in looks if not look["exact"]])


def _data(facts: Facts) -> list[tuple[str, str]]:
    points = []
    for dataset, measures in facts.models.groupby("dataset", sort=False, observed=True):
        name, attributed = str(dataset), facts.summary[facts.summary["dataset"] == dataset]
        parts = [_inputs(facts.shapes[name], facts.classes[name])] if name in facts.shapes else []
        parts.append(wording.count(int(measures["n"].max()), "test row"))
        if len(attributed):
            parts.append(f"up to {int((attributed['n'] + attributed['undefined']).max()):,} of them attributed")
        skills = [
            f"{facts.labels['model'][str(model)]}: {', '.join(_skill(own))}."
            for model, own in measures.dropna(subset="value").groupby("model", sort=False, observed=True)
        ]
        label = facts.labels["dataset"][name]
        points.append((f"{label[:1].upper()}{label[1:]}:", " ".join([f"{', '.join(parts)}.", *skills])))
    return points


def _inputs(shape: tuple[int, ...], classes: int) -> str:
    form = f"inputs of {' × '.join(map(str, shape))}" if len(shape) > 1 else wording.count(math.prod(shape), "feature")
    return f"{form} in {wording.count(classes, 'class', 'classes')}" if classes else f"{form} and a number to predict"


def _skill(measures: pd.DataFrame) -> list[str]:
    """Return the test measures that tell what a model has learned."""
    values = dict(zip(measures["metric"], measures["value"], strict=True))
    texts = [f"accuracy {wording.percent(values['accuracy'])}"] if "accuracy" in values else []
    if "r2" in values:
        r2, possible = values["r2"], values.get("possible_r2", math.nan)
        text = f"R² = {wording.number(r2)}" + (", worse than predicting the mean" if r2 < 0 else "")
        text += f" where {wording.number(possible)} is possible" if possible > 0 else ""
        # Whatever explains such a model well explains the data badly.
        text += ", too little to judge its attributions by the truth" if r2 < JUDGED * possible else ""
        texts.append(text)
    return texts or [f"{name} {wording.number(value)}" for name, value in values.items()]


def _in_short(facts: Facts) -> list[tuple[str, str]]:
    own = [curve for curve in facts.curves("pearson") if curve.method not in facts.references]
    errors = [curve for curve in facts.curves("relative_error") if curve.method not in facts.references]
    texts = [
        ("At the best of the settings tried,", _best_of_all(facts, own)),
        ("The setting matters most", _largest_change(facts, own)),
        ("Where the best of the settings tried lies:", _where_the_best_is(errors)),
        ("Rounding and truncation:", parts_in_short(facts)),
        ("A median is not all:", _longest_tail(facts, errors)),
        ("Exact is not perfect:", _quadrature_in_short(facts)),
        *variants_in_short(facts),
        *truth_in_short(facts),
        *faithful_in_short(facts),
        *stable_in_short(facts),
    ]
    return [(lead, text) for lead, text in texts if text]


def _by_grid(found: list[Curve]) -> list[tuple[str, list[Curve]]]:
    """Return the curves over each grid of settings, with its words if there are several: only these are comparable."""
    grids: dict[tuple[str, tuple[float | None, ...]], list[Curve]] = {}
    for curve in found:
        grids.setdefault(curve.grid, []).append(curve)
    return [("" if len(grids) == 1 else f"({_range_in_words(own[0])}) ", own) for own in grids.values()]


def _range_in_words(curve: Curve) -> str:
    ends = [curve.at(0), curve.at(-1)]
    return ends[0] if len(curve.settings) == 1 else f"{len(curve.settings)} settings, {' to '.join(ends)}"


def _best_of_all(facts: Facts, found: list[Curve]) -> str:
    parts = []
    for grid, curves in _by_grid(found):
        ends = [
            f"{wording.correlation(curve.medians[curve.best].value)} ({facts.who(curve)}, {curve.named(curve.best)})"
            for curve in sorted(curves, key=lambda curve: -curve.distances[curve.best])
        ]
        parts.append(f"{grid}{'' if len(ends) == 1 else f'between {ends[0]} and '}{ends[-1]}")
    compared = "the approximated attribution has a median correlation with its reference of"
    return f"{compared} {'; '.join(parts)}." if parts else ""


def _largest_change(facts: Facts, found: list[Curve]) -> str:
    parts = []
    for grid, curves in _by_grid([curve for curve in found if len(curve.settings) > 1]):
        curve = max(curves, key=lambda curve: curve.distances[curve.worst] - curve.distances[curve.best])
        best, worst = (
            f"{wording.correlation(curve.medians[at].value)} at {curve.at(at)}" for at in (curve.best, curve.worst)
        )
        parts.append(f"{grid}for {facts.who(curve)}: the median correlation is {best} and {worst}")
    return "; ".join(parts) + "." if parts else ""


def _where_the_best_is(found: list[Curve]) -> str:
    varied = [curve for curve in found if len(curve.settings) > 1]
    if not varied:
        return ""
    edge = sum(curve.at_edge for curve in varied)
    beyond = "; a better one may lie beyond" if edge else ""
    return (
        f"the median relative error is least at the edge of the grid in "
        f"{wording.share_of(edge, len(varied), 'comparison')}{beyond}."
    )


def _longest_tail(facts: Facts, found: list[Curve]) -> str:
    """Return where the worst row is farthest from the median, among settings whose median looks good."""
    good = [
        (own.worst / own.value, curve, at)
        for curve in found
        for at, own in enumerate(curve.medians)
        if 0 < own.value <= GOOD_ERROR and own.worst > 2 * own.value
    ]
    if not good:
        return ""
    _, curve, at = max(good, key=lambda item: item[0])
    own = curve.medians[at]
    return (
        f"for {facts.who(curve)} at {curve.at(at)} the median relative error is {wording.percent(own.value)}, that of "
        f"one row in twenty above {wording.percent(own.tail)}, and that of the worst row {wording.percent(own.worst)}."
    )


def _quadrature_in_short(facts: Facts) -> str:
    curves = {curve.key[:3]: curve for curve in facts.curves("relative_error")}
    found = [(value, key) for key in curves if (value := facts.quadrature(*key)) is not None]
    if not found:
        return ""
    ends = [f"{wording.percent(value)} ({facts.who(curves[key])})" for value, key in (min(found), max(found))]
    return (
        "the sum over the points of a path has an error of its own. Attributions with exact gradients miss the "
        f"difference of the outputs by {ends[0] if len(found) == 1 else f'{ends[0]} to {ends[1]}'} (medians)."
    )


def _agreement(facts: Facts) -> Table:
    correlations = {curve.key: curve for curve in facts.curves("pearson")}
    rows = []
    for curve in facts.curves("relative_error"):
        twin = correlations.get(curve.key)
        medians = dict(zip(twin.settings, twin.medians, strict=True)) if twin else {}
        there, best = medians.get(curve.settings[curve.best]), curve.medians[curve.best]
        errors = [wording.percent(curve.medians[position].value) for position in (curve.best, 0, -1)]
        tails = ["" if math.isnan(value) else wording.percent(value) for value in (best.tail, best.worst)]
        undefined = f"{twin.undefined} of {twin.samples}" if twin and twin.undefined else ""
        quadrature = facts.quadrature(*curve.key[:3])
        row = [*who(facts, curve), str(curve.samples), curve.named(curve.best), errors[0], *tails]
        row += ["" if quadrature is None else wording.percent(quadrature)]
        row.append(_with_interval(there) if there else "undefined")
        rows.append([*row, f"{errors[1]} ({curve.at(0)})", f"{errors[2]} ({curve.at(-1)})", undefined])
    level = "" if facts.level is None else f" with its {100 * facts.level:g} % interval"
    caption = (
        "The best of the settings tried, by the median relative error: that error, its 95th percentile and that of the "
        f"worst row, and the median correlation there{level}; for comparison, the errors at the smallest and the "
        "largest setting. (edge): the best is one of these two, so one outside the study may be better still. "
        "Quadrature: the median by which the same attribution with exact gradients misses the difference of the "
        "outputs. Undefined: the most rows of a setting that have no correlation, because a map is constant."
    )
    header = [*WHO, "samples", "best tried", "relative error", "95 % below", "worst row", "quadrature", "correlation"]
    return Table(caption, [*header, "error at smallest", "error at largest", "undefined"], rows)


def _with_interval(median: Median) -> str:
    text = wording.correlation(median.value)
    if math.isnan(median.low) or math.isnan(median.high):
        return text
    return f"{text} ({wording.correlation(median.low)} to {wording.correlation(median.high)})"
