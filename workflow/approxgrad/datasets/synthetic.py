"""Tabular data with a known effect of every feature on the target: the synthetic study of the thesis.

Features are independent, X_j ~ N(mu_j, s_j^2) with mu_j ~ U(-2, 2) and s_j^2 ~ U(0.9, 1.1). The effect of feature j
at value x is ``beta_j g(x) + 0.25``; the target is the sum of all effects plus 0.25 and noise from N(0, 1).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist
from typing import Annotated, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from approxgrad.datasets.kind import DATASETS, PARTS, DatasetKind
from approxgrad.descriptions import Description, Integer, option
from approxgrad.storage.splits import Split

BETA = {
    "linear": (-1.0, -0.5, 0.8, 0.0, -1.6, 2.0, 0.5, 2.3, 1.5, -1.75, -0.7, 1.9),
    "nonlinear": (-1.0, -2.5, 2.8, 0.0, -1.6, 2.0, 0.5, 2.3, 1.5, -1.75, -1.7, 1.9),
}
FEATURES = 12
OFFSET = 0.25
PLATEAU_EDGE = NormalDist().inv_cdf(0.75)
TAIL_EDGE = 1.5


def effects(features: NDArray[np.float64], effect: str) -> NDArray[np.float64]:
    """Return the true effect of every feature, both of shape (N, 12).

    ``linear``: g(x) = x. ``nonlinear``: g(x) = 1 where abs(x) is below the 0.75 quantile of N(0, 1), else -1, and from
    abs(x) = 1.5 on ``sign(x) 0.05 (x^2 - 1.5^2) - 1``.
    """
    if effect == "linear":
        shape = features
    else:
        plateaus = np.where(np.abs(features) < PLATEAU_EDGE, 1.0, -1.0)
        tails = np.sign(features) * 0.05 * (features**2 - TAIL_EDGE**2) - 1
        shape = np.where(np.abs(features) >= TAIL_EDGE, tails, plateaus)
    return np.asarray(shape * np.array(BETA[effect]) + OFFSET)


def slopes(features: NDArray[np.float64], effect: str) -> NDArray[np.float64]:
    """Return the derivative of every effect, both of shape (N, 12); it is 0 on a plateau, and at a jump."""
    if effect == "linear":
        shape = np.ones_like(features)
    else:
        shape = np.where(np.abs(features) >= TAIL_EDGE, 0.1 * np.abs(features), 0.0)
    return np.asarray(shape * np.array(BETA[effect]))


@dataclass(frozen=True)
class Rows(Description):
    """Number of rows of each part."""

    train: Annotated[Integer, option("Rows to train on.", ge=2, le=100_000_000)]
    validation: Annotated[Integer, option("Rows that choose the best epoch.", ge=2, le=100_000_000)]
    test: Annotated[Integer, option("Rows that are attributed and tested on.", ge=2, le=100_000_000)]


@DATASETS.add
@dataclass(frozen=True, kw_only=True)
class Synthetic(DatasetKind):
    """Generated rows with known effects."""

    name: ClassVar[str] = "synthetic"
    feature_shape = (FEATURES,)
    has_truth = True

    effect: Annotated[Literal["linear", "nonlinear"], option("How a feature acts on the target.")]
    rows: Annotated[Rows, option("Rows of each part.")] = Rows(700, 300, 300)

    @property
    def test_rows(self) -> int:
        """Number of test rows."""
        return self.rows.test

    @property
    def outputs(self) -> int:
        """One: the data are a regression."""
        return 1

    @property
    def training_rows(self) -> int:
        """Number of training rows."""
        return self.rows.train

    def true_effects(self, features: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return effects and slopes."""
        return effects(features, self.effect), slopes(features, self.effect)

    def prepare(self, seed: int, sources: Sequence[Path] = ()) -> dict[str, Split]:
        """Return the generated parts; the seed draws the distribution's parameters, the features and the noise."""
        random = np.random.default_rng(seed)
        mean = random.uniform(-2, 2, FEATURES)
        variance = random.uniform(0.9, 1.1, FEATURES)
        parts = {}
        # The order of the draws.
        for part in sorted(PARTS):
            rows = getattr(self.rows, part)
            features = random.normal(mean, np.sqrt(variance), (rows, FEATURES))
            true_effects = effects(features, self.effect)
            target = true_effects.sum(axis=1) + OFFSET + random.normal(size=rows)
            inputs, numbers, known = (values.astype(np.float32) for values in (features, target, true_effects))
            parts[part] = self.split(inputs, numbers, effects=known)
        return {part: parts[part] for part in PARTS}
