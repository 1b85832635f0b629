"""Ensembles of trees of three libraries, as one thing: margins, probabilities or predictions of arrays of rows.

What is given is copied, so that neither its threads nor anything else of it changes, nor the copy with it.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from approxgrad.models.kind import ModelError
from approxgrad.models.libraries import needing
from approxgrad.models.tree_tables import Table, entries_of, lightgbm_tables, xgboost_tables

Array = NDArray[Any]


class Ensemble(ABC):
    """A fitted ensemble of trees.

    Attributes
    ----------
    library : str
        Whose it is.
    dtype : numpy dtype
        Precision in which the library compares features with thresholds.
    features : int
        Number of features.
    names : tuple of str or None
        Their names, if the ensemble was fitted with names.
    classes : int
        Number of classes; 0 if it predicts numbers.
    factor : float or None
        What turns a margin into log-odds; None if it does not have that meaning, or there is no margin.
    boosted : bool
        Whether outputs are margins: sums over trees.
    """

    library: ClassVar[str]
    dtype: np.dtype[Any]
    features: int
    names: tuple[str, ...] | None = None
    classes: int = 0
    factor: float | None = None
    boosted: bool = True

    @property
    def offers(self) -> tuple[str, ...]:
        """The outputs that it has; the first is the default."""
        if not self.classes:
            return ("margin", "prediction") if self.boosted else ("prediction",)
        if not self.boosted:
            return ("probability",)
        return ("margin",) if self.factor is None else ("margin", "logits", "probability")

    def values(self, rows: Array, output: str) -> Array:
        """Return one of the outputs, of shape (N, K), for rows of shape (N, d) in the ensemble's precision."""
        found = np.asarray(self.margins(rows) if self.boosted and output != "prediction" else self.predictions(rows))
        found = found.reshape(len(rows), -1)
        return self.linear(found, output) if output != "probability" or not self.boosted else self._shares(found)

    def linear(self, margins: Array, output: str) -> Array:
        """Return an output from the margins, of which it is a linear function; the columns may be attributions."""
        if output != "logits" or self.factor is None:
            return margins
        own = self.factor * margins
        return np.concatenate([-own / 2, own / 2], axis=1) if margins.shape[1] == 1 else own

    def _shares(self, margins: Array) -> Array:
        logits = self.linear(margins, "logits").astype(np.float64)
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        return powers / powers.sum(axis=1, keepdims=True)

    @abstractmethod
    def predictions(self, rows: Array) -> Array:
        """Return the numbers that the library predicts, or the probabilities of a forest."""

    def margins(self, rows: Array) -> Array:
        """Return the margins, of shape (N,) or (N, K)."""
        raise NotImplementedError

    @abstractmethod
    def tables(self) -> list[Table]:
        """Return the trees, whose values sum to :meth:`margins` or :meth:`predictions`, up to a constant."""

    def spelled(self, name: str) -> str:
        """Return the name of a column as the library keeps it."""
        return name

    def seen(self, rows: Array) -> Array:
        """Return rows as the trees see them, one feature for each of the rows; raises a ModelError if there is none."""
        return rows


