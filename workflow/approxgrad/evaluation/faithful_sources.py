"""Whether a worse approximation makes a worse explanation: faithfulness of maps beside that of their reference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from approxgrad.evaluation.frames import SOURCE, read_comparisons, read_keyed
from approxgrad.evaluation.paired import holm, sign_test
from approxgrad.evaluation.truths import TRUTHS
from approxgrad.evaluation.uncertainty import Bootstrap, intervals


@dataclass(frozen=True)
class Measure:
    """A measure of faithfulness; `better` is the sign of what is good."""

    name: str
    label: str
    line: str
    unit: str
    better: int


OUTPUT = "units of the output"
MEASURES = {
    own.name: own
    for own in (
        Measure(
            "deletion", "Deletion", "How far does the output fall as features go, the most important first?", OUTPUT, 1
        ),
        Measure("insertion", "Insertion", "How far does it rise as they come, the most important first?", OUTPUT, 1),
        Measure(
            "infidelity",
            "Infidelity",
            "How badly does the map tell what small moves of the input do?",
            "squared units of the output",
            -1,
        ),
    )
}
"""What the tables of :mod:`approxgrad.evaluation.faithfulness` hold."""

SENSITIVITY = Measure(
    "sensitivity", "Sensitivity", "By what share of itself does the map change with the input?", "share of the map", -1
)
"""What those of :mod:`approxgrad.evaluation.sensitivity` hold: not whether a map is right, but whether it is steady."""

EVERY = MEASURES | {SENSITIVITY.name: SENSITIVITY}

NAMES = ["dataset", "model", "method"]


def compare_faithfulness(
    table: pd.DataFrame, references: Mapping[tuple[str, ...], str], bootstrap: Bootstrap
) -> pd.DataFrame:
    """Return each measure of every source, and its gain over the reference within a sample.

    Parameters
    ----------
    table : DataFrame
        The columns :data:`NAMES` and :data:`approxgrad.evaluation.frames.SOURCE`, ``sample``, and those of
        :data:`EVERY` that were measured.
    references : mapping
        Name of the source that others are compared with, by data set, model, method and precision.
    bootstrap : Bootstrap
        How intervals are computed.

    Returns
    -------
    DataFrame
        A row for each source and measure that has values: ``median``, ``low`` and ``high`` of the measure, and for
        sources with a reference ``gain``, ``gain_low`` and ``gain_high``, the median by which a sample is better than
        with the reference, with its interval; ``n`` samples; ``p_value`` of a sign test, and ``p_adjusted`` by Holm's
        method for all sources and measures with the same :data:`NAMES`; ``verdict``, ``better`` or ``worse`` where that
        is below 1 - level, else ``open``.
    """
    rows: list[dict[Any, Any]] = []
    values: list[Any] = []
    gains: list[Any] = []
    for _, group in table.groupby(NAMES, sort=False, observed=True):
        for _, own in group.groupby("gradient", sort=False, observed=True):
            keys: dict[Any, Any] = own[[*NAMES, *SOURCE]].iloc[0].to_dict()
            other = references.get(tuple(keys[key] for key in (*NAMES, "dtype")), "")
            base = group[group["gradient"] == other].set_index("sample")
            for measure, described in EVERY.items():
                if measure not in own:
                    continue
                found = own.set_index("sample")[measure].astype(float)
                if found.notna().any():
                    compared = keys["gradient"] != other and len(base)
                    gain = described.better * (found - base[measure].astype(float)) if compared else found[:0]
                    gain = gain.dropna()
                    rows.append(
                        {**keys, "measure": measure, "n": int(found.notna().sum()), "pairs": len(gain)}
                        | {"more": int((gain > 0).sum()), "less": int((gain < 0).sum())}
                    )
                    values.append(found.to_numpy())
                    gains.append(gain.to_numpy(float))
    counts = dict.fromkeys(["n", "pairs", "more", "less"], int)
    # Where all maps are zero there is no value.
    frame = pd.DataFrame(rows, columns=[*NAMES, *SOURCE, "measure", *counts]).astype(counts)
    medians, gained = intervals(values, bootstrap), intervals(gains, bootstrap)
    frame = frame.assign(
        **{name: medians[f"median{end}"] for name, end in (("median", ""), ("low", "_low"), ("high", "_high"))},
        **{f"gain{end}": gained[f"median{end}"] for end in ("", "_low", "_high")},
        p_value=np.where(frame["pairs"] > 0, sign_test(frame["more"].to_numpy(), frame["less"].to_numpy()), np.nan),
    )
    adjusted = frame.groupby(NAMES, sort=False, observed=True)["p_value"].transform(holm)
    decided = adjusted < 1 - bootstrap.level
    verdict = np.select([decided & (frame["gain"] > 0), decided & (frame["gain"] < 0)], ["better", "worse"], "open")
    verdict = np.where(frame["pairs"] > 0, verdict, "")
    return frame.assign(p_adjusted=adjusted, verdict=verdict).drop(columns=["more", "less", "pairs"])


def with_sensitivity(table: pd.DataFrame, paths: Sequence[str], moved: Sequence[Sequence[str]]) -> pd.DataFrame:
    """Return a table of faithfulness with the column of :data:`SENSITIVITY`, where it was measured.

    The files at `paths` hold it, each for the :data:`NAMES` and the source, as it is named there, at its place in
    `moved`.
    """
    if not paths:
        return table
    keys = [*NAMES, "gradient"]
    parts = [
        read_keyed(path, [SENSITIVITY.name])[["sample", SENSITIVITY.name]].assign(**dict(zip(keys, names, strict=True)))
        for path, names in zip(paths, moved, strict=True)
    ]
    return table.merge(pd.concat(parts, ignore_index=True), "left", [*keys, "sample"])


def judged_sources(inputs: Mapping[str, Any], params: Mapping[str, Any], bootstrap: Bootstrap) -> pd.DataFrame:
    """Return the table of :func:`compare_faithfulness` from files, with the median ``relative_error`` of sources."""
    parts = [
        read_keyed(path, dataset=dataset, model=model, method=method)
        for path, (dataset, model, method) in zip(inputs["faithfulness"], params["comparisons"], strict=True)
    ]
    asked = with_sensitivity(
        pd.concat(parts, ignore_index=True), inputs.get("sensitivity", []), params.get("moved", [])
    )
    references = {tuple(names): source for *names, source in params["references"]}
    table = compare_faithfulness(asked, references, bootstrap)
    metrics = read_comparisons(inputs["metrics"], params["comparisons"])
    own = metrics[~metrics["reference"].isin(TRUTHS)]
    errors = own.groupby([*NAMES, "gradient"], observed=True)["relative_error"].median().reset_index()
    return table.merge(errors, on=[*NAMES, "gradient"], how="left")


def faithful_sources_table(inputs: Mapping[str, Any], params: Mapping[str, Any]) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Return the table of :func:`judged_sources` for a rule."""
    bootstrap = Bootstrap(params["seed"], **params["uncertainty"])
    return judged_sources(inputs, params, bootstrap), {"uncertainty": asdict(bootstrap)}
