"""Measures of agreement between two attributions, row by row; a measure that is undefined is NaN."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from approxgrad.descriptions import Registry

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Metric:
    """A measure of agreement."""

    name: str  # as a column of tables
    label: str  # on an axis
    line: str  # what it measures
    function: Callable[[Array, Array], Array]  # of attribution and reference, float64 (N, d), to values (N,)
    lower: float
    upper: float
    best: float  # the value of perfect agreement
    unit: str = ""  # of the values, where they have one
    signs: bool = False  # whether it needs maps with signs; without them it is not reported

    def distance(self, values: Array) -> Array:
        """Return how far values are from perfect agreement."""
        return np.asarray(np.abs(values - self.best))

    def label_of(self, features: int) -> str:
        """Return the label for maps of so many features."""
        return self.label.format(top=top_count(features), features=features)


METRICS: Registry[Metric] = Registry("metric", __package__, {})  # type: ignore[type-var]
"""All metrics by name: columns of the metric tables, rows of the summaries."""


def _divide(numerator: Array, denominator: Array) -> Array:
    """Divide, with NaN where the denominator is zero."""
    result = np.full(np.shape(numerator), np.nan)
    np.divide(numerator, denominator, out=result, where=denominator > 0)
    return result


def _constant(values: Array) -> NDArray[np.bool_]:
    return np.asarray(np.ptp(values, axis=1) == 0)


def cosine(attribution: Array, reference: Array) -> Array:
    """Return the cosine of the angle between the maps; undefined where one of them is zero."""
    # Scaled by the largest entry, so that tiny and huge maps stay in the range of float64.
    a, r = _scaled(attribution), _scaled(reference)
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(r, axis=1)
    return np.clip(_divide((a * r).sum(axis=1), norms), -1, 1)


def pearson(attribution: Array, reference: Array) -> Array:
    """Return Pearson's correlation over the features; undefined where a map is constant."""
    result = cosine(*(values - values.mean(axis=1, keepdims=True) for values in (attribution, reference)))
    result[_constant(attribution) | _constant(reference)] = np.nan
    return result


def spearman(attribution: Array, reference: Array) -> Array:
    """Return Spearman's rank correlation over the features, ties ranked by their mean."""
    # Rows are contiguous; otherwise the order of the sums, and so the last digit, would depend on the number of rows.
    ranks = [pd.DataFrame(values).rank(axis=1).to_numpy() for values in (attribution, reference)]
    return pearson(*map(np.ascontiguousarray, ranks))


def mean_squared_error(attribution: Array, reference: Array) -> Array:
    """Return the mean squared difference over the features."""
    return np.asarray(np.mean((attribution - reference) ** 2, axis=1))


def relative_error(attribution: Array, reference: Array) -> Array:
    """Return the Euclidean norm of the difference over that of the reference; undefined for a zero reference."""
    (error, error_scale), (size, size_scale) = map(_norm, (attribution - reference, reference))
    return np.asarray(np.ldexp(_divide(error, size), error_scale - size_scale))


def scale_free_error(attribution: Array, reference: Array) -> Array:
    """Return the relative error that is left when the map is multiplied by its :func:`best_factor`.

    It is ``sqrt(1 - cos(a, r)**2)``, the sine of the angle between the maps, computed without the cancellation of that
    formula. It is 0 for maps that differ by a factor, a negative one too, and undefined where one of them is zero.
    """
    a, r = _unit(attribution), _unit(reference)
    along = (a * r).sum(axis=1, keepdims=True)
    return np.asarray(np.minimum(np.linalg.norm(a - along * r, axis=1), 1))


def best_factor(attribution: Array, reference: Array) -> Array:
    """Return the factor c of the least ``|c a - r|``, which is ``(a r) / (a a)``; undefined where a map is zero."""
    (_, scale), (_, size) = map(_norm, (attribution, reference))
    a, r = (np.ldexp(values, -own[:, None]) for values, own in ((attribution, scale), (reference, size)))
    factor = np.ldexp(_divide((a * r).sum(axis=1), (a**2).sum(axis=1)), size - scale)
    return np.where((reference == 0).all(axis=1), np.nan, factor)


def sign_agreement(attribution: Array, reference: Array) -> Array:
    """Return the share of features whose values have the same sign; zero agrees with zero only."""
    return np.asarray(np.mean(np.sign(attribution) == np.sign(reference), axis=1))


def top_overlap(attribution: Array, reference: Array) -> Array:
    """Return the overlap of the two maps' top tenths: the features with the largest absolute values.

    The tenth, k features, is rounded up and never contains a zero. If only j of m equal values have room, each belongs
    to the tenth with the weight j / m: the probability that a random order of equal values puts it there. The overlap
    of two such weighted sets is Dice's, ``2 sum(min(p, q)) / (sum(p) + sum(q))``; without ties or zeros it is the
    number of common features over k. It is 1 for equal maps and 0 for maps without a common feature. It is undefined
    where all absolute values of a map are equal.

    References
    ----------
    F. McSherry, M. Najork, Computing information retrieval performance measures efficiently in the presence of tied
    scores, European Conference on Information Retrieval (2008): ties broken at random.
    L. A. Zadeh, Fuzzy sets, Information and Control 8 (1965): the smaller weight as the intersection.
    L. R. Dice, Measures of the amount of ecologic association between species, Ecology 26 (1945).
    """
    a, r = np.abs(attribution), np.abs(reference)
    first, second = _top(a), _top(r)
    # Counts are multiplied before they are divided: exact where the two maps are tied alike.
    of_first = second.weighted((first.above & second.tied).sum(axis=1))
    of_second = first.weighted((first.tied & second.above).sum(axis=1))
    tied = (first.tied & second.tied).sum(axis=1)
    common = (first.above & second.above).sum(axis=1) + (of_first + of_second)
    common += np.minimum(first.weighted(tied), second.weighted(tied))
    result = _divide(2 * common, first.size + second.size)
    result[_constant(a) | _constant(r)] = np.nan
    return result


