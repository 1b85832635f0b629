"""The anatomy of an error over the setting: a branch on each side of the best setting.

For the step of a finite difference these are truncation above the best step and rounding below it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.stats import theilslopes

from approxgrad.evaluation.frames import read_comparisons
from approxgrad.evaluation.truths import TRUTHS
from approxgrad.gradients.precisions import EPSILONS, PRECISIONS
from approxgrad.gradients.stencils import SCHEMES, Stencil
from approxgrad.storage.tables import read_table

CURVE = ["dataset", "model", "method", "family", "setting_name", "dtype"]  # columns that tell error curves apart

AWAY = 5.0
"""A branch begins at this multiple of the smallest error, where the other bends its slope by a twentieth at most."""

TRUNCATION_ENDS, ROUNDING_ENDS = 0.1, 0.3
"""Relative errors at which the branches end: higher terms count beyond, and a lost step has an error of 1."""

OFF_LINE = 2.0
"""A branch begins where the error is within this factor of its power law, past the jump at the kinks of a network."""

FEWEST_POINTS = 3
"""A line fits any two points, so a branch needs more."""

TOLERANCE = 1.1  # settings whose error is at most this multiple of the smallest one are as good as the best


@dataclass(frozen=True)
class Branch:
    """A power law ``error = coefficient * setting ** slope``, fitted to some points between two settings."""

    slope: float
    coefficient: float
    low: float
    high: float
    points: int

    def error(self, setting: ArrayLike) -> NDArray[np.float64]:
        """Return the error that the power law gives for settings."""
        return np.asarray(self.coefficient * np.asarray(setting, float) ** self.slope)

    def coefficient_of_order(self, order: int) -> float:
        """Return b such that ``b * setting ** order`` meets the power law in the middle of the branch."""
        return float(self.coefficient * np.sqrt(self.low * self.high) ** (self.slope - order))


@dataclass(frozen=True)
class Convergence:
    """What an error curve says."""

    best_setting: float  # with the smallest error
    best_error: float
    low: float  # ends of the settings around it whose errors are at most TOLERANCE times the smallest
    high: float
    truncation: Branch | None  # above the best setting; None where too few points lie on it
    rounding: Branch | None  # below it

    @property
    def jump(self) -> float:
        """Error that the truncation branch gives for the best setting, over the error there; NaN if that is 0."""
        if self.truncation is None or self.best_error == 0:
            return math.nan
        return float(self.truncation.error(self.best_setting)) / self.best_error


def convergence(settings: ArrayLike, errors: ArrayLike, dtype: str) -> Convergence:
    """Take an error curve apart: positive settings, each once, and relative errors, of shape (K,), else a ValueError.

    The error of a difference of order p is about ``a / h + b h**p``: rounding and truncation. Going outwards from the
    smallest error, a branch begins at the first error of :data:`AWAY` times that and ends before the first one above
    :data:`TRUNCATION_ENDS` or :data:`ROUNDING_ENDS`. Its power law is the line of Theil (1950) and Sen (1968) on
    logarithmic axes, which a few outliers do not move. Points near the minimum that are off the line by more than
    :data:`OFF_LINE` are left out: a network of rectifiers has no truncation error before its first kink. Errors below
    the resolution of the model's `dtype` count as zero.
    """
    h, e = np.asarray(settings, float), np.asarray(errors, float)
    if h.ndim != 1 or h.shape != e.shape or not len(h):
        raise ValueError(f"settings: expected as many as errors and at least one, got shapes {h.shape} and {e.shape}")
    if not (h > 0).all() or len(set(h)) < len(h):
        raise ValueError("settings: expected positive numbers, each once")
    if not (e >= 0).all():
        raise ValueError("errors: expected numbers that are not negative")
    order = np.argsort(h)
    h, e = h[order], e[order]
    best = int(np.argmin(e))
    floor = max(e[best], EPSILONS[dtype])
    good = e <= TOLERANCE * e[best]
    low, high = best, best
    while low > 0 and good[low - 1]:
        low -= 1
    while high < len(h) - 1 and good[high + 1]:
        high += 1
    return Convergence(
        best_setting=float(h[best]),
        best_error=float(e[best]),
        low=float(h[low]),
        high=float(h[high]),
        truncation=_branch(h[best + 1 :], e[best + 1 :], floor, TRUNCATION_ENDS),
        rounding=_branch(h[:best][::-1], e[:best][::-1], floor, ROUNDING_ENDS),
    )


def textbook_step(truncation: Branch, own: Stencil, dtype: str, rounding_scale: float) -> float:
    """Return the step that a textbook would choose, from machine epsilon and the measured truncation error.

    The truncation was measured with the stencil `own` and a model of the precision `dtype`. The `rounding_scale` is
    ``|f| |w| / |w f'|``, from the metadata of the exact attribution: the step at which an error of the size of f in
    every difference is as large as an attribution ``w f'``.

    With outputs that are off by ``eps |f|``, a difference with coefficients c_i is off by ``sum |c_i| eps |f| / h``.
    Together with a truncation error of ``b h**p`` this is least at ``h**(p + 1) = sum |c_i| eps |f| / (p b)``: for the
    forward scheme ``h = 2 sqrt(eps |f| / |f''|)``, for the central one ``h = (3 eps |f| / |f'''|)**(1/3)`` (Press et
    al., 2007, "Numerical Recipes", section 5.7; Gill et al., 1983, "Computing forward-difference intervals for
    numerical optimization"). It assumes the order, so it means little where the measured slope differs.
    """
    rounding = sum(map(abs, own.coefficients)) * EPSILONS[dtype] * rounding_scale
    return float((rounding / (own.order * truncation.coefficient_of_order(own.order))) ** (1 / (own.order + 1)))


def error_curves(metrics: pd.DataFrame) -> pd.DataFrame:
    """Return the relative error against the exact attribution over the settings, from any number of metric tables.

    There is a row for each of :data:`CURVE`, ``chosen`` (at run time) and ``setting``: ``error`` (median over the
    samples), ``lower_quartile``, ``upper_quartile`` and ``n`` (samples with a defined error).
    """
    compared = ~metrics["reference"].isin(TRUTHS) & metrics["setting"].notna()
    rows = metrics[compared].dropna(subset="relative_error")
    columns = [*CURVE, "chosen", "setting"]
    curves = rows.groupby(columns, observed=True)["relative_error"].agg(
        error="median",
        lower_quartile=lambda values: values.quantile(0.25),
        upper_quartile=lambda values: values.quantile(0.75),
        n="count",
    )
    # Precisions by their digits and not by their names.
    return curves.reset_index().sort_values(
        columns, key=lambda own: own.map(PRECISIONS.index) if own.name == "dtype" else own, ignore_index=True
    )


def recommended_settings(
    metrics: pd.DataFrame, rounding_scales: Mapping[tuple[str, str, str, str], float]
) -> pd.DataFrame:
    """Return the setting to use, and why, for each data set, model, method, family and precision of a metric table.

    The `rounding_scales` of :func:`textbook_step` are by data set, model, method and precision; without one there is no
    textbook step. After the columns of :data:`CURVE` stand the fields of :class:`Convergence` and of its branches, with
    ``jump`` (below one for a smooth model, far above one where the error falls off at the kinks of a network),
    ``textbook_step``, ``chosen_setting``, ``chosen_error``, ``settings`` (how many were compared), ``at_edge`` (whether
    the best is the smallest or the largest of several) and ``n`` (samples). What does not exist is missing.
    """
    rows = []
    for key, curve in error_curves(metrics).groupby(CURVE, observed=True, sort=False):
        names = dict(zip(CURVE, map(str, key), strict=True))
        scale = rounding_scales.get((names["dataset"], names["model"], names["method"], names["dtype"]))
        rows.append(names | _recommendation(curve, SCHEMES.get(names["family"]), names["dtype"], scale))
    return pd.DataFrame(rows)


def _recommendation(curve: pd.DataFrame, own: Stencil | None, dtype: str, scale: float | None) -> dict[str, Any]:
    fixed, chosen = curve[~curve["chosen"]], curve[curve["chosen"]]
    found = convergence(fixed["setting"], fixed["error"], dtype) if len(fixed) else None
    truncation, rounding = (found.truncation, found.rounding) if found else (None, None)
    return {
        **{name: getattr(found, name, np.nan) for name in ("best_setting", "best_error", "low", "high")},
        "truncation_slope": truncation.slope if truncation else np.nan,
        "truncation_points": truncation.points if truncation else 0,
        "rounding_slope": rounding.slope if rounding else np.nan,
        "rounding_points": rounding.points if rounding else 0,
        "jump": found.jump if found else np.nan,
        "textbook_step": textbook_step(truncation, own, dtype, scale) if truncation and own and scale else np.nan,
        "chosen_setting": chosen["setting"].iloc[0] if len(chosen) else np.nan,
        "chosen_error": chosen["error"].iloc[0] if len(chosen) else np.nan,
        "settings": len(fixed),
        "at_edge": bool(
            found and len(fixed) > 1 and found.best_setting in (fixed["setting"].min(), fixed["setting"].max())
        ),
        "n": curve["n"].max(),
    }


def recommendations_table(inputs: Mapping[str, Any], params: Mapping[str, Any]) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Return the table of :func:`recommended_settings` for a rule."""
    scales = {}
    for path, names in zip(inputs["exact"], params["references"], strict=True):
        document = read_table(path, [])[1]
        if document.get("rounding_scale") is not None:
            scales[(*names, document["dtype"])] = float(document["rounding_scale"])
    return recommended_settings(read_comparisons(inputs["metrics"], params["comparisons"]), scales), {}


def _branch(settings: NDArray[np.float64], errors: NDArray[np.float64], floor: float, ends: float) -> Branch | None:
    """Fit the points on one side, which come in the order of their distance from the best setting."""
    saturated = np.flatnonzero(errors > ends)
    end = saturated[0] if len(saturated) else len(errors)
    # An error that is zero by chance lies on no power law.
    settings, errors = settings[:end][errors[:end] > 0], errors[:end][errors[:end] > 0]
    end = len(errors)
    away = np.flatnonzero(errors >= AWAY * floor)
    for start in range(away[0] if len(away) else end, end - FEWEST_POINTS + 1):
        h, e = settings[start:end], errors[start:end]
        slope, offset = theilslopes(np.log(e), np.log(h), method="joint")[:2]
        branch = Branch(float(slope), float(np.exp(offset)), float(h.min()), float(h.max()), len(h))
        if abs(np.log(e[0] / branch.error(h[0]))) <= np.log(OFF_LINE):
            return branch
    return None
