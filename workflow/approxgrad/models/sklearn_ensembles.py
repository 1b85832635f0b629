"""Ensembles of trees of scikit-learn, alone or at the end of a pipeline."""

from __future__ import annotations

import copy
from functools import cache
from typing import Any

import numpy as np

from approxgrad.models.kind import ModelError
from approxgrad.models.libraries import needing
from approxgrad.models.tree_ensembles import Array, Ensemble, refuse_categorical
from approxgrad.models.tree_tables import Table, scikit_learn_table

SCALERS = ("MaxAbsScaler", "MinMaxScaler", "PowerTransformer", "QuantileTransformer", "RobustScaler", "StandardScaler")
"""Steps of scikit-learn that change every feature by itself: attributions to what comes out are to what goes in."""


class Forest(Ensemble):
    """A forest or a single tree, which predicts means over trees: probabilities or numbers."""

    library = "scikit-learn"
    dtype = np.dtype(np.float32)
    boosted = False

    def __init__(self, model: Any, threads: int) -> None:
        self.threads = threads
        self.model = copy.deepcopy(model)
        # The sum over trees depends on their order, which several threads leave to chance.
        own = {"n_jobs": 1, "verbose": 0}
        self.model.set_params(**{name: value for name, value in own.items() if name in self.model.get_params(False)})
        self.features = int(self.model.n_features_in_)
        self.names = names_of(model)
        if hasattr(model, "classes_"):
            if isinstance(model.classes_, list):
                raise ModelError(f"model: predicts {len(model.classes_)} classes of each row, expected one")
            self.classes = len(model.classes_)

    def predictions(self, rows: Array) -> Array:
        """Return ``predict_proba`` for classes, else ``predict``."""
        return np.asarray((self.model.predict_proba if self.classes else self.model.predict)(framed(rows, self.names)))

    def tables(self) -> list[Table]:
        """Return the trees, of which each adds its share to the mean."""
        members = getattr(self.model, "estimators_", [self.model])
        shares = self.classes > 0
        return [scikit_learn_table(own.tree_, 1 / len(members), shares=shares) for own in members]


class GradientBoosting(Forest):
    """Gradient boosting with exact splits."""

    boosted = True

    def __init__(self, model: Any, threads: int) -> None:
        super().__init__(model, threads)
        self.factor = None if not self.classes else 2.0 if model.loss == "exponential" else 1.0

    def margins(self, rows: Array) -> Array:
        """Return ``decision_function`` for classes, else ``predict``, which has no link."""
        own = self.model.decision_function if self.classes else self.model.predict
        return np.asarray(own(framed(rows, self.names)))

    def tables(self) -> list[Table]:
        """Return the trees, which were fitted before the learning rate.

        Raises a ModelError if they correct another model than a constant.
        """
        start = getattr(self.model, "init_", None)
        if start is not None and not (isinstance(start, str) or type(start).__name__.startswith("Dummy")):
            raise ModelError(
                f"model: begins with a {type(start).__name__} (init), which TreeSHAP of its trees leaves out"
            )
        rate = self.model.learning_rate
        return [
            scikit_learn_table(member.tree_, rate, column=column)
            for iteration in self.model.estimators_
            for column, member in enumerate(iteration)
        ]


class HistGradientBoosting(GradientBoosting):
    """Gradient boosting with binned splits, which compares in float64."""

    dtype = np.dtype(np.float64)

    def __init__(self, model: Any, threads: int) -> None:
        super().__init__(model, threads)
        categorical = getattr(model, "is_categorical_", None)
        refuse_categorical([] if categorical is None else np.flatnonzero(categorical).tolist(), self.names)

    def margins(self, rows: Array) -> Array:
        """Return ``decision_function`` for classes, else ``predict``, or its logarithm where a link follows."""
        with _openmp().limit(limits=self.threads, user_api="openmp"):
            found = super().margins(rows)
        return np.log(found) if not self.classes and self.model.loss in ("poisson", "gamma") else found

    def predictions(self, rows: Array) -> Array:
        """Return ``predict``."""
        with _openmp().limit(limits=self.threads, user_api="openmp"):
            return super().predictions(rows)

    def tables(self) -> list[Table]:
        """Return the trees."""
        # There is no public way to them.
        iterations = self.model._predictors
        return [scikit_learn_table(own, column=column) for all_ in iterations for column, own in enumerate(all_)]


class Piped(Ensemble):
    """A pipeline: steps that transform rows, and an ensemble at the end."""

    library = "scikit-learn"

    def __init__(self, pipeline: Any, last: Ensemble, dtype: str) -> None:
        # The steps compute in the precision of what they get, which can move a row over a threshold.
        self.dtype = np.dtype(dtype)
        self.first = copy.deepcopy(pipeline[:-1])
        self.last = last
        self.features = int(getattr(pipeline, "n_features_in_", last.features))
        self.names = names_of(pipeline)
        self.classes, self.factor, self.boosted = last.classes, last.factor, last.boosted

    def values(self, rows: Array, output: str) -> Array:
        """Return one of the outputs of the last step."""
        return self.last.values(self._transformed(rows), output)

    def predictions(self, rows: Array) -> Array:
        """Return the predictions of the last step."""
        return self.last.predictions(self._transformed(rows))

    def _transformed(self, rows: Array) -> Array:
        found = self.first.transform(framed(rows, self.names))
        return np.asarray(found.toarray() if hasattr(found, "toarray") else found).astype(self.last.dtype)

    def seen(self, rows: Array) -> Array:
        """Return the transformed rows as the last step sees them."""
        for name, step in self.first.steps:
            kind = step if isinstance(step, str) or step is None else type(step).__name__
            if kind not in (*SCALERS, "passthrough", None):
                raise ModelError(
                    f"model: the step {name} ({kind}) of the pipeline may mix features, so TreeSHAP of the trees after "
                    f"it is none of the inputs; expected one of {', '.join(SCALERS)}"
                )
        return self.last.seen(self._transformed(rows))

    def tables(self) -> list[Table]:
        """Return the trees of the last step."""
        return self.last.tables()


def names_of(estimator: Any) -> tuple[str, ...] | None:
    """Return the names of the columns that an estimator of scikit-learn was fitted with."""
    names = getattr(estimator, "feature_names_in_", None)
    return None if names is None else tuple(map(str, names))


def framed(rows: Array, names: tuple[str, ...] | None) -> Any:
    """Return rows as a data frame if there are names, for which an estimator that was fitted with them asks."""
    if names is None:
        return rows
    with needing("study"):
        import pandas as pd
    return pd.DataFrame(rows, columns=list(names), copy=False)


@cache
def _openmp() -> Any:
    """Return the threads of OpenMP, for which scikit-learn has no option."""
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()
