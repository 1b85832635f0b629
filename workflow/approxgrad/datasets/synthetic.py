"""Tabular data whose every feature has a known effect on the target: the synthetic study of the thesis.

Features are independent, X_j ~ N(mu_j, s_j^2) with mu_j ~ U(-2, 2) and s_j^2 ~ U(0.9, 1.1). The effect of feature j
at value x is ``beta_j g(x) + 0.25``, and the target is the sum of all effects plus 0.25 and noise from N(0, 1).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from approxgrad.datasets.normalisation import configured
from approxgrad.storage.tables import Split

BETA = {
    "linear": (-1.0, -0.5, 0.8, 0.0, -1.6, 2.0, 0.5, 2.3, 1.5, -1.75, -0.7, 1.9),
    "nonlinear": (-1.0, -2.5, 2.8, 0.0, -1.6, 2.0, 0.5, 2.3, 1.5, -1.75, -1.7, 1.9),
}
OFFSET = 0.25
PLATEAU_EDGE = NormalDist().inv_cdf(0.75)
TAIL_EDGE = 1.5


def effects(features: NDArray[np.float64], effect: str) -> NDArray[np.float64]:
    """Return the true effect of every feature.

    Parameters
    ----------
    features : ndarray
        Shape (N, 12).
    effect : str
        ``linear``: g(x) = x. ``nonlinear``: g(x) = 1 where abs(x) is below the 0.75 quantile of N(0, 1), else -1,
        and from abs(x) = 1.5 on ``sign(x) 0.05 (x^2 - 1.5^2) - 1``.

    Returns
    -------
    ndarray
        Shape (N, 12).
    """
    if effect == "linear":
        shape = features
    else:
        plateaus = np.where(np.abs(features) < PLATEAU_EDGE, 1.0, -1.0)
        tails = np.sign(features) * 0.05 * (features**2 - TAIL_EDGE**2) - 1
        shape = np.where(np.abs(features) >= TAIL_EDGE, tails, plateaus)
    return np.asarray(shape * np.array(BETA[effect]) + OFFSET)


def sources(name: str, options: dict[str, Any]) -> list[str]:
    """Return no file: the rows are generated."""
    return []


def test_rows(options: dict[str, Any]) -> int:
    """Return the number of test rows."""
    return int(options["rows"]["test"])


def training_rows(options: dict[str, Any]) -> int:
    """Return the number of training rows."""
    return int(options["rows"]["train"])


def feature_shape(options: dict[str, Any]) -> tuple[int, ...]:
    """Return the number of features."""
    return (len(BETA[options["effect"]]),)


def is_image(options: dict[str, Any]) -> bool:
    """Return False."""
    return False


def has_truth(options: dict[str, Any]) -> bool:
    """Return True."""
    return True


def prepare(options: dict[str, Any], seed: int, sources: Sequence[Path] = ()) -> dict[str, Split]:
    """Return the generated parts.

    Parameters
    ----------
    options : dict
        ``effect``: linear or nonlinear; ``rows``: number of rows of each part; ``normalisation``.
    seed : int
        Of the distribution's parameters, the features and the noise.
    sources : sequence of path
        Not used.
    """
    random = np.random.default_rng(seed)
    width = len(BETA[options["effect"]])
    mean = random.uniform(-2, 2, width)
    variance = random.uniform(0.9, 1.1, width)
    shift, scale = configured(options, width)
    parts = {}
    for name, rows in options["rows"].items():
        features = random.normal(mean, np.sqrt(variance), (rows, width))
        true_effects = effects(features, options["effect"])
        target = true_effects.sum(axis=1) + OFFSET + random.normal(size=rows)
        parts[name] = Split(
            features=features.astype(np.float32),
            target=target.astype(np.float32),
            effects=true_effects.astype(np.float32),
            feature_shape=(width,),
            mean=shift,
            std=scale,
        )
    return parts
