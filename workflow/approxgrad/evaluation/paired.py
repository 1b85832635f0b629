"""Which of two gradient sources is better, judged on the same samples.

Samples differ far more from each other than one source from the next, so the intervals of two medians overlap where
the difference within each sample is clear. The pairs are fixed in advance: compared with the source that turned out
best on the same samples, every other would look worse than it is.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import asdict
from itertools import combinations, pairwise
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import bdtr

from approxgrad.evaluation.frames import KEYS, SOURCE, read_comparisons
from approxgrad.evaluation.metrics import METRICS, reported
from approxgrad.evaluation.uncertainty import Bootstrap, intervals

WITHIN = [key for key in KEYS if key not in SOURCE or key == "dtype"]
"""Columns that are the same for both sources of a pair."""


GAIN = ["median", "median_low", "median_high"]
"""Median of the gains and its interval, as :func:`approxgrad.evaluation.uncertainty.intervals` names them."""


def source_pairs(sources: pd.DataFrame) -> list[tuple[str, str, str]]:
    """Return the pairs of sources that are compared: what the two differ in, and the names of the first and the second.

    ``setting``: neighbouring fixed settings of a family, the smaller one first. ``family``: two families with the same
    setting, in alphabetical order. ``exact``: an approximated gradient, then the exact one. Another source without a
    setting is named by its family in the same way: ``shapley``.
    """
    order = ["family", "chosen", "setting"]
    approximated: list[Any] = [*sources[sources["setting_name"] != ""].sort_values(order).itertuples()]
    fixed = [source for source in approximated if not source.chosen]
    settings = [("setting", a.gradient, b.gradient) for a, b in pairwise(fixed) if a.family == b.family]
    families = [("family", a.gradient, b.gradient) for a, b in combinations(approximated, 2) if _alike(a, b)]
    references: list[Any] = [*sources[sources["setting_name"] == ""].itertuples()]
    others = [(own.family, source.gradient, own.gradient) for source in approximated for own in references]
    return settings + families + others


def _alike(first: Any, second: Any) -> bool:
    """Whether two sources have the same setting, or both one that was chosen at run time."""
    same = first.chosen or first.setting == second.setting
    return bool(same and first.chosen == second.chosen and first.setting_name == second.setting_name)


def compare_sources(metrics: pd.DataFrame, bootstrap: Bootstrap, smallest: float = 0.01) -> pd.DataFrame:
    """Return the difference between two gradient sources in every metric, over the samples that both have.

    There is a row for each pair of :func:`source_pairs` and metric, with the columns :data:`WITHIN`: what the two
    ``differ`` in, their names ``first`` and ``second``, their medians, and the ``median_difference``, of first minus
    second within a sample, with the ends ``low`` and ``high`` of its interval. ``first_better`` and ``equal`` are the
    shares of the ``n`` samples on which the first is nearer to the metric's best value, or as near; ``undefined``
    samples are left out because a metric is. ``p_value`` is that of :func:`sign_test`, ``p_adjusted`` after Holm's
    correction for all rows with the same :data:`WITHIN`.

    The ``verdict`` weighs the gain of the first source within a sample: by how much it is nearer to the best value. It
    is ``better`` or ``worse`` where the adjusted p-value is below 1 - level and the median gain at least `smallest`,
    or the same below zero; ``alike`` where the whole interval of the median gain is smaller than that; else ``open``.
    For a metric with a unit every difference matters.
    """
    pairs = _pairs(metrics)
    judged = _judged(pairs, metrics).groupby(["pair", "metric"], sort=False, observed=True)
    counts = judged.agg(
        size=("first", "size"), n=("difference", "count"), better=("better", "sum"), worse=("worse", "sum")
    )
    estimates, gains = (
        intervals([values.to_numpy() for _, values in judged[name]], bootstrap) for name in ("difference", "gain")
    )
    better, worse, n = (counts[name].astype(int) for name in ("better", "worse", "n"))
    columns = {
        "first_median": judged["first"].median(),
        "second_median": judged["second"].median(),
        "median_difference": estimates["median"].to_numpy(),
        "low": estimates["median_low"].to_numpy(),
        "high": estimates["median_high"].to_numpy(),
        "first_better": (better / n).where(n > 0),
        "equal": ((n - better - worse) / n).where(n > 0),
        "n": n,
        "undefined": counts["size"] - n,
        "p_value": pd.Series(sign_test(better.to_numpy(), worse.to_numpy()), counts.index).where(n > 0),
        **{name: gains[name].to_numpy() for name in GAIN},
    }
    table = pairs.merge(pd.DataFrame(columns, index=counts.index).reset_index(), on="pair").drop(columns="pair")
    groups = table.groupby(WITHIN, sort=False, dropna=False, observed=True)["p_value"]
    table = reported(table.assign(p_adjusted=groups.transform(holm)))
    return table.assign(verdict=verdicts(table, 1 - bootstrap.level, smallest)).drop(columns=GAIN)


def verdicts(table: pd.DataFrame, error: float, smallest: float) -> NDArray[np.str_]:
    """Return the verdict on each row of a table with ``metric``, ``p_adjusted`` and the gain as :data:`GAIN`."""
    units = {name: 0 if metric.unit else smallest for name, metric in METRICS.items()}
    matters = table["metric"].map(units).astype(float)
    median, low, high = (table[name].astype(float) for name in GAIN)
    decided = table["p_adjusted"].astype(float) < error
    chosen = [decided & (median > 0) & (median >= matters), decided & (median < 0) & (median <= -matters)]
    alike = (-matters < low) & (high < matters) | (low == 0) & (high == 0)
    return np.select([*chosen, alike], ["better", "worse", "alike"], "open")


def pairs_table(inputs: Mapping[str, Any], params: Mapping[str, Any]) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Return the table of :func:`compare_sources` for a rule, and how its intervals were computed."""
    bootstrap = Bootstrap(params["seed"], **params["uncertainty"])
    metrics = read_comparisons(inputs["metrics"], params["comparisons"])
    smallest = params["smallest_difference"]
    return compare_sources(metrics, bootstrap, smallest), {
        "uncertainty": asdict(bootstrap),
        "smallest_difference": smallest,
    }


