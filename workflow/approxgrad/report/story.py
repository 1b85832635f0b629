"""The story of a study: sentences and tables whose every number comes from its tables.

The numbers choose the words, so that a sentence is true whatever they are; a finding without its numbers is left out.
"""

from __future__ import annotations

import math

import pandas as pd

from approxgrad.evaluation.splitting import CURVE, ROUNDING, TRUNCATION, ruled
from approxgrad.report import wording
from approxgrad.report.findings import TRUTH, Curve, Facts, Median
from approxgrad.report.pages import Section, Table

QUESTION = (
    "What happens to a feature attribution when its gradient is only approximated? An approximation needs nothing but "
    "evaluations of the model, so it also works where a model gives no gradient. Each one has a setting to choose: "
    "finite differences have a step, which loses to curvature if it is large and to rounding if it is very small. An "
    "attribution is compared with its reference: the one with the exact gradient or, for a model without one, with the "
    "gradient source that the study names."
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
        "equal and 1 for a map of zeros.",
    ),
    (
        "Median",
        "is over the attributed test rows, which are the same for every model, method and setting of a data set.",
    ),
)
WHO = ["data set", "model", "method", "gradient"]


def start(facts: Facts) -> list[Section]:
    """Return the sections of the report's first page."""
    return [
        Section("The question", [QUESTION, *_scope(facts)]),
        Section("The findings in short", points=_in_short(facts)),
        Section("Data and models", points=_data(facts)),
    ]


def tell(facts: Facts) -> list[Section]:
    """Return the sections of the whole story."""
    return [
        *start(facts),
        Section("Agreement with the reference", table=_agreement(facts)),
        Section("Rounding and truncation, measured", table=_parts(facts)),
        Section("The truth, where it is known", table=_truth(facts)),
        Section("How to read the numbers", points=READING),
    ]


def _scope(facts: Facts) -> list[str]:
    rows, found = facts.summary[facts.summary["reference"] != TRUTH], facts.curves("relative_error")
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
        gradients.append(f"{label} ({smallest if smallest == largest else f'{smallest} to {largest}'})")
    return [
        f"This study compares {wording.count(len(cells), 'approximated attribution')} with the reference: {counted}, "
        f"with {wording.listed(gradients)}."
    ]


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
        worse = ", worse than predicting the mean" if values["r2"] < 0 else ""
        texts.append(f"R² = {wording.number(values['r2'])}{worse}")
    return texts or [f"{name} {wording.number(value)}" for name, value in values.items()]


def _in_short(facts: Facts) -> list[tuple[str, str]]:
    own = [curve for curve in facts.curves("pearson") if curve.method not in facts.references]
    errors = [curve for curve in facts.curves("relative_error") if curve.method not in facts.references]
    texts = [
        ("At its best setting,", _best_of_all(facts, own)),
        ("The setting matters most", _largest_change(facts, own)),
        ("Where the best setting lies:", _where_the_best_is(errors)),
        ("Rounding and truncation:", _parts_in_short(facts)),
        ("Methods that are compared with another one", _variants_in_short(facts)),
        ("The truth:", _truth_in_short(facts)),
    ]
    return [(lead, text) for lead, text in texts if text]


def _best_of_all(facts: Facts, found: list[Curve]) -> str:
    ends = [
        f"{wording.correlation(curve.medians[curve.best].value)} ({facts.who(curve)}, {curve.at(curve.best)})"
        for curve in sorted(found, key=lambda curve: -curve.distances[curve.best])
    ]
    compared = "the approximated attribution has a median correlation with its reference of"
    return f"{compared} {'' if len(ends) == 1 else f'between {ends[0]} and '}{ends[-1]}." if ends else ""


def _largest_change(facts: Facts, found: list[Curve]) -> str:
    varied = [curve for curve in found if len(curve.settings) > 1]
    if not varied:
        return ""
    curve = max(varied, key=lambda curve: curve.distances[curve.worst] - curve.distances[curve.best])
    best, worst = (
        f"{wording.correlation(curve.medians[at].value)} at {curve.at(at)}" for at in (curve.best, curve.worst)
    )
    return f"for {facts.who(curve)}: the median correlation is {best} and {worst}."


def _where_the_best_is(found: list[Curve]) -> str:
    varied = [curve for curve in found if len(curve.settings) > 1]
    if not varied:
        return ""
    smallest = sum(curve.best == 0 for curve in varied)
    largest = sum(curve.best == len(curve.settings) - 1 for curve in varied)
    return (
        f"the median relative error is least at the smallest setting of the study in "
        f"{wording.share_of(smallest, len(varied), 'comparison')}, at the largest in {largest}, in between in "
        f"{len(varied) - smallest - largest}."
    )


def _parts_in_short(facts: Facts) -> str:
    table = _parts(facts)
    if not table.rows:
        return ""
    *who, label, last, _, first, _ = table.rows[0]
    return (
        f"measured apart; for {who[2]} of the {who[1]} on {who[0]} with {label}, rounding rules up to {last} and "
        f"truncation from {first} on."
    )


