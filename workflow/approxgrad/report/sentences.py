"""Sentences about the comparisons of a study, one by one and over all of them."""

from __future__ import annotations

import math
from collections.abc import Mapping

from approxgrad.figures.style import method_label, name_label, step_label
from approxgrad.report import wording
from approxgrad.report.findings import (
    Curve,
    Facts,
    Median,
    Names,
    curves,
    exact_medians,
    grouped,
    paired_differences,
    place,
    several_schemes,
)
from approxgrad.report.findings import who as whose
from approxgrad.report.pages import Section, Table
from approxgrad.study.sources import GradientSource

Points = list[tuple[str, str]]


def agreement(facts: Facts) -> list[Section]:
    """Return a section for each data set and model: how close each method comes to its exact counterpart."""
    correlations = curves(facts.summary, "exact", "pearson")
    errors = {(*curve.names, curve.scheme): curve for curve in curves(facts.summary, "exact", "relative_error")}
    named = several_schemes(correlations)
    sections = []
    for (dataset, model), group in grouped(correlations).items():
        points = []
        for curve in group:
            lead = method_label(curve.method) + (f", {curve.scheme} differences" if named else "")
            error = errors.get((*curve.names, curve.scheme))
            texts = [_over_the_steps(curve, facts.level), _errors(error) if error else "", _undefined(curve)]
            points.append((f"{lead}:", " ".join(filter(None, texts))))
        sections.append(Section(f"{place(dataset, model)}: approximated against exact", points=points))
    return sections


def _over_the_steps(curve: Curve, level: float | None) -> str:
    best, last = curve.best, len(curve.steps) - 1
    top = curve.medians[best]
    text = _with_interval(top, level)
    sentence = f"the median correlation with the exact attribution is {text} at {curve.step(best)}"
    if last == 0:
        return f"{sentence}, the only step."
    changes = []
    for position, words in ((last, "the largest step"), (0, "the smallest step")):
        if position != best:
            other = curve.medians[position].value
            texts = wording.correlation(top.value), wording.correlation(other)
            changes.append(f"{wording.changed_to(*texts, other - top.value)} at {curve.step(position)}, {words}")
    return f"{sentence}, the best step, and {'; it '.join(changes)}."


def _with_interval(median: Median, level: float | None) -> str:
    text = wording.correlation(median.value)
    if math.isnan(median.low) or math.isnan(median.high):
        return text
    kind = "interval" if level is None else f"{100 * level:g} % interval"
    return f"{text} ({kind} {wording.correlation(median.low)} to {wording.correlation(median.high)})"


def _errors(curve: Curve) -> str:
    best = wording.percent(curve.medians[curve.best].value)
    if len(curve.steps) == 1:
        return f"The median relative error is {best}."
    worst = max(range(len(curve.steps)), key=lambda position: curve.medians[position].value)
    return (
        f"The median relative error is least at {curve.step(curve.best)}, {best}, and largest at {curve.step(worst)}, "
        f"{wording.percent(curve.medians[worst].value)}."
    )


def _undefined(curve: Curve) -> str:
    if not curve.undefined:
        return ""
    left_out = wording.share_of(curve.undefined, curve.samples, "row")
    return f"At one step or more, up to {left_out} have no correlation, because a map is constant."


def best_steps(facts: Facts) -> Section:
    """Return a table of the best step of each comparison."""
    correlations = {(*curve.names, curve.scheme): curve for curve in curves(facts.summary, "exact", "pearson")}
    rows = []
    for curve in curves(facts.summary, "exact", "relative_error"):
        twin = correlations.get((*curve.names, curve.scheme))
        medians = dict(zip(twin.steps, twin.medians, strict=True)) if twin else {}
        there = medians.get(curve.steps[curve.best])
        rows.append(
            [
                *(name_label(curve.dataset), name_label(curve.model), method_label(curve.method), curve.scheme),
                str(curve.samples),
                step_label(curve.steps[curve.best]),
                wording.percent(curve.medians[curve.best].value),
                wording.correlation(there.value) if there else "undefined",
                step_label(curve.steps[-1]),
                wording.percent(curve.medians[-1].value),
            ]
        )
    caption = (
        "The step of the study with the least median relative error, that error and the median correlation there; for "
        "comparison, the error at the largest step. Where the best step is the smallest or the largest one of the "
        "study, one outside may be better still."
    )
    header = ["data set", "model", "method", "scheme", "samples", "best step", "relative error", "correlation"]
    return Section("The best steps", table=Table(caption, [*header, "largest step", "relative error there"], rows))