def _pairs(metrics: pd.DataFrame) -> pd.DataFrame:
    """Return one row per pair: its number, the keys that both sources share, what they differ in, and their names."""
    rows: list[dict[Hashable, Any]] = []
    cells = metrics[[*dict.fromkeys([*WITHIN, *SOURCE])]].drop_duplicates()
    for _, group in cells.groupby(WITHIN, sort=False, dropna=False, observed=True):
        shared = group[WITHIN].iloc[0].to_dict()
        for differ, first, second in source_pairs(group):
            rows.append({"pair": len(rows), **shared, "differ": differ, "first": first, "second": second})
    return pd.DataFrame(rows, columns=["pair", *WITHIN, "differ", "first", "second"])


def _judged(pairs: pd.DataFrame, metrics: pd.DataFrame) -> pd.DataFrame:
    """Return one row per pair, metric and sample that both have: the values, which is better, and their difference."""
    table = metrics[[*WITHIN, "gradient", "sample", *METRICS]]
    keyed = pairs[["pair", *WITHIN, "first", "second"]]
    first = keyed.merge(table.rename(columns={"gradient": "first"}), on=[*WITHIN, "first"])
    both = first.merge(
        table.rename(columns={"gradient": "second"}), on=[*WITHIN, "second", "sample"], suffixes=(" first", " second")
    )
    parts = []
    for name, metric in METRICS.items():
        values = both[[f"{name} first", f"{name} second"]].to_numpy(float)
        # A metric that is undefined for one source counts for neither.
        values[np.isnan(values).any(axis=1)] = np.nan
        distance = metric.distance(values)
        columns = {
            "pair": both["pair"],
            "metric": name,
            "first": values[:, 0],
            "second": values[:, 1],
            "difference": values[:, 0] - values[:, 1],
            "gain": distance[:, 1] - distance[:, 0],
            "better": distance[:, 0] < distance[:, 1],
            "worse": distance[:, 0] > distance[:, 1],
        }
        parts.append(pd.DataFrame(columns))
    return pd.concat(parts, ignore_index=True)


def sign_test(better: NDArray[np.integer], worse: NDArray[np.integer]) -> NDArray[np.float64]:
    """Return two-sided p-values of the sign test that both sources are better equally often; 1 where neither ever is.

    Unlike Wilcoxon's test, it does not assume symmetric differences, which those of errors are not, and gives the same
    answer for an error and its logarithm.
    """
    return np.asarray(np.minimum(1, 2 * bdtr(np.minimum(better, worse), better + worse, 0.5)))


def holm(p_values: pd.Series[float]) -> pd.Series[float]:
    """Return p-values adjusted by Holm's method, which holds however the tests depend on each other; NaN stays."""
    ordered = p_values.dropna().sort_values(kind="stable")
    factors = np.arange(len(ordered), 0, -1)
    return (ordered * factors).cummax().clip(upper=1).reindex(p_values.index)