class XGBoostTrees(Ensemble):
    """An XGBoost booster, or a model of its scikit-learn interface."""

    library = "xgboost"
    dtype = np.dtype(np.float32)

    LINKS: ClassVar[dict[str, int]] = {
        "binary:logistic": 2,
        "binary:logitraw": 2,
        "multi:softprob": 0,
        "multi:softmax": 0,
    }
    """Objectives whose margins are log-odds, or logits of a softmax."""

    def __init__(self, model: Any, threads: int) -> None:
        with needing("trees"):
            import xgboost
        self.missing = getattr(model, "missing", np.nan)
        booster = model
        if isinstance(model, xgboost.Booster):
            try:
                rounds = model.num_boosted_rounds()
            except xgboost.core.XGBoostError:
                rounds = 0
            if not rounds:
                raise ModelError("model: holds no trees; train it first")
        else:
            booster = model.get_booster()
            best = booster.attr("best_iteration")
            booster = booster if best is None else booster[: int(best) + 1]
        self.booster = xgboost.Booster(model_file=booster.save_raw("ubj"))
        self.booster.set_param({"nthread": threads, "device": "cpu"})
        learner = json.loads(self.booster.save_config())["learner"]
        if learner["gradient_booster"]["name"] == "gblinear":
            raise ModelError("model: is linear (gblinear), expected trees")
        self.features = int(self.booster.num_features())
        names = self.booster.feature_names
        self.names = tuple(names) if names else None
        kinds = self.booster.feature_types or []
        refuse_categorical([number for number, kind in enumerate(kinds) if kind == "c"], self.names)
        objective = learner["objective"]["name"]
        self.classes = int(learner["learner_model_param"]["num_class"]) or 2 * objective.startswith("binary:")
        self.factor = 1.0 if objective in self.LINKS else None

    def margins(self, rows: Array) -> Array:
        """Return ``output_margin``."""
        return self._predicted(rows, "margin")

    def predictions(self, rows: Array) -> Array:
        """Return what ``predict`` returns."""
        return self._predicted(rows, "value")

    def _predicted(self, rows: Array, kind: str) -> Array:
        found: Array = self.booster.inplace_predict(
            rows, predict_type=kind, missing=self.missing, validate_features=False
        )
        return found

    def tables(self) -> list[Table]:
        """Return the trees of the booster."""
        if not np.isnan(self.missing):
            raise ModelError(f"model: takes {self.missing:g} for a missing value, which TreeSHAP does not know")
        return xgboost_tables(bytes(self.booster.save_raw("ubj")))[0]


class LightGBMTrees(Ensemble):
    """A LightGBM booster, or a model of its scikit-learn interface."""

    library = "lightgbm"
    dtype = np.dtype(np.float64)

    def __init__(self, model: Any, threads: int) -> None:
        with needing("trees"):
            import lightgbm
        booster = model if isinstance(model, lightgbm.Booster) else model.booster_
        if not booster.num_trees():
            raise ModelError("model: holds no trees; train it first")
        # Up to the best iteration, like a prediction.
        text = booster.model_to_string()
        self.booster = lightgbm.Booster(model_str=text)
        self.threads = threads
        head = text.partition("\nTree=")[0]
        entries = entries_of(head)
        self.features = int(self.booster.num_feature())
        names = self.booster.feature_name()
        self.names = None if names == [f"Column_{number}" for number in range(self.features)] else tuple(names)
        ranges = entries.get("feature_infos", "").split()
        refuse_categorical(
            [number for number, own in enumerate(ranges) if own != "none" and not own.startswith("[")], self.names
        )
        objective, *options = entries.get("objective", "custom").split()
        # The raw score of a random forest is a sum, of which its link takes the mean.
        average = "average_output" in head.splitlines()
        self.share = 1 / self.booster.current_iteration() if average else 1.0
        self.classes = 2 if objective == "binary" else int(entries.get("num_class", 1))
        self.classes = 0 if self.classes == 1 else self.classes
        if objective == "binary":
            given = dict(option.split(":") for option in options if ":" in option)
            self.factor = float(given.get("sigmoid", 1))
        elif objective == "multiclass":
            self.factor = 1.0

    def spelled(self, name: str) -> str:
        """Return the name with underscores instead of spaces."""
        return name.replace(" ", "_")

    def margins(self, rows: Array) -> Array:
        """Return the raw score; of a random forest its mean, to which the link belongs."""
        return self.share * self._predicted(rows, raw_score=True)

    def predictions(self, rows: Array) -> Array:
        """Return what ``predict`` returns."""
        return self._predicted(rows, raw_score=False)

    def _predicted(self, rows: Array, *, raw_score: bool) -> Array:
        return np.asarray(self.booster.predict(rows, raw_score=raw_score, num_threads=self.threads))

    def tables(self) -> list[Table]:
        """Return the trees of the booster."""
        tables, _ = lightgbm_tables(self.booster.model_to_string())
        return [replace(table, values=self.share * table.values) for table in tables]


def refuse_categorical(features: list[int], names: tuple[str, ...] | None) -> None:
    """Refuse, by a ModelError, an ensemble with categorical features, given by their numbers."""
    if features:
        own = ", ".join(str(number) if names is None else names[number] for number in features[:3])
        more = f" and {len(features) - 3} more" if len(features) > 3 else ""
        raise ModelError(
            f"model: was trained with categorical features ({own}{more}), along which there is no difference; expected "
            "numbers only, such as one column of 0 and 1 for each category"
        )
