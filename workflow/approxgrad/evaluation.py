"""From attributions to tables: measures for every sample, and their summary."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from approxgrad.metrics import METRICS, compare
from approxgrad.tables import Attributions, TableError, read_attributions, read_table

KEYS = ["dataset", "model", "method", "gradient", "scheme", "step", "reference"]
"""Columns that tell the rows of the summary apart, besides the metric."""


def evaluate_method(exact: Path | str, approximated: Sequence[Path | str], gradients: Sequence[str]) -> pa.Table:
    """Return the measures of every sample of one data set, model and method.

    Parameters
    ----------
    exact : path
        The exact attribution.
    approximated : sequence of path
        The approximated ones.
    gradients : sequence of str
        The name of the gradient source of each of them.

    Returns
    -------
    Table
        One row for each gradient source, reference and sample: columns ``gradient``, ``scheme``, ``step``,
        ``reference``, ``sample`` and the names of :data:`approxgrad.metrics.METRICS`. The reference ``exact`` is
        there for approximated attributions; ``truth``, where known, for all. An undefined measure is null.

    Raises
    ------
    TableError
        If a sample lacks its exact attribution or the maps differ in size.
    """
    reference = read_attributions(exact)
    parts = [] if reference.truth is None else [_measure(reference, reference.truth, "exact", "truth")]
    for path, gradient in zip(approximated, gradients, strict=True):
        result = read_attributions(path)
        parts.append(_measure(result, _aligned(reference, result, path), gradient, "exact"))
        if result.truth is not None:
            parts.append(_measure(result, result.truth, gradient, "truth"))
    return pa.concat_tables(parts)


def _measure(result: Attributions, reference: np.ndarray, gradient: str, name: str) -> pa.Table:
    rows = len(result.sample)
    columns = {
        "gradient": pa.array([gradient] * rows),
        "scheme": pa.array([result.metadata["scheme"]] * rows),
        "step": pa.array([result.metadata["step"]] * rows, pa.float64()),
        "reference": pa.array([name] * rows),
        "sample": pa.array(result.sample),
    }
    for metric, values in compare(result.attribution, reference).items():
        columns[metric] = pa.array(values, mask=np.isnan(values))
    return pa.table(columns)


def _aligned(reference: Attributions, result: Attributions, path: Path | str) -> np.ndarray:
    """Return the exact maps of the samples of a result."""
    position = {sample: row for row, sample in enumerate(reference.sample.tolist())}
    missing = [sample for sample in result.sample.tolist() if sample not in position]
    if missing:
        raise TableError(f"{path}: sample {missing[0]} has no exact attribution")
    if reference.attribution.shape[1] != result.attribution.shape[1]:
        widths = result.attribution.shape[1], reference.attribution.shape[1]
        raise TableError(f"{path}: has {widths[0]} features, the exact attribution {widths[1]}")
    return np.asarray(reference.attribution[[position[sample] for sample in result.sample.tolist()]])


def read_metrics(path: Path | str, dataset: str, model: str, method: str) -> pd.DataFrame:
    """Return the measures of one data set, model and method with these three names as columns."""
    frame = read_table(path)[0].to_pandas()
    keys = pd.DataFrame({"dataset": dataset, "model": model, "method": method}, index=frame.index)
    return pd.concat([keys, frame], axis=1)


def summarise(metrics: pd.DataFrame) -> pd.DataFrame:
    """Return the distribution of every measure over the samples.

    Returns
    -------
    DataFrame
        One row for each of :data:`KEYS` and ``metric``: ``mean``, ``std`` (population), ``median``, ``lower_quartile``,
        ``upper_quartile``, ``n`` (samples that the numbers are over) and ``undefined`` (samples left out).
    """
    tidy = metrics.melt(id_vars=[*KEYS, "sample"], value_vars=list(METRICS), var_name="metric")
    groups = tidy.groupby([*KEYS, "metric"], sort=False, dropna=False, observed=True)["value"]
    return groups.agg(
        mean="mean",
        std=lambda values: values.std(ddof=0),
        median="median",
        lower_quartile=lambda values: values.quantile(0.25),
        upper_quartile=lambda values: values.quantile(0.75),
        n="count",
        undefined=lambda values: int(values.isna().sum()),
    ).reset_index()
