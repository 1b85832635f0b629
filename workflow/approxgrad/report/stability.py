"""The part of a story that says what holds for other trainings of a model."""

from __future__ import annotations

import math
from collections import Counter

import pandas as pd

from approxgrad.evaluation.truths import TRUTHS
from approxgrad.gradients.precisions import precedence
from approxgrad.report import wording
from approxgrad.report.findings import COMPARED, Facts
from approxgrad.report.pages import Table

DECIDED = ("better", "worse")
WITH_TRUTH, WITH_REFERENCE = "pearson", "relative_error"
"""What sources are compared by: with a truth beside the exact gradient, with the reference beside each other."""


def _rows(facts: Facts) -> pd.DataFrame:
    """Return the pairs over trainings that a story tells."""
    if facts.trainings is None:
        return pd.DataFrame()
    pairs = facts.trainings[(facts.trainings["second"] != "") & (facts.trainings["trainings"] > 1)]
    # As elsewhere in the story, the leading precision.
    order = {dtype: place for place, dtype in enumerate(sorted(pairs["dtype"].unique(), key=precedence))}
    precision = pairs["dtype"].map(order)
    pairs = pairs[precision == precision.groupby([pairs[key] for key in COMPARED]).transform("min")]
    known = pairs["reference"].isin(TRUTHS)
    beside_exact = known & (pairs["differ"] == "exact") & (pairs["metric"] == WITH_TRUTH)
    return pairs[beside_exact | (~known & (pairs["metric"] == WITH_REFERENCE))]


def _alone(facts: Facts) -> dict[tuple[str, ...], Counter[str]]:
    """Return the verdicts of every single training, by the columns that tell pairs over trainings apart."""
    if facts.paired is None or facts.trainings is None:
        return {}
    found: dict[tuple[str, ...], Counter[str]] = {}
    own = facts.paired.assign(model=facts.paired["model"].astype(str).replace(dict(facts.repeats)))
    for *keys, verdict in own[[*PAIR, "verdict"]].astype(str).itertuples(index=False, name=None):
        found.setdefault(tuple(keys), Counter())[verdict] += 1
    return found


PAIR = [*COMPARED, "dtype", "reference", "metric", "differ", "first", "second"]


def stable_in_short(facts: Facts) -> list[tuple[str, str]]:
    """Return a point that says how many comparisons hold for other trainings."""
    rows = _rows(facts)
    if rows.empty:
        return []
    alone = _alone(facts)
    verdicts = rows["verdict"].isin(DECIDED)
    single = [
        any(alone.get(tuple(keys), Counter())[verdict] for verdict in DECIDED)
        for keys in rows[PAIR].astype(str).itertuples(index=False, name=None)
    ]
    unstable = int((pd.Series(single, rows.index, dtype=bool) & ~verdicts).sum())
    counts = rows["trainings"]
    trainings = " to ".join(map(str, sorted({int(counts.min()), int(counts.max())})))
    text = (
        f"with the training as the unit ({trainings} of each model), one source is better than the other in "
        f"{wording.share_of(int(verdicts.sum()), len(rows), 'comparison')}. In {unstable} more, some single training "
        "says so and the trainings together do not: these are draws of one model."
    )
    return [("What holds for other trainings:", text)]


def stability_table(facts: Facts) -> Table:
    """Return the comparisons of sources over several trainings."""
    rows, alone = [], _alone(facts)
    for row in _rows(facts).to_dict("records"):
        names = [facts.labels[key][str(row[key])] for key in COMPARED]
        counts = alone.get(tuple(str(row[key]) for key in PAIR), Counter())
        against = TRUTHS.get(str(row["reference"]), "the reference")
        ends = [wording.number(row[end]) for end in ("low", "high")]
        rows.append(
            [
                *(*names, against, f"{row['first']} or {row['second']}", str(row["trainings"])),
                wording.number(row["estimate"]) + ("" if math.isnan(row["low"]) else f" ({' to '.join(ends)})"),
                f"{wording.number(row['smallest_median'])} to {wording.number(row['largest_median'])}",
                f"{row['agreeing']} of {row['trainings']}",
                wording.listed([f"{counts[verdict]} {verdict}" for verdict in DECIDED]),
                str(row["verdict"]),
            ]
        )
    caption = (
        "By how much the first source is nearer to the best correlation with a truth, or has a smaller relative error "
        "against the reference: the mean over the trainings of the median over the rows, with an interval whose unit "
        "is the training; the smallest and the largest of single trainings; how many have that sign; the verdicts of "
        "single trainings, and that of all together on the first source."
    )
    header = ["data set", "model", "method", "compared with", "sources", "trainings", "gain", "single trainings"]
    return Table(caption, [*header, "same sign", "alone", "together"], rows)
