"""From attributions to tables: measures for every sample, and their summary."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from approxgrad.cached_arrays import read_arrays
from approxgrad.metrics import METRICS, compare
from approxgrad.sources import GradientSource, described_source
from approxgrad.tables import Attributions, TableError, read_attributions
from approxgrad.uncertainty import Bootstrap, intervals

KEYS = ["dataset", "model", "method", "gradient", "scheme", "step", "dtype", "reference"]
"""Columns that tell the rows of the summary apart, besides the metric."""


def evaluate_method(exact: Sequence[Path | str], approximated: Sequence[Path | str]) -> pa.Table:
    """Return the measures of every sample of one data set, model and method.

    Parameters
    ----------
    exact : sequence of path
        The exact attribution in each precision that the approximated ones have.
    approximated : sequence of path
        The approximated ones.

    Returns
    -------
    Table
        One row for each gradient source, reference and sample: columns ``gradient``, ``scheme``, ``step``,
        ``dtype``, ``reference``, ``sample`` and the names of :data:`approxgrad.metrics.METRICS`. The reference
        ``exact`` is of the same precision and there for approximated attributions; ``truth``, where known, is there
        for all. An undefined measure is null.

    Raises
    ------
    TableError
        If a sample or a precision lacks its exact attribution or the maps differ in size.
    """
    references = {}
    parts = []
    for path in exact:
        result = read_attributions(path)
        gradient = described_source(result.metadata)
        references[gradient.dtype] = result
        if result.truth is not None:
            parts.append(_measure(result.sample, result.attribution, result.truth, gradient, None, "truth"))
    for path in approximated:
        result = read_attributions(path)
        gradient = described_source(result.metadata)
        if gradient.dtype not in references:
            raise TableError(f"{path}: has no exact attribution of {gradient.dtype}")
        maps, step = result.attribution, result.metadata["step"]
        aligned = _aligned(references[gradient.dtype], result, path)
        parts.append(_measure(result.sample, maps, aligned, gradient, step, "exact"))
        if result.truth is not None:
            parts.append(_measure(result.sample, maps, result.truth, gradient, step, "truth"))
    return pa.concat_tables(parts)


def evaluate_arrays(
    paths: Sequence[Path | str], steps: Sequence[float], scheme: str, names: dict[str, str]
) -> pa.Table:
    """Return the measures of every sample of cached maps: the columns of :func:`evaluate_method`.

    Parameters
    ----------
    paths : sequence of path
        Files as :func:`approxgrad.cached_arrays.read_arrays` takes them.
    steps : sequence of float
        The step of each of them.
    scheme : str
        The finite-difference scheme of all.
    names : dict
        Names of the arrays: ``exact`` and ``approximated``.
    """
    parts = []
    for path, step in zip(paths, steps, strict=True):
        exact, approximated = read_arrays(path, names)
        source = GradientSource(scheme, step)
        parts.append(_measure(np.arange(len(exact)), approximated, exact, source, step, "exact"))
    return pa.concat_tables(parts)


def _measure(
    sample: np.ndarray,
    maps: np.ndarray,
    reference: np.ndarray,
    gradient: GradientSource,
    step: float | None,
    name: str,
) -> pa.Table:
    """Compare maps with a reference of the given name; `step` is the one used, also where it was chosen."""
    rows = len(sample)
    columns = {
        "gradient": pa.array([gradient.name] * rows),
        "scheme": pa.array([gradient.scheme] * rows),
        "step": pa.array([step] * rows, pa.float64()),
        "dtype": pa.array([gradient.dtype] * rows),
        "reference": pa.array([name] * rows),
        "sample": pa.array(sample),
    }
    for metric, values in compare(maps, reference).items():
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


def summarise(metrics: pd.DataFrame, bootstrap: Bootstrap) -> pd.DataFrame:
    """Return the distribution of every measure over the samples.

    Parameters
    ----------
    metrics : DataFrame
        One row per sample, with the columns :data:`KEYS`, ``sample`` and the names of
        :data:`approxgrad.metrics.METRICS`.
    bootstrap : Bootstrap
        How the intervals of mean and median are computed.

    Returns
    -------
    DataFrame
        One row for each of :data:`KEYS` and ``metric``: ``mean``, the ends ``mean_low`` and ``mean_high`` of its
        interval, ``std`` (population), ``median``, ``median_low``, ``median_high``, ``lower_quartile``,
        ``upper_quartile``, ``n`` (samples that the numbers are over) and ``undefined`` (samples left out).
    """
    tidy = metrics.melt(id_vars=[*KEYS, "sample"], value_vars=list(METRICS), var_name="metric")
    groups = tidy.groupby([*KEYS, "metric"], sort=False, dropna=False, observed=True)["value"]
    estimates = intervals([values.to_numpy() for _, values in groups], bootstrap)
    counts = groups.agg(n="count", size="size")
    columns = {
        **{name: estimates[name].to_numpy() for name in ("mean", "mean_low", "mean_high")},
        "std": groups.std(ddof=0),
        **{name: estimates[name].to_numpy() for name in ("median", "median_low", "median_high")},
        "lower_quartile": groups.quantile(0.25),
        "upper_quartile": groups.quantile(0.75),
        "n": counts["n"],
        "undefined": counts["size"] - counts["n"],
    }
    return pd.DataFrame(columns, index=counts.index).reset_index()