def variants(facts: Facts) -> Points:
    """Return what the published variant of Integrated Gradients does, beside the correct one."""
    points = []
    for published, correct in _variant_pairs(facts, "relative_error"):
        pairs = published.within(correct)
        closer = sum(_nearer(other, own, "relative_error") for own, other in pairs)
        points.append(
            (
                f"{place(published.dataset, published.model)}, {method_label(published.method)}:",
                f"its least median relative error is {_least(published)}, that of {method_label(correct.method)} is "
                f"{_least(correct)}. The latter has the smaller one at "
                f"{wording.share_of(closer, len(pairs), 'step')}.",
            )
        )
    return points


def variants_in_short(facts: Facts) -> str:
    """Return how often the published variant is farther from the exact attribution than the correct one."""
    counts = []
    for metric, words in (("relative_error", "by relative error"), ("pearson", "by correlation")):
        pairs = [both for own, other in _variant_pairs(facts, metric) for both in own.within(other)]
        closer = sum(_nearer(correct, published, metric) for published, correct in pairs)
        if pairs:
            counts.append(f"{wording.share_of(closer, len(pairs), 'case')} {words}")
    if not counts:
        return ""
    return f"is farther from exact Integrated Gradients than the correct one in {wording.listed(counts)} (of medians)."


def _variant_pairs(facts: Facts, metric: str) -> list[tuple[Curve, Curve]]:
    found = {(*curve.names, curve.scheme): curve for curve in curves(facts.summary, "exact", metric)}
    pairs = []
    for (dataset, model, method, scheme), curve in found.items():
        correct = found.get((dataset, model, facts.references.get(method, ""), scheme))
        if correct is not None and curve.within(correct):
            pairs.append((curve, correct))
    return pairs


def _least(curve: Curve) -> str:
    return f"{wording.percent(curve.medians[curve.best].value)} ({curve.step(curve.best)})"


def _nearer(first: Median, second: Median, metric: str) -> bool:
    return first.value < second.value if metric == "relative_error" else first.value > second.value


def truth(facts: Facts) -> Points:
    """Return how well approximated and exact attributions agree with the true effects."""
    exact = exact_medians(facts.summary, "pearson")
    differences = paired_differences(facts.paired, "pearson")
    found = [curve for curve in curves(facts.summary, "truth", "pearson") if curve.names in exact]
    named = several_schemes(found)
    points = []
    for curve in found:
        base, best = exact[curve.names].value, curve.medians[curve.best].value
        high = sum(median.value >= base for median in curve.medians)
        text = (
            f"with exact gradients the median correlation with the true effects is {wording.correlation(base)}, with "
            f"finite differences at best {wording.correlation(best)} ({curve.step(curve.best)}). It is at least as "
            f"high as with exact ones at {wording.share_of(high, len(curve.steps), 'step')}."
        )
        lead = f"{place(curve.dataset, curve.model)}, {method_label(curve.method)}"
        lead += f", {curve.scheme} differences" if named else ""
        points.append((f"{lead}:", " ".join(filter(None, [text, _row_by_row(curve, differences)]))))
    return points


def _row_by_row(curve: Curve, differences: Mapping[tuple[Names, str], Median]) -> str:
    names = [GradientSource(curve.scheme, step).name for step in curve.steps]
    known = [differences[(curve.names, name)] for name in names if (curve.names, name) in differences]
    if not known:
        return ""
    better, worse = sum(pair.low > 0 for pair in known), sum(pair.high < 0 for pair in known)
    return (
        f"Row by row, the interval of the median difference lies above zero at "
        f"{wording.share_of(better, len(known), 'step')} and below it at {worse}."
    )


def truth_in_short(facts: Facts) -> str:
    """Return how often approximated attributions agree with the true effects at least as well as exact ones."""
    exact = exact_medians(facts.summary, "pearson")
    pairs = [
        (median.value - exact[curve.names].value, f"{whose(curve.names)}, {curve.step(position)}")
        for curve in curves(facts.summary, "truth", "pearson")
        if curve.names in exact
        for position, median in enumerate(curve.medians)
    ]
    if not pairs:
        return ""
    high = sum(difference >= 0 for difference, _ in pairs)
    least, most = min(pairs), max(pairs)
    return (
        f"the median correlation of approximated attributions with the true effects is at least that of exact ones in "
        f"{wording.share_of(high, len(pairs), 'case')}. The difference goes from {_signed(least[0])} ({least[1]}) to "
        f"{_signed(most[0])} ({most[1]})."
    )


def _signed(difference: float) -> str:
    return ("+" if difference > 0 else "") + wording.number(difference)
