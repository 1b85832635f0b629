"""Whether a worse approximation makes a worse explanation: faithfulness of maps beside that of their reference."""

from __future__ import annotations

from collections.abc import Mapping
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
    better: int


MEASURES = {
    own.name: own
    for own in (
        Measure("deletion", "Deletion", "How far does the output fall as features go, the most important first?", 1),
        Measure("insertion", "Insertion", "How far does it rise as they come, the most important first?", 1),
        Measure("infidelity", "Infidelity", "How badly does the map tell what small moves of the input do?", -1),
    )
}


NAMES = ["dataset", "model", "method"]


def compare_faithfulness(
    table: pd.DataFrame, references: Mapping[tuple[str, ...], str], bootstrap: Bootstrap
) -> pd.DataFrame:
    """Return each measure of every source, and its gain over the reference within a sample.

    Parameters
    ----------
    table : DataFrame
        The columns :data:`NAMES` and :data:`approxgrad.evaluation.frames.SOURCE`, ``sample`` and :data:`MEASURES`.
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
            for measure, described in MEASURES.items():
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
    frame = pd.DataFrame(rows)
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


def faithful_sources_table(inputs: Mapping[str, Any], params: Mapping[str, Any]) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Return the table of :func:`compare_faithfulness` for a rule, with the median ``relative_error`` of each."""
    bootstrap = Bootstrap(params["seed"], **params["uncertainty"])
    parts = [
        read_keyed(path, dataset=dataset, model=model, method=method)
        for path, (dataset, model, method) in zip(inputs["faithfulness"], params["comparisons"], strict=True)
    ]
    references = {tuple(names): source for *names, source in params["references"]}
    table = compare_faithfulness(pd.concat(parts, ignore_index=True), references, bootstrap)
    metrics = read_comparisons(inputs["metrics"], params["comparisons"])
    own = metrics[~metrics["reference"].isin(TRUTHS)]
    errors = own.groupby([*NAMES, "gradient"], observed=True)["relative_error"].median().reset_index()
    return table.merge(errors, on=[*NAMES, "gradient"], how="left"), {"uncertainty": asdict(bootstrap)}
