"""The part of a story that says how near approximations come to their reference, and what decides it."""

from __future__ import annotations

import math
from collections.abc import Sequence

from approxgrad.report import wording
from approxgrad.report.findings import Curve, Facts

GOOD_ERROR = 0.1
"""Median relative error up to which a setting looks good."""

ONE_IN_TWENTY = 20
"""Rows from which on a 95th percentile says something about one row in twenty."""


def own_curves(facts: Facts, metric: str) -> list[Curve]:
    """Return the curves of methods that are compared with themselves, not with another one as variants are."""
    return [curve for curve in facts.curves(metric) if curve.method not in facts.references]


def near_in_short(facts: Facts) -> list[tuple[str, str]]:
    """Return points on the best setting, on what the setting changes, and on bests at the edge of what was tried."""
    errors, correlations = own_curves(facts, "relative_error"), own_curves(facts, "pearson")
    texts = [
        ("How near it comes:", _best(facts, errors)),
        ("What the setting does:", _change(facts, widest_change(correlations))),
        ("Where the best setting lies:", _edges(errors)),
    ]
    return [(lead, text) for lead, text in texts if text]


def behind_in_short(facts: Facts) -> list[tuple[str, str]]:
    """Return points on what a median hides."""
    texts = [
        ("A median is not all:", _tail(facts, own_curves(facts, "relative_error"))),
        ("Exact is not perfect:", _quadrature(facts)),
    ]
    return [(lead, text) for lead, text in texts if text]


def _largest_grid(found: Sequence[Curve]) -> list[Curve]:
    """Return the curves over the settings that most curves have: bests of grids with other ranges are no comparison."""
    grids: dict[tuple[str, tuple[float | None, ...]], list[Curve]] = {}
    for curve in found:
        grids.setdefault(curve.grid, []).append(curve)
    return max(grids.values(), key=len, default=[])


def _best(facts: Facts, errors: Sequence[Curve]) -> str:
    varied = [curve for curve in errors if len(curve.settings) > 1]
    curves = sorted(_largest_grid(varied or errors), key=lambda curve: curve.distances[curve.best])
    if not curves:
        return ""
    first, *_, last = [curves[0], *curves]
    several = len(first.settings) > 1
    sources = wording.listed(list(dict.fromkeys(str(curve.look["label"]) for curve in curves)))
    ends = [wording.percent(curve.medians[curve.best].value) for curve in (first, last)]
    error = f"the median relative error is {wording.span(*ends)} in {wording.count(len(curves), 'comparison')}"
    if several:
        text = f"{sources} were tried from {first.at(0)} to {first.at(-1)}. At the best of these settings, {error}"
    else:
        text = f"with {sources if first.at(0) == sources else f'{sources} at {first.at(0)}'}, {error}"
    where = f" at {last.at(last.best)}" if several else ""
    return text + (f", and largest for {facts.who(last)}{where}." if ends[0] != ends[1] else ".")


def widest_change(correlations: Sequence[Curve]) -> Curve | None:
    """Return the curve whose median correlation changes most over its settings."""
    varied = [curve for curve in correlations if len(curve.settings) > 1]
    return max(varied, key=lambda curve: curve.distances[curve.worst] - curve.distances[curve.best], default=None)


def _change(facts: Facts, curve: Curve | None) -> str:
    if curve is None:
        return ""
    best, worst = (curve.medians[at].value for at in (curve.best, curve.worst))
    change = curve.distances[curve.worst] - curve.distances[curve.best]
    texts = wording.correlations(best, worst)
    if change < facts.smallest or texts[0] == texts[1]:
        return (
            "over the settings tried of one source, no median correlation changes by as much as "
            f"{wording.number(max(facts.smallest, 10**-wording.MOST_DECIMALS))}."
        )
    return (
        f"the median correlation of {facts.who(curve)} with its reference is {texts[0]} at {curve.at(curve.best)} and "
        f"{texts[1]} at {curve.at(curve.worst)}."
    )


def _edges(errors: Sequence[Curve]) -> str:
    varied = [curve for curve in errors if len(curve.settings) > 1]
    if not varied:
        return ""
    edge = sum(curve.at_edge for curve in varied)
    beyond = " A better one may lie beyond." if edge else ""
    share = wording.share_of(edge, len(varied), "comparison")
    return f"in {share}, it is the smallest or the largest of the settings tried.{beyond}"


def _tail(facts: Facts, errors: Sequence[Curve]) -> str:
    """Return where the worst row is farthest from the median, among settings whose median looks good."""
    good = [
        (own.worst / own.value, curve, at)
        for curve in errors
        for at, own in enumerate(curve.medians)
        if 0 < own.value <= GOOD_ERROR and own.worst > 2 * own.value
    ]
    if not good:
        return ""
    _, curve, at = max(good, key=lambda item: item[0])
    own = curve.medians[at]
    text = f"for {facts.who(curve)} at {curve.at(at)} the median relative error is {wording.percent(own.value)}."
    if curve.samples >= ONE_IN_TWENTY and not math.isnan(own.tail):
        text += f" One row in twenty has more than {wording.percent(own.tail)}, and the worst"
    else:
        text += f" The worst of {curve.samples} rows"
    return f"{text} has {wording.percent(own.worst)}."


def _quadrature(facts: Facts) -> str:
    curves = {curve.key[:3]: curve for curve in facts.curves("relative_error")}
    found = sorted((value, key) for key in curves if (value := facts.quadrature(*key)) is not None)
    if not found:
        return ""
    low, high = (wording.percent(value) for value, _ in (found[0], found[-1]))
    who = facts.who(curves[found[-1][1]])
    return (
        "the sum over the points of a path has an error of its own. Attributions with exact gradients miss the "
        f"difference of the outputs by {wording.span(low, high)} in the median"
        + (f", most for {who}." if low != high else f" ({who}).")
    )