def _agreement(facts: Facts) -> Table:
    correlations = {curve.key: curve for curve in facts.curves("pearson")}
    rows = []
    for curve in facts.curves("relative_error"):
        twin = correlations.get(curve.key)
        medians = dict(zip(twin.settings, twin.medians, strict=True)) if twin else {}
        there = medians.get(curve.settings[curve.best])
        errors = [wording.percent(curve.medians[position].value) for position in (curve.best, 0, -1)]
        undefined = f"{twin.undefined} of {twin.samples}" if twin and twin.undefined else ""
        row = [*_who(facts, curve), str(curve.samples), curve.at(curve.best), errors[0]]
        row.append(_with_interval(there) if there else "undefined")
        rows.append([*row, f"{errors[1]} ({curve.at(0)})", f"{errors[2]} ({curve.at(-1)})", undefined])
    level = "" if facts.level is None else f" with its {100 * facts.level:g} % interval"
    caption = (
        "The setting with the least median relative error, that error, and the median correlation there"
        f"{level}; for comparison, the errors at the smallest and the largest setting. If the best setting is one of "
        "these, one outside the study may be better still. Undefined: the most rows of a setting that have no "
        "correlation, because a map is constant."
    )
    header = [*WHO, "samples", "best setting", "relative error", "correlation", "error at smallest", "error at largest"]
    return Table(caption, [*header, "undefined"], rows)


def _who(facts: Facts, curve: Curve) -> list[str]:
    names = [facts.labels[key][getattr(curve, key)] for key in ("dataset", "model", "method")]
    return [*names, str(curve.look["label"])]


def _with_interval(median: Median) -> str:
    text = wording.correlation(median.value)
    if math.isnan(median.low) or math.isnan(median.high):
        return text
    return f"{text} ({wording.correlation(median.low)} to {wording.correlation(median.high)})"


def _variants_in_short(facts: Facts) -> str:
    counts = []
    for metric, words in (("relative_error", "by relative error"), ("pearson", "by correlation")):
        found = {curve.key: curve for curve in facts.curves(metric)}
        keys = {key: (*key[:2], facts.references.get(key[2], ""), key[3]) for key in found}
        closer = [one for key, own in found.items() if (o := found.get(keys[key])) for one in o.closer_than(own)]
        if closer:
            counts.append(f"{wording.share_of(sum(closer), len(closer), 'case')} {words}")
    return f"are farther from its reference than that one in {wording.listed(counts)} (of medians)." if counts else ""


def _parts(facts: Facts) -> Table:
    """Return at which settings rounding and truncation rule."""
    rows = []
    for own, curve in facts.parts.groupby(["dataset", "model", *CURVE], sort=False) if len(facts.parts) else ():
        dataset, model, method, family, _, dtype = map(str, own)
        look, (last, first) = facts.families[dataset][family], ruled(curve)
        names = [facts.labels[key][name] for key, name in (("dataset", dataset), ("model", model), ("method", method))]
        ends = ["nowhere" if math.isnan(end) else wording.setting(end, look) for end in (last, first)]
        largest = curve.groupby("part")["error"].max()
        sizes = [wording.percent(float(largest[part])) for part in (ROUNDING, TRUNCATION)]
        rows.append([*names, f"{look['label']}, {dtype}", ends[0], sizes[0], ends[1], sizes[1]])
    caption = (
        "Rounding is the difference to the source without rounding at the same setting, truncation what that one lacks "
        "to the exact attribution; both are medians of relative L2 errors. Rounding is the larger part up to the first "
        "setting, truncation from the second on."
    )
    header = [*WHO, "rounding rules up to", "largest rounding", "truncation rules from", "largest truncation"]
    return Table(caption, header, rows)


def _truth(facts: Facts) -> Table:
    exact, differences = facts.exact_medians("pearson"), facts.differences("pearson")
    rows = []
    for curve in facts.curves("pearson", truth=True):
        if curve.key[:3] not in exact:
            continue
        base = exact[curve.key[:3]]
        high = sum(median.value >= base for median in curve.medians)
        pairs = [differences[own] for name in curve.gradients if (own := (*curve.key[:3], name)) in differences]
        higher, lower = sum(pair.low > 0 for pair in pairs), sum(pair.high < 0 for pair in pairs)
        best = f"{wording.correlation(curve.medians[curve.best].value)} ({curve.at(curve.best)})"
        row = [*_who(facts, curve), wording.correlation(base), best, f"{high} of {len(curve.settings)}"]
        rows.append([*row, *([f"{higher} of {len(pairs)}", f"{lower} of {len(pairs)}"] if pairs else ["", ""])])
    caption = (
        "The median correlation with the true effects: with exact gradients, and with the best setting of the "
        "approximation; at how many settings it is at least as high as with exact gradients; and at how many the "
        "interval of the median difference within a row lies above or below zero."
    )
    header = [*WHO, "exact", "best approximation", "at least as high", "higher row by row", "lower row by row"]
    return Table(caption, header, rows)


def _truth_in_short(facts: Facts) -> str:
    exact = facts.exact_medians("pearson")
    curves = [curve for curve in facts.curves("pearson", truth=True) if curve.key[:3] in exact]
    high = [median.value >= exact[curve.key[:3]] for curve in curves for median in curve.medians]
    if not high:
        return ""
    return (
        f"the median correlation of approximated attributions with the true effects is at least that of exact ones in "
        f"{wording.share_of(sum(high), len(high), 'case')}."
    )
