"""The anatomy of an error over the step: a truncation branch, a rounding branch, and the best step between them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from approxgrad.gradients.stencils import stencil
from approxgrad.study.sources import AUTO

COMPARISON = ["dataset", "model", "method"]
CURVE = [*COMPARISON, "scheme", "dtype"]
"""Columns that tell error curves apart."""

AWAY = 5.0
"""A branch begins at this multiple of the smallest error, where the other bends its slope by a twentieth at most."""

TRUNCATION_ENDS, ROUNDING_ENDS = 0.1, 0.3
"""Relative errors at which the branches end. Further out the next terms of the truncation count; the error of a step
that is lost in its feature is 1."""

OFF_LINE = 2.0
"""A branch begins where the error is within this factor of its power law: past the jump at the kinks of a network."""

FEWEST_POINTS = 3
"""Fewer points make no branch: two fit any line."""

TOLERANCE = 1.1
"""Steps whose error is at most this multiple of the smallest one are as good as the best."""


@dataclass(frozen=True)
class Branch:
    """A power law ``error = coefficient * step ** slope`` fitted to the points on one side of the smallest error.

    Attributes
    ----------
    slope, coefficient : float
        Of the power law; the coefficient is the error that it gives for the step 1.
    low, high : float
        Smallest and largest step of the points.
    points : int
        Their number.
    """

    slope: float
    coefficient: float
    low: float
    high: float
    points: int

    def error(self, step: ArrayLike) -> NDArray[np.float64]:
        """Return the error that the power law gives for steps."""
        return np.asarray(self.coefficient * np.asarray(step, float) ** self.slope)

    def coefficient_of_order(self, order: int) -> float:
        """Return b such that ``b * step ** order`` meets the power law in the middle of the branch."""
        return float(self.coefficient * np.sqrt(self.low * self.high) ** (self.slope - order))


@dataclass(frozen=True)
class Convergence:
    """What an error curve says.

    Attributes
    ----------
    best_step, best_error : float
        The step with the smallest error, and that error.
    low, high : float
        Smallest and largest of the steps around the best one whose errors are within 10 % of the smallest.
    truncation, rounding : Branch or None
        To the right and to the left of the best step; None where too few points lie on a branch.
    """

    best_step: float
    best_error: float
    low: float
    high: float
    truncation: Branch | None
    rounding: Branch | None


def convergence(steps: ArrayLike, errors: ArrayLike, dtype: str) -> Convergence:
    """Take an error curve apart.

    Parameters
    ----------
    steps, errors : array_like
        Step sizes, each once, and relative errors, of shape (K,).
    dtype : str
        Precision of the model, below whose resolution an error counts as zero.

    Raises
    ------
    ValueError
        If there are no points, or a step is not positive or there twice, or an error is negative or not a number.

    Notes
    -----
    The error of a difference of order p is about ``a / h + b h**p``: rounding, which cancellation magnifies, and
    truncation. Going outwards from the smallest error, a branch begins at the first error of :data:`AWAY` times that
    and ends before the first one above :data:`TRUNCATION_ENDS` or :data:`ROUNDING_ENDS`. Its power law is the line of
    Theil (1950) and Sen (1968) on logarithmic axes: the median of the slopes of all pairs of points, which a few
    outliers do not move. Points near the minimum that are off the line by more than :data:`OFF_LINE` are left out: a
    network of rectifiers has no truncation error at all before its first kink, where the error jumps up to the branch.
    """
    h, e = _sorted(steps, errors)
    best = int(np.argmin(e))
    floor = max(e[best], float(np.finfo(dtype).eps))
    good = e <= TOLERANCE * e[best]
    low, high = best, best
    while low > 0 and good[low - 1]:
        low -= 1
    while high < len(h) - 1 and good[high + 1]:
        high += 1
    return Convergence(
        best_step=float(h[best]),
        best_error=float(e[best]),
        low=float(h[low]),
        high=float(h[high]),
        truncation=_branch(h[best + 1 :], e[best + 1 :], floor, TRUNCATION_ENDS),
        rounding=_branch(h[:best][::-1], e[:best][::-1], floor, ROUNDING_ENDS),
    )


def textbook_step(truncation: Branch, scheme: str, dtype: str, rounding_scale: float) -> float:
    """Return the step that a textbook would choose, from machine epsilon and the measured truncation error.

    Parameters
    ----------
    truncation : Branch
        Measured with the scheme.
    scheme : str
        Finite-difference scheme.
    dtype : str
        Precision of the model.
    rounding_scale : float
        ``|f| |w| / |w f'|``, as :func:`approxgrad.study.cells.attribute_cell` stores it: the step at which an error of
        |f| in every difference is as large as an attribution ``w f'``.

    Notes
    -----
    With outputs that are off by ``eps |f|``, a difference with coefficients c_i is off by ``sum |c_i| eps |f| / h``.
    Together with a truncation error of ``b h**p`` this is least at ``h**(p + 1) = sum |c_i| eps |f| / (p b)``: for the
    forward scheme ``h = 2 sqrt(eps |f| / |f''|)``, for the central one ``h = (3 eps |f| / |f'''|)**(1/3)`` (Press et
    al., 2007, "Numerical Recipes", section 5.7; Gill et al., 1983, "Computing forward-difference intervals for
    numerical optimization"). It takes the order for granted, so it means little where the measured slope differs.
    """
    own = stencil(scheme)
    rounding = sum(map(abs, own.coefficients)) * float(np.finfo(dtype).eps) * rounding_scale
    return float((rounding / (own.order * truncation.coefficient_of_order(own.order))) ** (1 / (own.order + 1)))


def error_curves(metrics: pd.DataFrame) -> pd.DataFrame:
    """Return the relative error against the exact attribution over the steps.

    Parameters
    ----------
    metrics : DataFrame
        The metric table, of any number of data sets, models and methods.

    Returns
    -------
    DataFrame
        One row for each of :data:`CURVE` and ``step``: ``chosen`` (whether the step was chosen at run time), ``error``
        (median over the samples), ``lower_quartile``, ``upper_quartile`` and ``n`` (samples with a defined error).
    """
    rows = metrics[metrics["reference"] == "exact"].dropna(subset="relative_error")
    rows = rows.assign(chosen=rows["gradient"].str.contains(f"-{AUTO}"))
    groups = rows.groupby([*CURVE, "chosen", "step"], observed=True)["relative_error"]
    return groups.agg(
        error="median",
        lower_quartile=lambda values: values.quantile(0.25),
        upper_quartile=lambda values: values.quantile(0.75),
        n="count",
    ).reset_index()


def recommended_steps(
    metrics: pd.DataFrame, rounding_scales: Mapping[tuple[str, str, str, str], float]
) -> pd.DataFrame:
    """Return the step to use, and why, for each data set, model, method, scheme and precision.

    Parameters
    ----------
    metrics : DataFrame
        The metric table.
    rounding_scales : mapping
        See :func:`textbook_step`, by data set, model, method and precision; where it is missing, there is no textbook
        step.

    Returns
    -------
    DataFrame
        The columns of :data:`CURVE`, then ``best_step``, ``best_error``, ``low``, ``high``, ``truncation_slope``,
        ``truncation_points``, ``rounding_slope``, ``rounding_points``, ``jump``, ``textbook_step``, ``auto_step``,
        ``auto_error``, ``steps`` (how many were compared) and ``n`` (samples). What there is not is missing.
        ``jump`` is the error that the truncation branch gives for the best step, over the error there: below one for a
        smooth model, far above one where the error falls off at the kinks of a network, missing where it is zero there.
    """
    rows = []
    for key, curve in error_curves(metrics).groupby(CURVE, observed=True):
        dataset, model, method, scheme, dtype = map(str, key)
        scale = rounding_scales.get((dataset, model, method, dtype))
        names = dict(zip(CURVE, (dataset, model, method, scheme, dtype), strict=True))
        rows.append(names | _recommendation(curve, scheme, dtype, scale))
    return pd.DataFrame(rows)


def _recommendation(curve: pd.DataFrame, scheme: str, dtype: str, scale: float | None) -> dict[str, Any]:
    fixed, chosen = curve[~curve["chosen"]], curve[curve["chosen"]]
    found = convergence(fixed["step"], fixed["error"], dtype) if len(fixed) else None
    truncation, rounding = (found.truncation, found.rounding) if found else (None, None)
    return {
        "best_step": found.best_step if found else np.nan,
        "best_error": found.best_error if found else np.nan,
        "low": found.low if found else np.nan,
        "high": found.high if found else np.nan,
        "truncation_slope": truncation.slope if truncation else np.nan,
        "truncation_points": truncation.points if truncation else 0,
        "rounding_slope": rounding.slope if rounding else np.nan,
        "rounding_points": rounding.points if rounding else 0,
        "jump": _jump(found) if found else np.nan,
        "textbook_step": textbook_step(truncation, scheme, dtype, scale) if truncation and scale else np.nan,
        "auto_step": chosen["step"].iloc[0] if len(chosen) else np.nan,
        "auto_error": chosen["error"].iloc[0] if len(chosen) else np.nan,
        "steps": len(fixed),
        "n": curve["n"].max(),
    }


def _jump(found: Convergence) -> float:
    """Return the error that the truncation branch gives for the best step, over the error there, if that is not 0."""
    if found.truncation is None or found.best_error == 0:
        return math.nan
    return float(found.truncation.error(found.best_step)) / found.best_error


def _sorted(steps: ArrayLike, errors: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    h, e = np.asarray(steps, float), np.asarray(errors, float)
    if h.ndim != 1 or h.shape != e.shape or not len(h):
        raise ValueError(f"steps: expected as many as errors and at least one, got shapes {h.shape} and {e.shape}")
    if not (h > 0).all() or len(set(h)) < len(h):
        raise ValueError("steps: expected positive numbers, each once")
    if not (e >= 0).all():
        raise ValueError("errors: expected numbers that are not negative")
    order = np.argsort(h)
    return h[order], e[order]


def _branch(steps: NDArray[np.float64], errors: NDArray[np.float64], floor: float, ends: float) -> Branch | None:
    """Fit the points on one side, which come in the order of their distance from the best step."""
    saturated = np.flatnonzero(errors > ends)
    end = saturated[0] if len(saturated) else len(errors)
    # A step that is exact by chance lies on no power law.
    steps, errors = steps[:end][errors[:end] > 0], errors[:end][errors[:end] > 0]
    end = len(errors)
    away = np.flatnonzero(errors >= AWAY * floor)
    for start in range(away[0] if len(away) else end, end - FEWEST_POINTS + 1):
        h, e = steps[start:end], errors[start:end]
        slope, offset = _line(np.log(h), np.log(e))
        branch = Branch(slope, float(np.exp(offset)), float(h.min()), float(h.max()), len(h))
        if abs(np.log(e[0] / branch.error(h[0]))) <= np.log(OFF_LINE):
            return branch
    return None


def _line(x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[float, float]:
    """Return the slope and offset of the line of Theil and Sen."""
    slope = float(np.median([(y[j] - y[i]) / (x[j] - x[i]) for i, j in combinations(range(len(x)), 2)]))
    return slope, float(np.median(y - slope * x))
