"""Sentence and table on the two parts of an error: rounding and truncation, measured apart."""

from __future__ import annotations

import math

from approxgrad.evaluation.splitting import CURVE, ROUNDING, TRUNCATION, ruled
from approxgrad.report import wording
from approxgrad.report.findings import Facts
from approxgrad.report.judging import WHO
from approxgrad.report.pages import Table

NOWHERE = "nowhere"


def parts_table(facts: Facts) -> Table:
    """Return at which settings rounding and truncation rule."""
    rows = []
    for own, curve in facts.parts.groupby(["dataset", "model", *CURVE], sort=False) if len(facts.parts) else ():
        dataset, model, method, family, _, dtype = map(str, own)
        look, (last, first) = facts.families[dataset][family], ruled(curve)
        names = [facts.labels[key][name] for key, name in (("dataset", dataset), ("model", model), ("method", method))]
        ends = [NOWHERE if math.isnan(end) else wording.setting(end, look) for end in (last, first)]
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


def parts_in_short(facts: Facts) -> list[tuple[str, str]]:
    """Return the same of the first curve as a point."""
    table = parts_table(facts)
    if not table.rows:
        return []
    dataset, model, method, source, last, _, first, _ = table.rows[0]
    places = [("rounding is the larger part of the error up to", last), ("truncation from", first)]
    told = wording.listed([f"{words} {place}" for words, place in places if place != NOWHERE])
    return [("Rounding and truncation:", f"for {method} of the {model} on {dataset} with {source}, {told}.")]
