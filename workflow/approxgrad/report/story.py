"""The story of a study in sentences whose every number comes from its tables.

A sentence is chosen by what the numbers are, so it is true whatever they are; without its numbers it is left out.
"""

from __future__ import annotations

import math

import pandas as pd

from approxgrad.figures.style import method_label, name_label, step_label
from approxgrad.report import wording
from approxgrad.report.findings import Curve, Facts, curves, who
from approxgrad.report.pages import Section
from approxgrad.report.sentences import agreement, best_steps, truth, truth_in_short, variants, variants_in_short

QUESTION = (
    "How far is a feature attribution from its exact counterpart when the gradient is replaced by finite differences? "
    "A finite difference needs nothing but evaluations of the model, so it also works where a model gives no gradient. "
    "Its step h is the one choice to make: a large one loses to curvature, a very small one to rounding."
)
READING = (
    (
        "Correlation",
        "is Pearson's over the features of one row. It is 1 if one map is the other times a positive factor plus a "
        "constant, so it says whether the pattern is right, not the size.",
    ),
    (
        "Relative error",
        "is the Euclidean norm of the difference of the two maps over that of the exact one. It is 0 if the maps are "
        "equal and 1 for a map of zeros.",
    ),
    (
        "Median",
        "is over the attributed test rows, which are the same ones for every model, method and step of a data set.",
    ),
)


def start(facts: Facts) -> list[Section]:
    """Return the sections of the report's first page."""
    return [
        Section("The question", [QUESTION, *_scope(facts.summary)]),
        Section("The findings in short", points=_in_short(facts)),
        Section("Data and models", points=_data(facts)),
    ]


def tell(facts: Facts) -> list[Section]:
    """Return the sections of the whole story."""
    return [
        *start(facts),
        *agreement(facts),
        best_steps(facts),
        Section("The published variant of Integrated Gradients", points=variants(facts)),
        Section("The truth, where it is known", points=truth(facts)),
        Section("How to read the numbers", points=READING),
    ]


def _scope(summary: pd.DataFrame) -> list[str]:
    rows = summary[summary["reference"] == "exact"]
    if rows.empty:
        return []
    cells = rows[["dataset", "model", "method", "gradient"]].drop_duplicates()
    nouns = {"dataset": "data set", "model": "model", "method": "method"}
    names = [wording.count(rows[key].nunique(), noun) for key, noun in nouns.items()]
    schemes = wording.listed(list(dict.fromkeys(rows["scheme"])))
    smallest, largest = step_label(rows["step"].min()), step_label(rows["step"].max())
    steps = f"the step {smallest}" if smallest == largest else f"steps from {smallest} to {largest}"
    return [
        f"This study compares {wording.count(len(cells), 'approximated attribution')} with the exact counterpart: "
        f"{wording.listed(names)}, with {schemes} differences and {steps} in units of the models' inputs."
    ]


def _data(facts: Facts) -> list[tuple[str, str]]:
    points = []
    for dataset, measures in facts.models.groupby("dataset", sort=False, observed=True):
        shape, classes = facts.shapes.get(str(dataset)), facts.classes.get(str(dataset), 0)
        parts = [] if shape is None else [_inputs(shape, classes)]
        parts.append(wording.count(int(measures["n"].max()), "test row"))
        attributed = facts.summary[facts.summary["dataset"] == dataset]
        if len(attributed):
            parts.append(f"up to {int((attributed['n'] + attributed['undefined']).max()):,} of them attributed")
        sentences = [", ".join(parts) + "."]
        sentences += [_skill(str(model), rows) for model, rows in measures.groupby("model", sort=False, observed=True)]
        points.append((f"{method_label(str(dataset))}:", " ".join(filter(None, sentences))))
    return points


def _inputs(shape: tuple[int, ...], classes: int) -> str:
    form = f"images of {' × '.join(map(str, shape))}" if len(shape) == 3 else wording.count(math.prod(shape), "feature")
    return f"{form} in {wording.count(classes, 'class', 'classes')}" if classes else f"{form} and a number to predict"


def _skill(model: str, measures: pd.DataFrame) -> str:
    known = measures.dropna(subset="value")
    values = dict(zip(known["metric"], known["value"], strict=True))
    name = name_label(model)
    if "accuracy" in values:
        return f"The {name} classifies {wording.percent(values['accuracy'])} of the test rows correctly."
    if "r2" not in values:
        return ""
    if values["r2"] < 0:
        return f"The {name} predicts worse than the mean of the targets does (R² = {wording.number(values['r2'])})."
    return f"The {name} explains {wording.percent(values['r2'])} of the targets' variance."


def _in_short(facts: Facts) -> list[tuple[str, str]]:
    own = [curve for curve in curves(facts.summary, "exact", "pearson") if curve.method not in facts.references]
    errors = [c for c in curves(facts.summary, "exact", "relative_error") if c.method not in facts.references]
    texts = [("At its best step,", _best_of_all(own)), ("The step matters most", _largest_change(own))]
    texts += [("Where the best step lies:", _where_the_best_step_is(errors))]
    texts += [("The published variant", variants_in_short(facts)), ("The truth:", truth_in_short(facts))]
    return [(lead, text) for lead, text in texts if text]


def _best_of_all(found: list[Curve]) -> str:
    if not found:
        return ""
    ordered = sorted(found, key=lambda curve: curve.medians[curve.best].value)
    ends = [
        f"{wording.correlation(curve.medians[curve.best].value)} ({who(curve.names)}, {curve.step(curve.best)})"
        for curve in (ordered[0], ordered[-1])
    ]
    compared = "the approximated attribution has a median correlation with the exact one"
    return f"{compared} of {ends[0]}." if len(found) == 1 else f"{compared} of between {ends[0]} and {ends[1]}."


def _largest_change(found: list[Curve]) -> str:
    varied = [curve for curve in found if len(curve.steps) > 1]
    if not varied:
        return ""
    curve = max(varied, key=lambda curve: curve.range)
    values = [median.value for median in curve.medians]
    worst = values.index(min(values))
    return (
        f"for {who(curve.names)}: the median correlation is {wording.correlation(values[curve.best])} at "
        f"{curve.step(curve.best)} and {wording.correlation(values[worst])} at {curve.step(worst)}."
    )


def _where_the_best_step_is(found: list[Curve]) -> str:
    varied = [curve for curve in found if len(curve.steps) > 1]
    if not varied:
        return ""
    smallest = sum(curve.best == 0 for curve in varied)
    largest = sum(curve.best == len(curve.steps) - 1 for curve in varied)
    return (
        f"the median relative error is least at the smallest step of the study in "
        f"{wording.share_of(smallest, len(varied), 'comparison')}, at the largest in {largest}, in between in "
        f"{len(varied) - smallest - largest}."
    )
