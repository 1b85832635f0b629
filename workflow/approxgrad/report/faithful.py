"""The part of a story that says whether worse approximations are worse explanations."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from approxgrad.evaluation.faithful_sources import EVERY, MEASURES, NAMES, SENSITIVITY
from approxgrad.evaluation.uncertainty import FEWEST
from approxgrad.report import wording
from approxgrad.report.findings import Facts
from approxgrad.report.pages import Table


def _compared(facts: Facts) -> pd.DataFrame:
    """Return the rows of sources that are compared with a reference, one for each source and measure.

    Fewer samples than an interval needs cannot show that anything is worse.
    """
    if facts.faithfulness is None:
        return pd.DataFrame()
    return facts.faithfulness[(facts.faithfulness["verdict"] != "") & (facts.faithfulness["n"] >= FEWEST)]


def faithful_in_short(facts: Facts) -> list[tuple[str, str]]:
    """Return a point that says how often an approximated map is less faithful, and the largest error that does not."""
    every = _compared(facts)
    if every.empty:
        return []
    rows, moved = (every[every["measure"].isin(own)] for own in (MEASURES, [SENSITIVITY.name]))
    sources = rows.groupby([*NAMES, "gradient"], sort=False, observed=True)
    worse = sources["verdict"].agg(lambda found: bool((found == "worse").any()))
    errors = sources["relative_error"].first()
    text = (
        "by deletion, insertion or infidelity, the maps of "
        f"{wording.share_of(int(worse.sum()), len(worse), 'source')} are less faithful to the model than those of the "
        "reference (adjusted sign tests)."
    )
    harmless = errors[~worse].dropna()
    if len(harmless):
        names: Any = harmless.idxmax()
        dataset, model, method, gradient = (str(name) for name in names)
        who = f"{facts.labels['method'][method]} of the {facts.place(dataset, model, ' on ')}"
        text += (
            f" The largest median relative error for which no loss is shown is {wording.percent(harmless.max())} "
            f"({who}, {gradient})."
        )
    if len(moved):
        restless = int((moved["verdict"] == "worse").sum())
        text += (
            f" If the input moves a little, the maps of {wording.share_of(restless, len(moved), 'source')} change by a "
            "larger share of themselves than those of the reference."
        )
    return [("Faithfulness:", text)]


def faithfulness_table(facts: Facts) -> Table:
    """Return every source with its measures beside those of its reference."""
    rows: list[list[str]] = []
    compared = _compared(facts)
    if compared.empty:
        return Table("", [], rows)
    measured = {name: own for name, own in EVERY.items() if (compared["measure"] == name).any()}
    for names, own in compared.groupby([*NAMES, "gradient"], sort=False, observed=True):
        cells = [facts.labels[key][str(name)] for key, name in zip(NAMES, names[:3], strict=True)]
        known = {row["measure"]: row for row in own.to_dict("records")}
        error = float(own["relative_error"].iloc[0])
        told = [
            f"{wording.number(row['gain'])} ({row['verdict']})" if (row := known.get(measure)) else ""
            for measure in measured
        ]
        rows.append([*cells, str(names[3]), "" if math.isnan(error) else wording.percent(error), *told])
    lines = " ".join(f"{own.label} ({own.unit}): {own.line}" for own in measured.values())
    caption = (
        f"{lines} For each source the median by which a row is better than with the reference, and the verdict of an "
        "adjusted sign test."
    )
    labels = [own.label.lower() for own in measured.values()]
    return Table(caption, ["data set", "model", "method", "source", "relative error", *labels], rows)
