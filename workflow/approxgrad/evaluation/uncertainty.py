"""Bootstrap intervals: how far a mean or median over the samples could be from that over other samples.

The interval of the median takes the percentiles of the resampled medians. That of the mean is bias-corrected and
accelerated (BCa) because errors are skewed, and has Student's quantiles because a bootstrap underestimates the spread
by sqrt((n - 1) / n). Plain percentiles cover too little: with n = 20 and a level of 95 % they miss the mean of
exponential data in 11 % of the cases, these intervals in 7 to 8 %.

References
----------
B. Efron, Better bootstrap confidence intervals, Journal of the American Statistical Association 82 (1987).
T. C. Hesterberg, What teachers should know about the bootstrap, The American Statistician 69 (2015).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri, stdtrit

from approxgrad.seeds import derive_seed

Array = NDArray[np.float64]

FEWEST = 6
"""Values below which there is no interval: between the smallest and the largest of n values the median lies with a
probability of ``1 - 2**(1 - n)``, which is less than 95 % for five."""

COLUMNS_AT_ONCE = 512  # bounds the memory for resampled means and medians, whatever the number of columns


@dataclass(frozen=True)
class Bootstrap:
    """How intervals are computed; the `level` is the share of studies in which one contains the true value."""

    seed: int
    level: float = 0.95
    resamples: int = 2000

    def __post_init__(self) -> None:
        if not 0 < self.level < 1:
            raise ValueError(f"level: got {self.level}, expected a number between 0 and 1")
        if self.resamples < 1:
            raise ValueError(f"resamples: got {self.resamples}, expected at least 1")

    @property
    def tails(self) -> Array:
        """The shares of the distribution below the lower and below the upper end of an interval."""
        return np.array([(1 - self.level) / 2, (1 + self.level) / 2])


def intervals(columns: Sequence[NDArray[np.floating]], bootstrap: Bootstrap) -> pd.DataFrame:
    """Return mean and median of every column with their intervals, one row per column.

    The columns are values of independent samples, each of shape (N,); lengths may differ. NaN is left out, and order is
    ignored; columns with the same number of values share their resamples. The ends are NaN for fewer values than
    :data:`FEWEST`, everything is for none. Time: one matrix product, resamples x values x columns. Memory: 24
    bytes x resamples x values.
    """
    defined = [np.asarray(column, float)[~np.isnan(column)] for column in columns]
    counts = np.array([len(column) for column in defined], int)
    names = ["mean", "mean_low", "mean_high", "median", "median_low", "median_high"]
    result = np.full((len(defined), len(names)), np.nan)
    for count in np.unique(counts[counts > 0]):
        resamples = _resample(int(count), bootstrap) if count >= FEWEST else None
        positions = np.flatnonzero(counts == count)
        for chunk in np.split(positions, range(COLUMNS_AT_ONCE, len(positions), COLUMNS_AT_ONCE)):
            values = np.sort(np.stack([defined[position] for position in chunk]), axis=1)
            smallest, middle, largest = values[:, [0]], values[:, [(count - 1) // 2]], values[:, [-1]]
            # Deviations from one of the values are exactly zero where all are equal, and clipping keeps a rounded mean
            # within the range of the values: no correlation above 1.
            deviations = values - middle
            result[chunk, :1] = np.clip(middle + deviations.mean(axis=1, keepdims=True), smallest, largest)
            result[chunk, 3] = _middle(values, (count - 1) // 2, count // 2)
            if resamples is not None:
                ends = middle + _mean_interval(deviations, resamples, bootstrap)
                result[chunk, 1:3] = np.clip(ends, smallest, largest)
                medians = _middle(values, resamples.lower, resamples.upper)
                result[chunk, 4:6] = np.quantile(medians, bootstrap.tails, axis=1).T
    return pd.DataFrame(result, columns=names)


@dataclass(frozen=True)
class _Resamples:
    """Resamples of n sorted values: shares of the draws (resamples, n), and the two middle ranks (resamples,)."""

    weights: Array
    lower: NDArray[np.int64]
    upper: NDArray[np.int64]


def _resample(count: int, bootstrap: Bootstrap) -> _Resamples:
    generator = np.random.default_rng(derive_seed(bootstrap.seed, "uncertainty", str(count)))
    ranks = generator.integers(0, count, (bootstrap.resamples, count))
    ranks.sort(axis=1)
    cells = ranks + count * np.arange(bootstrap.resamples)[:, None]
    drawn = np.bincount(cells.ravel(), minlength=cells.size).reshape(cells.shape)
    return _Resamples(drawn / count, ranks[:, (count - 1) // 2], ranks[:, count // 2])


def _mean_interval(values: Array, resamples: _Resamples, bootstrap: Bootstrap) -> Array:
    """Return the ends of the interval of the mean, shape (K, 2), from values of shape (K, n)."""
    count = values.shape[1]
    # A matrix product has last digits that depend on the number of threads.
    means = np.einsum("kn,rn->kr", values, resamples.weights)
    mean = values.mean(axis=1, keepdims=True)
    # Tied values give the same mean in many resamples, up to rounding.
    rounding = np.finfo(float).eps * count * np.abs(values).max(axis=1, keepdims=True)
    below = (means < mean - rounding).mean(axis=1) + (np.abs(means - mean) <= rounding).mean(axis=1) / 2
    edge = 1 / (bootstrap.resamples + 1)
    bias = ndtri(np.clip(below, edge, 1 - edge))[:, None]
    # The ratio does not depend on the scale, which is set so that cubes stay in the range of float64.
    skewed = np.ldexp(values - mean, -np.frexp(np.abs(values - mean).max(axis=1, keepdims=True))[1])
    cubes, scale = (skewed**3).sum(axis=1), 6 * (skewed**2).sum(axis=1) ** 1.5
    acceleration = np.divide(cubes, scale, out=np.zeros(len(values)), where=scale > 0)[:, None]
    shifted = bias + np.sqrt(count / (count - 1)) * stdtrit(count - 1, bootstrap.tails)
    stretch = 1 - acceleration * shifted
    # Beyond the pole of the correction, the level is 0 or 1.
    levels = np.where(stretch > 0, ndtr(bias + shifted / np.where(stretch > 0, stretch, 1)), shifted > 0)
    return _quantiles(means, levels)


def _middle(values: Array, lower: NDArray[np.int64] | int, upper: NDArray[np.int64] | int) -> Array:
    # The mean of two equal values may round to another value; this does not.
    return np.asarray(values[:, lower] + (values[:, upper] - values[:, lower]) / 2)


def _quantiles(values: Array, levels: Array) -> Array:
    """Return quantiles of each row at its own levels: values (K, R) and levels (K, L) to (K, L)."""
    ordered = np.sort(values, axis=1)
    position = levels * (values.shape[1] - 1)
    below = np.floor(position).astype(int)
    above = np.minimum(below + 1, values.shape[1] - 1)
    lower, upper = (np.take_along_axis(ordered, rank, axis=1) for rank in (below, above))
    return np.asarray(lower + (position - below) * (upper - lower))
