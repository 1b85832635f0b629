"""What holds for other trainings of a model as well: intervals and tests whose unit is the model.

The rows of a data set tell how a source does on other rows of the same model. Trained again, the model is another one,
on which all rows may change together. So the trainings are resampled first and the rows, which all of them share, then.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import stdtr, stdtrit

from approxgrad.evaluation.frames import SOURCE, read_metrics
from approxgrad.evaluation.metrics import METRICS, reported
from approxgrad.evaluation.paired import GAIN, WITHIN, holm, source_pairs, verdicts
from approxgrad.evaluation.uncertainty import FEWEST, Bootstrap
from approxgrad.seeds import derive_seed

Array = NDArray[np.float64]

FEWEST_TRAININGS = 3
"""Trainings below which there is no interval: two give one degree of freedom, and an interval that says nothing."""

MOST_RESAMPLES = 500
"""Resamples are needed for a standard deviation only, which this many give to 3 %."""


def hierarchical(values: Array, bootstrap: Bootstrap) -> tuple[float, float, float, float]:
    """Return the mean over trainings of the median over rows, the ends of its interval, and a p-value.

    Parameters
    ----------
    values : ndarray
        Shape (M, N): M trainings and N rows, the same ones for each; NaN is left out.
    bootstrap : Bootstrap
        Level, seed and resamples, of which :data:`MOST_RESAMPLES` are drawn at most.

    Returns
    -------
    tuple of float
        Estimate, lower and upper end, and the two-sided p-value of an estimate of zero. All but the estimate are NaN
        for fewer than :data:`FEWEST_TRAININGS` trainings or rows than :data:`approxgrad.evaluation.uncertainty.FEWEST`.

    Notes
    -----
    The standard error is that of a bootstrap of two levels, trainings and rows, both with replacement. It is multiplied
    by ``sqrt(M / (M - 1))``, by which a bootstrap of M units falls short, and has Student's quantiles with M - 1
    degrees of freedom. Plain percentiles of five trainings cover far less than they say.
    """
    trainings = int((~np.isnan(values)).any(axis=1).sum())
    known = values[(~np.isnan(values)).any(axis=1)][:, (~np.isnan(values)).any(axis=0)]
    if not known.size:
        return (np.nan,) * 4
    estimate = float(np.nanmedian(known, axis=1).mean())
    if trainings < FEWEST_TRAININGS or known.shape[1] < FEWEST:
        return estimate, np.nan, np.nan, np.nan
    count = min(bootstrap.resamples, MOST_RESAMPLES)
    generator = np.random.default_rng(derive_seed(bootstrap.seed, "trainings", *map(str, known.shape)))
    models = generator.integers(0, trainings, (count, trainings))
    rows = generator.integers(0, known.shape[1], (count, known.shape[1]))
    median = np.nanmedian if np.isnan(known).any() else np.median
    drawn = np.array([median(known[:, own], axis=1)[chosen].mean() for own, chosen in zip(rows, models, strict=True)])
    error = float(np.nanstd(drawn, ddof=1)) * (trainings / (trainings - 1)) ** 0.5
    low, high = estimate + stdtrit(trainings - 1, bootstrap.tails) * error
    p_value = 2 * stdtr(trainings - 1, -abs(estimate) / error) if error else float(estimate == 0)
    return estimate, float(low), float(high), float(p_value)


def compare_over_trainings(metrics: pd.DataFrame, bootstrap: Bootstrap, smallest: float) -> pd.DataFrame:
    """Return what every metric is over several trainings of a model, and which gradient sources are better.

    The `metrics` have the name of the model in ``model`` and that of the training in ``training``.

    There is a row for each metric and source (``first``, without a ``second``), and for each metric and pair of
    :func:`approxgrad.evaluation.paired.source_pairs`. ``estimate`` is the mean over the ``trainings`` of the median
    over the ``n`` rows: of the metric itself, or of the gain of a pair's first source, by how much it is nearer to the
    best value. ``low`` and ``high`` are the ends of its interval by :func:`hierarchical`, ``smallest_median`` and
    ``largest_median`` those of single trainings, and ``agreeing`` trainings have the sign of the estimate. Pairs have a
    ``p_value``; ``p_adjusted`` is corrected by Holm's method for the pairs of one sort within a metric and the columns
    :data:`approxgrad.evaluation.paired.WITHIN`; the ``verdict`` is as there.
    """
    rows: list[dict[str, Any]] = []
    for keys, group in metrics.groupby(WITHIN, sort=False, dropna=False, observed=True):
        shared = dict(zip(WITHIN, keys, strict=True))
        # A setting that was chosen differs from training to training.
        distinct = group[SOURCE].drop_duplicates("gradient")
        pairs = [("", name, "") for name in distinct["gradient"]] + source_pairs(distinct)
        for metric in METRICS:
            tables = {
                name: own.set_index(["training", "sample"])[metric].unstack()  # noqa: PD010 - there is nothing to add up
                for name, own in group.groupby("gradient", sort=False, observed=True)
            }
            for differ, first, second in pairs:
                values = _gains(metric, tables[first], tables[second]) if second else tables[first]
                rows.append(
                    {**shared, "differ": differ, "first": first, "second": second, "metric": metric}
                    | _over(values.to_numpy(float), bootstrap, test=bool(second))
                )
    table = reported(pd.DataFrame(rows))
    groups = table.groupby([*WITHIN, "differ", "metric"], sort=False, dropna=False, observed=True)["p_value"]
    table = table.assign(p_adjusted=groups.transform(holm))
    judged = table.rename(columns=dict(zip(("estimate", "low", "high"), GAIN, strict=True)))
    found = verdicts(judged, 1 - bootstrap.level, smallest)
    return table.assign(verdict=np.where(table["second"] == "", "", found))


def _gains(metric: str, first: pd.DataFrame, second: pd.DataFrame) -> pd.DataFrame:
    """Return by how much the first source is nearer to the best value, on the rows that both have."""
    best = METRICS[metric].best
    return (second - best).abs() - (first - best).abs()


def _over(values: Array, bootstrap: Bootstrap, *, test: bool) -> dict[str, Any]:
    estimate, low, high, p_value = hierarchical(values, bootstrap)
    known = values[(~np.isnan(values)).any(axis=1)]
    medians = np.nanmedian(known, axis=1) if len(known) else np.array([np.nan])
    return {
        "estimate": estimate,
        "low": low,
        "high": high,
        "smallest_median": medians.min(),
        "largest_median": medians.max(),
        "trainings": len(known),
        "agreeing": int((np.sign(medians) == np.sign(estimate)).sum()),
        "n": int((~np.isnan(values)).any(axis=0).sum()),
        "p_value": p_value if test else np.nan,
    }


def trainings_table(inputs: Mapping[str, Any], params: Mapping[str, Any]) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Return the table of :func:`compare_over_trainings` for a rule; ``trained`` says of which model each file is."""
    bootstrap = Bootstrap(params["seed"], **params["uncertainty"])
    parts = [
        read_metrics(path, dataset, model, method).assign(training=training)
        for path, (dataset, model, training, method) in zip(inputs["metrics"], params["trained"], strict=True)
    ]
    used = replace(bootstrap, resamples=min(bootstrap.resamples, MOST_RESAMPLES))
    table = compare_over_trainings(pd.concat(parts, ignore_index=True), bootstrap, params["smallest_difference"])
    return table, {"uncertainty": asdict(used), "smallest_difference": params["smallest_difference"]}
