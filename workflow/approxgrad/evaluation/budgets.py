"""Agreement against the number of evaluations: what each gradient source gives for them, and the best for a budget."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from approxgrad.evaluation.frames import read_comparisons, shown_rows
from approxgrad.evaluation.metrics import METRICS
from approxgrad.evaluation.truths import TRUTHS
from approxgrad.evaluation.uncertainty import Bootstrap, intervals
from approxgrad.storage.table_file import TableFile

AGREEMENT = "pearson"
"""The metric."""

COMPARED = ["dataset", "model", "method"]


def agreements(metrics: pd.DataFrame, bootstrap: Bootstrap) -> pd.DataFrame:
    """Return the median agreement of each gradient source with its interval, and what the source costs.

    Parameters
    ----------
    metrics : DataFrame
        Rows of metric tables, of one or more comparisons.
    bootstrap : Bootstrap
        How intervals are computed.

    Returns
    -------
    DataFrame
        A row for each comparison and source: ``dataset``, ``model``, ``method``, ``gradient``, ``family``, ``setting``,
        ``setting_name``, ``evaluations`` for each input, ``median``, ``low``, ``high`` and ``n``, the samples with a
        value.
    """
    rows = shown_rows(metrics[~metrics["reference"].isin(TRUTHS)])
    keys = [*COMPARED, "gradient", "family", "setting", "setting_name", "evaluations"]
    groups = rows.groupby(keys, sort=False, dropna=False, observed=True)[AGREEMENT]
    found = intervals([values.to_numpy(float) for _, values in groups], bootstrap)
    counts = groups.count().rename("n").reset_index()
    return counts.assign(
        median=found["median"].to_numpy(), low=found["median_low"].to_numpy(), high=found["median_high"].to_numpy()
    )


def predicted_agreements(paths: Sequence[Path | str], method: str) -> pd.DataFrame:
    """Return the medians over the samples of the agreement that sources predict, and of the ends of its intervals.

    Parameters
    ----------
    paths : sequence of path
        Attribution files of sources that predict.
    method : str
        Kind of the method.

    Returns
    -------
    DataFrame
        ``gradient``, ``predicted``, ``predicted_low`` and ``predicted_high``, a row for each file; missing where a
        source predicts nothing for the method, as for one of an extension.
    """
    rows = []
    for path in paths:
        document = TableFile(path).metadata
        values = np.array(document["predicted"].get(method, []), float).reshape(-1, 3)  # None becomes NaN
        known = values[np.isfinite(values).all(axis=1)]
        middle = np.median(known, axis=0) if len(known) else np.full(3, np.nan)
        rows.append((document["gradient"], *middle))
    return pd.DataFrame(rows, columns=["gradient", "predicted", "predicted_low", "predicted_high"])


def best_of(rows: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """Return the row with the best median for each value of some columns; of equal ones, the cheapest."""
    distance = (rows["median"] - METRICS[AGREEMENT].best).abs()
    order = rows.assign(distance=distance).dropna(subset="median").sort_values(["distance", "evaluations", "gradient"])
    return order.drop(columns="distance").drop_duplicates(keys).sort_index()


def best_sources(inputs: Mapping[str, Any], params: Mapping[str, Any]) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Return the best source within each budget, for a rule.

    Budgets are the costs of the sources of each comparison. The columns are those of :func:`agreements`, with
    ``budget`` before ``gradient``.
    """
    bootstrap = Bootstrap(params["seed"], **params["uncertainty"])
    found = agreements(read_comparisons(inputs["metrics"], params["comparisons"]), bootstrap)
    within = found[[*COMPARED, "evaluations"]].drop_duplicates().rename(columns={"evaluations": "budget"})
    pairs = within.merge(found, on=COMPARED)
    best = best_of(pairs[pairs["evaluations"] <= pairs["budget"]].reset_index(drop=True), [*COMPARED, "budget"])
    return best.sort_values([*COMPARED, "budget"], ignore_index=True), {}
