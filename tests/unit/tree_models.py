"""Small fitted ensembles of trees, and what their libraries say of them."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest

pytest.importorskip("skops", reason="needs the extra trees")
pytest.importorskip("shap", reason="needs the extra trees")
lightgbm = pytest.importorskip("lightgbm", reason="needs the extra trees")
xgboost = pytest.importorskip("xgboost", reason="needs the extra trees")

from sklearn import ensemble, tree  # noqa: E402
from sklearn.pipeline import make_pipeline  # noqa: E402
from sklearn.preprocessing import StandardScaler  # noqa: E402

FEATURES = 5
QUIET = {"verbose": -1, "n_jobs": 1}
SMALL = {"n_estimators": 6, "random_state": 0}

ESTIMATORS: dict[str, tuple[type, type, dict[str, Any]]] = {
    "xgboost": (xgboost.XGBClassifier, xgboost.XGBRegressor, {"max_depth": 3, "n_jobs": 1}),
    "xgboost forest": (xgboost.XGBRFClassifier, xgboost.XGBRFRegressor, {"max_depth": 3, "n_jobs": 1}),
    "xgboost dart": (
        *(xgboost.XGBClassifier, xgboost.XGBRegressor),
        {"booster": "dart", "rate_drop": 0.5, "max_depth": 3, "n_jobs": 1},
    ),
    "lightgbm": (lightgbm.LGBMClassifier, lightgbm.LGBMRegressor, QUIET),
    "lightgbm forest": (
        *(lightgbm.LGBMClassifier, lightgbm.LGBMRegressor),
        QUIET | {"boosting_type": "rf", "bagging_freq": 1, "bagging_fraction": 0.7},
    ),
    "boosting": (ensemble.GradientBoostingClassifier, ensemble.GradientBoostingRegressor, {}),
    "histograms": (ensemble.HistGradientBoostingClassifier, ensemble.HistGradientBoostingRegressor, {}),
    "forest": (ensemble.RandomForestClassifier, ensemble.RandomForestRegressor, {"n_jobs": 2}),
    "extra trees": (ensemble.ExtraTreesClassifier, ensemble.ExtraTreesRegressor, {}),
    "tree": (tree.DecisionTreeClassifier, tree.DecisionTreeRegressor, {}),
}
"""Classes for classes and numbers, with options, by a name."""

PIPED = "boosting in a pipeline"
NAMES = [*ESTIMATORS, PIPED]


@cache
def data(classes: int, seed: int = 0) -> tuple[Any, Any]:
    """Return 120 rows of float32 and their targets; features interact."""
    rows = np.random.default_rng(seed).normal(size=(120, FEATURES)).astype(np.float32)
    score = rows[:, 0] + rows[:, 1] * rows[:, 2] - 0.5 * rows[:, 3]
    return rows, np.digitize(score, np.quantile(score, np.arange(1, classes) / classes)) if classes else score


@cache
def fitted(name: str, classes: int) -> Any:
    """Return a fitted estimator."""
    rows, target = data(classes)
    return unfitted(name, classes).fit(rows, target)


def unfitted(name: str, classes: int) -> Any:
    """Return an estimator."""
    if name == PIPED:
        return make_pipeline(StandardScaler(), unfitted("boosting", classes))
    for_classes, for_numbers, options = ESTIMATORS[name]
    own = (for_classes if classes else for_numbers)()
    known = own.get_params()
    own.set_params(**options, random_state=0)
    return own.set_params(
        **({"max_iter": 6} if "max_iter" in known else {"n_estimators": 6} if "n_estimators" in known else {})
    )


def margins(estimator: Any, rows: Any) -> Any:
    """Return what the library itself says before the link, or of a forest its prediction: shape (N, K)."""
    kind = type(estimator).__module__.partition(".")[0]
    if kind == "xgboost":
        found = estimator.predict(rows, output_margin=True)
    elif kind == "lightgbm":
        found = estimator.predict(rows, raw_score=True)
        # Its random forest gives a sum there, and its probabilities are those of the mean.
        found = found / (estimator.n_estimators_ if estimator.boosting_type == "rf" else 1)
    elif hasattr(estimator, "decision_function"):
        found = estimator.decision_function(rows)
    else:
        found = (getattr(estimator, "predict_proba", None) or estimator.predict)(rows)
    return np.asarray(found).reshape(len(rows), -1)