@dataclass(frozen=True)
class _Top:
    """The largest tenth of every row: `above` its smallest value, and `tied` with it for the `room` that is left."""

    above: NDArray[np.bool_]
    tied: NDArray[np.bool_]
    room: NDArray[np.int_]

    @property
    def size(self) -> Array:
        """The sum of the weights of a row, a whole number."""
        return np.asarray(self.above.sum(axis=1) + self.room, float)

    def weighted(self, counts: NDArray[np.int_]) -> Array:
        """Return the weight of so many tied values."""
        return np.asarray(self.room * counts / np.maximum(self.tied.sum(axis=1), 1))


def top_count(features: int) -> int:
    """Return how many of so many features are the top tenth."""
    return math.ceil(features / 10)


def _top(values: Array) -> _Top:
    """Return the tenth of the largest of values that are not negative; zero is never among them."""
    count = top_count(values.shape[1])
    smallest = np.partition(values, -count, axis=1)[:, [-count]]
    above, tied = values > smallest, (values == smallest) & (values > 0)
    return _Top(above, tied, np.where(tied.any(axis=1), count - above.sum(axis=1), 0))


for _metric in (
    Metric("pearson", "Pearson correlation", "Do the maps vary together?", pearson, -1, 1, 1),
    Metric("spearman", "Spearman correlation", "Do the maps rank the features alike?", spearman, -1, 1, 1),
    Metric("cosine", "Cosine similarity", "Do the maps point in the same direction?", cosine, -1, 1, 1),
    Metric(
        "mean_squared_error",
        "Mean squared error",
        "How large is the squared difference of a feature?",
        mean_squared_error,
        0,
        math.inf,
        0,
        "squared attribution units",
    ),
    Metric(
        "relative_error",
        "Relative L2 error",
        "How large is the difference, relative to the reference?",
        relative_error,
        0,
        math.inf,
        0,
    ),
    Metric(
        "scale_free_error",
        "Scale-free error",
        "What is left of the relative error when the map is scaled best?",
        scale_free_error,
        0,
        1,
        0,
    ),
    Metric(
        "best_factor",
        "Best factor",
        "With which factor is the map nearest to the reference?",
        best_factor,
        -math.inf,
        math.inf,
        1,
    ),
    Metric(
        "sign_agreement",
        "Sign agreement",
        "How many features have the same sign?",
        sign_agreement,
        0,
        1,
        1,
        signs=True,
    ),
    Metric(
        "top_overlap",
        "Overlap of the top {top} of {features} features",
        "Are the largest features the same?",
        top_overlap,
        0,
        1,
        1,
    ),
):
    METRICS.add(_metric)


def compare(
    attribution: NDArray[np.floating], reference: NDArray[np.floating], *, signed: bool = True
) -> dict[str, Array]:
    """Return every metric of :data:`METRICS`, computed in float64, for every row of two maps of one shape (N, d).

    Where maps are not `signed`, metrics of signs are NaN.
    """
    if attribution.shape != reference.shape or attribution.ndim != 2:
        raise ValueError(
            f"reference: expected two maps of one shape (N, d), got {attribution.shape} and {reference.shape}"
        )
    a, r = np.asarray(attribution, float), np.asarray(reference, float)
    nothing = np.full(len(a), np.nan)
    return {name: metric.function(a, r) if signed or not metric.signs else nothing for name, metric in METRICS.items()}


def reported(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table of metrics with ``n`` samples each without those of signs that maps have none of."""
    signs = table["metric"].isin([name for name, metric in METRICS.items() if metric.signs])
    return table[~signs | (table["n"] > 0)].reset_index(drop=True)


def _norm(values: Array) -> tuple[Array, NDArray[np.int_]]:
    """Return the Euclidean norm of every row as a number and an exponent of two, so that nothing leaves float64."""
    exponent = np.frexp(np.abs(values).max(axis=1))[1]
    return np.linalg.norm(np.ldexp(values, -exponent[:, None]), axis=1), exponent


def _unit(values: Array) -> Array:
    """Return every row with the norm 1; NaN for a row of zeros."""
    scaled = _scaled(values)
    return _divide(scaled, np.broadcast_to(np.linalg.norm(scaled, axis=1, keepdims=True), scaled.shape))


def _scaled(values: Array) -> Array:
    largest = np.abs(values).max(axis=1, keepdims=True)
    return np.asarray(values / np.where(largest > 0, largest, 1))
