"""The story of a study: a page with sentences, pictures and tables whose every number comes from its tables.

The numbers choose the words, so that a sentence is true whatever they are; a finding without its numbers is left out.
"""

from __future__ import annotations

from collections.abc import Collection

from approxgrad.evaluation.truths import TRUTHS
from approxgrad.report.agreement import agreement_table
from approxgrad.report.faithful import faithful_in_short, faithfulness_table
from approxgrad.report.findings import Facts
from approxgrad.report.headlines import behind_in_short, near_in_short, own_curves, widest_change
from approxgrad.report.judging import truth_in_short, truth_table, variants_in_short, variants_table
from approxgrad.report.pages import Picture, Section
from approxgrad.report.parts import parts_in_short, parts_table
from approxgrad.report.stability import stability_table, stable_in_short
from approxgrad.report.story_pictures import CAPTIONS
from approxgrad.report.studied import QUESTION, READING, data, scope

MOST_BYTES = 300_000
"""Of one picture: the report opens no page above 1.5 MB."""


def start(facts: Facts) -> list[Section]:
    """Return the story itself, with which the report starts."""
    near, behind = near_in_short(facts), [*behind_in_short(facts), *parts_in_short(facts), *variants_in_short(facts)]
    means = [*truth_in_short(facts), *faithful_in_short(facts), *stable_in_short(facts)]
    return [
        Section("The question", [QUESTION, *scope(facts)]),
        Section("How near approximations come", points=near, picture=_picture(facts, "anatomy")),
        Section("What a median hides", points=behind, picture=_picture(facts, "maps")),
        Section("What it means", points=means, picture=_picture(facts, "truth")),
        Section("Data and models", points=data(facts)),
    ]


def tell(facts: Facts) -> list[Section]:
    """Return the story with what stands behind it: how to read the numbers, and tables of every comparison."""
    tables = {
        "Agreement with the reference": agreement_table(facts),
        "Rounding and truncation, measured": parts_table(facts),
        "Variants beside what they are compared with": variants_table(facts),
        "The truth, where it is known": truth_table(facts),
        "Faithfulness": faithfulness_table(facts),
        "What holds for other trainings": stability_table(facts),
    }
    return [
        *start(facts),
        Section("How to read the numbers", points=READING),
        *(Section(title, table=table, folded=True) for title, table in tables.items() if table.rows),
    ]


def _picture(facts: Facts, figure: str) -> Picture | None:
    """Return the picture of a figure that is nearest to what the sentences tell of; none if its files are too large."""
    if figure == "truth":
        told = [curve.key[:3] for truth in TRUTHS for curve in facts.curves("pearson", truth)]
        keys = [key for key in told if facts.explains(*key[:2])]
    else:
        change = widest_change(own_curves(facts, "pearson"))
        keys = [] if change is None else [change.key[:3]]
    found = _nearest([names for own, *names in facts.pictures if own == figure], keys)
    if found is None:
        return None
    path = facts.pictures[(figure, *found)]
    small = (own for own in (path, path.with_suffix(".png")) if own.is_file() and own.stat().st_size <= MOST_BYTES)
    names = dict(zip(("dataset", "model", "method"), found, strict=False))
    caption = CAPTIONS[figure].format(**{key: facts.labels[key][name] for key, name in names.items()})
    return next((Picture(own, caption) for own in small), None)


def _nearest(drawn: Collection[list[str]], told: Collection[tuple[str, ...]]) -> list[str] | None:
    """Return the first names that belong to what is told, or the first at all."""
    return next((own for key in told for own in drawn if list(key[: len(own)]) == own), next(iter(drawn), None))
