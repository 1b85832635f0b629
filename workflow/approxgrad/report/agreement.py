"""The table of a story that has every comparison with a reference in a row."""

from __future__ import annotations

import math

from approxgrad.report import wording
from approxgrad.report.findings import Facts, Median
from approxgrad.report.judging import WHO, who
from approxgrad.report.pages import Table


def agreement_table(facts: Facts) -> Table:
    """Return the best setting of every comparison, how near it comes, and the errors at the ends."""
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
    if math.isnan(median.low) or math.isnan(median.high):
        return wording.correlation(median.value)
    value, low, high = wording.correlations(median.value, median.low, median.high)
    return f"{value} ({low} to {high})"
