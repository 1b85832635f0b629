"""The part of a story that says what was studied: the question, the data sets and models, and how to read numbers."""

from __future__ import annotations

import math

import pandas as pd

from approxgrad.evaluation.truths import TRUTHS
from approxgrad.report import wording
from approxgrad.report.findings import Facts

QUESTION = (
    "What happens to a feature attribution when its gradient is only approximated by evaluations of the model? Such an "
    "approximation also works where a model gives no gradient. Each has a setting: finite differences have a step. A "
    "very small step drowns in rounding. A large one runs across what bends the model: curvature, the kinks of "
    "rectifiers, or the stairs of trees and of networks of integers."
)
READING = (
    (
        "What is explained",
        "is one output of the model for each row: for classes the output of the true class as the model gives it (a "
        "logit for the networks that are trained here, not a probability), for a regression its number. A positive "
        "value means that the output grows with the feature. Features are normalised as the model sees them, so a "
        "gradient is the change of the output for each unit of a normalised feature.",
    ),
    (
        "The reference",
        "is the same attribution with the exact gradient or, for a model without one, that of its twin or with the "
        "gradient source that the study names.",
    ),
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


def scope(facts: Facts) -> list[str]:
    """Return what a study compares, and which references are no gradients."""
    rows, found = facts.summary[~facts.summary["reference"].isin(TRUTHS)], facts.curves("relative_error")
    if not found:
        return []
    cells = rows[["dataset", "model", "method", "gradient"]].drop_duplicates()
    nouns = {"dataset": "data set", "model": "model", "method": "method"}
    counted = wording.listed([wording.count(rows[key].nunique(), noun) for key, noun in nouns.items()])
    labels = dict.fromkeys(str(curve.look["label"]) for curve in found)
    # A label with a comma of its own would read as two sources.
    sources = wording.listed([f"{label.replace(', ', ' (')})" if ", " in label else label for label in labels])
    return [
        f"This study compares {wording.count(len(cells), 'approximated attribution')} with the reference: {counted}, "
        f"with {sources}.",
        *_other_quantities(facts, rows),
    ]


def _other_quantities(facts: Facts, rows: pd.DataFrame) -> list[str]:
    """Say which references are no gradients: sources without a setting, besides the exact one."""
    looks = [
        facts.families[str(dataset)].get(str(reference), {"exact": True})
        for dataset, reference in zip(rows["dataset"], rows["reference"], strict=True)
    ]
    other = rows[[not look["exact"] for look in looks]].assign(
        label=[look["label"] for look in looks if not look["exact"]]
    )
    found = []
    for label, own in other.groupby("label", sort=False):
        methods = list(dict.fromkeys(facts.labels["method"][name] for name in own["method"].astype(str)))
        found.append(f"The reference of {wording.listed(methods)} is {label}.")
    return found


def data(facts: Facts) -> list[tuple[str, str]]:
    """Return a point for each data set: its inputs, and what its models have learned."""
    points = []
    for dataset, measures in facts.models.groupby("dataset", sort=False, observed=True):
        name, attributed = str(dataset), facts.summary[facts.summary["dataset"] == dataset]
        parts = [_inputs(facts.shapes[name], facts.classes[name])] if name in facts.shapes else []
        parts.append(wording.count(int(measures["n"].max()), "test row"))
        if len(attributed):
            parts.append(f"up to {int((attributed['n'] + attributed['undefined']).max()):,} of them attributed")
        skills = [
            f"{facts.labels['model'][str(model)]}: {', '.join(_skill(facts, name, str(model), own))}."
            for model, own in measures.dropna(subset="value").groupby("model", sort=False, observed=True)
        ]
        label = facts.labels["dataset"][name]
        points.append((f"{label[:1].upper()}{label[1:]}:", " ".join([f"{', '.join(parts)}.", *skills])))
    return points


def _inputs(shape: tuple[int, ...], classes: int) -> str:
    form = f"inputs of {' × '.join(map(str, shape))}" if len(shape) > 1 else wording.count(math.prod(shape), "feature")
    return f"{form} in {wording.count(classes, 'class', 'classes')}" if classes else f"{form} and a number to predict"


def _skill(facts: Facts, dataset: str, model: str, measures: pd.DataFrame) -> list[str]:
    """Return the test measures that tell what a model has learned."""
    values = dict(zip(measures["metric"], measures["value"], strict=True))
    texts = [f"accuracy {wording.percent(values['accuracy'], digits=3)}"] if "accuracy" in values else []
    if "r2" in values:
        r2, possible = values["r2"], values.get("possible_r2", math.nan)
        text = f"R² = {wording.number(r2)}" + (", worse than predicting the mean" if r2 < 0 else "")
        text += f" where {wording.number(possible)} is possible" if possible > 0 else ""
        # Whatever explains such a model well explains the data badly.
        text += "" if facts.explains(dataset, model) else ", too little to judge its attributions by the truth"
        texts.append(text)
    return texts or [f"{name} {wording.number(value)}" for name, value in values.items()]
