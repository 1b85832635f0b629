"""Ensembles of trees as models: files or estimators of XGBoost, LightGBM and scikit-learn."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from approxgrad.gradients.evaluating.checks import is_number
from approxgrad.messages import one_line
from approxgrad.models.black_box import Array, BlackBox
from approxgrad.models.evaluating import explained
from approxgrad.models.kind import ModelError
from approxgrad.models.tree_ensembles import Ensemble, LightGBMTrees, XGBoostTrees
from approxgrad.models.tree_files import read_ensemble
from approxgrad.provenance.digests import content_digest

SUPPORTED = (
    "a file, an XGBoost or LightGBM booster or estimator, scikit-learn's GradientBoosting, HistGradientBoosting, "
    "RandomForest, ExtraTrees or DecisionTree, or a pipeline with one of these at the end"
)

OUTPUTS = ("margin", "logits", "probability", "prediction")


class TreeModel(BlackBox):
    """An ensemble of decision trees, which is constant between thresholds and so has no gradient of any use.

    A call takes a tensor, an array or a data frame of shape (N, d), features in the order of the training, and returns
    the outputs of shape (N, K). Rows of another shape with d numbers, such as images, are flattened. The model is
    copied: what is given stays as it is.

    Parameters
    ----------
    model : path, booster or estimator
        XGBoost (``.json``, ``.ubj``), LightGBM (``.txt``) or scikit-learn (``.skops``): a file, which is told by its
        content, or what is in memory. A pickle is refused, because it can run any code.
    output : str, optional
        ``margin``: the sum over boosted trees before the link, one column for two classes (the log-odds of the second),
        else one for each class or number. ``logits``: a column for each class, whose softmax is the probabilities; for
        two classes -m/2 and m/2 of the margin m. ``probability``: of each class. ``prediction``: numbers as the library
        predicts them. By default the margin, or what a forest predicts.
    transform, batch_size, round_inputs
        As in :class:`approxgrad.models.black_box.BlackBox`.
    dtype : str, optional
        For a pipeline: ``float32`` or ``float64``, the precision of the rows that it was trained with, which its steps
        then compute in; by default float64.
    threads : int
        Threads of an evaluation; outputs do not depend on it. Forests of scikit-learn always take one.

    Attributes
    ----------
    dtype : numpy dtype
        Precision in which the library compares features with thresholds: float32 for XGBoost and for scikit-learn
        without histograms, else float64.
    feature_names : tuple of str or None
        Names of the features, if the model was trained with them; the columns of a data frame must be these.
    output : str
        What is returned.

    Raises
    ------
    ModelError
        If there is no such file, it is damaged or of another kind, the model is not an ensemble of trees, is not fitted
        or has categorical features, its library is not installed, or it does not have that output; and by a call, for
        NaN.
    """

    def __init__(
        self,
        model: Any,
        *,
        output: str | None = None,
        transform: str | Callable[[Array], Array] | None = None,
        batch_size: int | None = None,
        threads: int = 1,
        dtype: str | None = None,
        round_inputs: bool = False,
    ) -> None:
        super().__init__(transform=transform, batch_size=batch_size, round_inputs=round_inputs)
        if not (is_number(threads) and isinstance(threads, int) and threads > 0):
            raise ValueError(f"threads: expected a positive integer, got {threads!r}")
        if output is not None and output not in OUTPUTS:
            raise ValueError(f"output: got {output!r}, expected one of {', '.join(OUTPUTS)}")
        if dtype not in (None, "float32", "float64"):
            raise ValueError(f"dtype: got {dtype!r}, expected float32 or float64")
        self.threads, self._pipeline_dtype = threads, dtype
        self._path = Path(model).absolute() if isinstance(model, (str, PathLike)) else None
        self._read(model)
        self.choose_output(output)

    def choose_output(self, output: str | None) -> None:
        """Return another of the outputs from now on; None stands for the default."""
        offers = self.ensemble.offers
        self.output = offers[0] if output is None else output
        if self.output not in offers:
            raise ModelError(f"output: got {output!r}, expected {' or '.join(offers)}, which this model has")

    def _read(self, model: Any) -> None:
        given = model if self._path is None else read_ensemble(self._path)
        try:
            self.ensemble = ensemble(given, self.threads, self._pipeline_dtype)
        except ModelError as error:
            raise error if self._path is None else ModelError(f"{self._path}: {error}") from None
        self.dtype, self.shape = self.ensemble.dtype, (self.ensemble.features,)
        self.feature_names = self.ensemble.names
        self._digest = "" if self._path is None else content_digest(self._path)

    def __repr__(self) -> str:
        own = type(self.ensemble).__name__ if self._path is None else repr(str(self._path))
        return f"TreeModel({own}, output={self.output!r})"

    def __getstate__(self) -> dict[str, Any]:
        kept = ("ensemble",) if self._path is not None else ()
        return {name: value for name, value in vars(self).items() if name not in kept}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        if self._path is not None:
            before = self._digest
            self._read(self._path)
            if self._digest != before:
                raise ModelError(f"{self._path}: is another file than it was when the model was pickled")

    @property
    def files(self) -> tuple[Path, ...]:
        """The file that the model is read from."""
        return () if self._path is None else (self._path,)

    def check_columns(self, columns: Sequence[Any]) -> None:
        """Refuse columns of a data frame that are not the features in their order; numbers as names are passed over."""
        if self.feature_names is None or all(isinstance(name, (int, np.integer)) for name in columns):
            return
        own, known = [self.ensemble.spelled(str(name)) for name in columns], list(self.feature_names)
        if own == known:
            return
        wrong = [f"{name!r} is missing" for name in known if name not in own]
        wrong += [f"{name!r} is unknown" for name in own if name not in known]
        wrong = wrong or ["they are in another order; take X[list(model.feature_names)]"]
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise ModelError(f"inputs: columns are not the model's features: {one_line('; '.join(wrong[:3]))}{more}")

    def evaluate(self, rows: Array) -> Array:
        """Return the outputs (N, K) at an array (N, d)."""
        if rows.dtype.kind == "f" and rows.ndim and np.isnan(rows).any():
            row = int(np.isnan(rows).reshape(len(rows), -1).any(axis=1).argmax())
            raise ModelError(
                f"inputs: row {row} holds NaN, and there is no difference of a missing value; fill it first"
            )
        return super().evaluate(rows.reshape(len(rows), -1) if rows.ndim > 2 else rows)

    def outputs(self, rows: Array) -> Array:
        """Return the outputs of one batch."""
        with explained("model: fails"):
            return self.ensemble.values(rows, self.output)


def ensemble(model: Any, threads: int, dtype: str | None = None) -> Ensemble:
    """Return what evaluates a fitted model in memory; `dtype` is for pipelines.

    Raises a ModelError if it is not an ensemble of trees that is supported, or not fitted.
    """
    # What a library made can only be there if the library is.
    if dtype is not None and not hasattr(model, "steps"):
        raise ModelError(f"dtype: is for pipelines, the precision of a {type(model).__name__} is that of its library")
    loaded = {name: sys.modules.get(name) for name in ("xgboost", "lightgbm", "sklearn")}
    try:
        if (own := loaded["xgboost"]) and isinstance(model, (own.Booster, own.XGBModel)):
            return XGBoostTrees(model, threads)
        if (own := loaded["lightgbm"]) and isinstance(model, (own.Booster, own.LGBMModel)):
            return LightGBMTrees(model, threads)
        if loaded["sklearn"]:
            return _of_scikit_learn(model, threads, dtype or "float64")
    except ModelError:
        raise
    except Exception as error:
        if type(error).__name__ in ("NotFittedError", "LGBMNotFittedError"):
            raise ModelError(f"model: {type(model).__name__} is not fitted; call its fit first") from None
        said = one_line(f"{type(error).__name__}: {error}")
        raise ModelError(f"model: {type(model).__name__} cannot be read ({said})") from error
    raise _unknown(model)


def _of_scikit_learn(model: Any, threads: int, dtype: str) -> Ensemble:
    from sklearn import ensemble as ensembles
    from sklearn.pipeline import Pipeline
    from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor
    from sklearn.utils.validation import check_is_fitted

    from approxgrad.models.sklearn_ensembles import Forest, GradientBoosting, HistGradientBoosting, Piped

    if isinstance(model, Pipeline):
        return Piped(model, ensemble(model.steps[-1][1], threads), dtype)
    forests = (
        *(ensembles.RandomForestClassifier, ensembles.RandomForestRegressor),
        *(ensembles.ExtraTreesClassifier, ensembles.ExtraTreesRegressor),
        *(DecisionTreeClassifier, DecisionTreeRegressor),
    )
    kinds: tuple[tuple[type[Forest], tuple[type, ...]], ...] = (
        (HistGradientBoosting, (ensembles.HistGradientBoostingClassifier, ensembles.HistGradientBoostingRegressor)),
        (GradientBoosting, (ensembles.GradientBoostingClassifier, ensembles.GradientBoostingRegressor)),
        (Forest, forests),
    )
    for kind, estimators in kinds:
        if isinstance(model, estimators):
            check_is_fitted(model)
            return kind(model, threads)
    raise _unknown(model)


def _unknown(model: Any) -> ModelError:
    helps = "; pass its best_estimator_" if hasattr(model, "best_estimator_") else ""
    return ModelError(f"model: got {type(model).__name__}, expected {SUPPORTED}{helps}")
