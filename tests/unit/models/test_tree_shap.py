"""Shapley values of trees against their definition, and Integrated Gradients over differences against them."""

from itertools import combinations
from math import comb

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn import datasets
from sklearn.decomposition import PCA
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler

from approxgrad import FiniteDifference, TreeModel, attribute, tree_shap
from approxgrad.models.kind import ModelError
from tree_models import FEATURES, NAMES, PIPED, data, fitted, unfitted, xgboost


def shapley(model, row, start, target):
    """Shapley values by their definition: over all sets of the other features, in float64."""
    found, features = np.zeros(FEATURES), range(FEATURES)
    sets = [own for size in range(FEATURES + 1) for own in combinations(features, size)]
    mixed = np.stack([np.where(np.isin(features, own), row, start) for own in sets])
    outputs = dict(zip(sets, np.asarray(model(mixed), np.float64)[:, target], strict=True))
    for own in sets:
        for feature in set(features) - set(own):
            weight = 1 / (FEATURES * comb(FEATURES - 1, len(own)))
            found[feature] += weight * (outputs[tuple(sorted((*own, feature)))] - outputs[own])
    return found


@pytest.mark.parametrize("classes", [0, 2, 3])
@pytest.mark.parametrize("name", NAMES)
def test_the_values_are_those_of_the_definition(name, classes):
    model, (rows, _) = TreeModel(fitted(name, classes)), data(classes, seed=1)
    starts, columns = rows[-2:], model(rows[:1]).shape[1]
    target = None if columns == 1 else [0, columns - 1]
    try:
        found = tree_shap(model, rows[:2], starts, target)
    except ModelError as error:
        # Releases of shap and xgboost that do not fit together are refused.
        if name == "xgboost dart" and "this release of shap does not understand" in str(error):
            pytest.skip(str(error))
        raise
    for row, own in enumerate(found):
        column = 0 if target is None else target[row]
        expected = np.mean([shapley(model, rows[row], start, column) for start in starts], axis=0)
        # shap keeps leaves in float32.
        np.testing.assert_allclose(own, expected, atol=2e-6 * max(1, np.abs(expected).max()))


@pytest.mark.parametrize("name", ["xgboost", "lightgbm", "histograms"])
def test_logits_of_two_classes_share_the_values_of_the_margin(name):
    rows, _ = data(2)
    margin = tree_shap(TreeModel(fitted(name, 2)), rows[:3], 0)
    logits = TreeModel(fitted(name, 2), output="logits")
    np.testing.assert_allclose(tree_shap(logits, rows[:3], 0, 1), margin / 2, rtol=1e-6)
    np.testing.assert_allclose(tree_shap(logits, rows[:3], 0, [0, 1, 0]), margin / 2 * [[-1], [1], [-1]], rtol=1e-6)


def test_rows_beside_a_threshold_are_on_their_side():
    """Deep trees of scikit-learn have thresholds between two numbers of float32, which shap alone rounds."""
    features, target = datasets.load_diabetes(return_X_y=True)
    rows = ((features - features.mean(axis=0)) / features.std(axis=0)).astype(np.float32)
    for name in ("forest", "histograms", "lightgbm"):
        model = TreeModel(unfitted(name, 0).set_params(max_depth=None if name == "forest" else 12).fit(rows, target))
        found = tree_shap(model, rows[:40], rows.mean(axis=0))
        change = model(rows[:40])[:, 0] - model(rows.mean(axis=0)[None])[0, 0]
        np.testing.assert_allclose(found.sum(axis=1), change, atol=1e-3)


def test_inputs_and_background_of_every_kind():
    rows, target = data(0)
    names = [f"n{number}" for number in range(FEATURES)]
    frame = pd.DataFrame(rows, columns=names)
    model = TreeModel(unfitted("xgboost", 0).fit(frame, target))
    expected = tree_shap(model, rows[:3], rows[5:7])
    assert expected.dtype == np.float32
    tensor = tree_shap(model, torch.from_numpy(rows[:3]), torch.from_numpy(rows[5:7]))
    np.testing.assert_array_equal(tensor.numpy(), expected)
    found = tree_shap(model, frame[:3], frame[5:7])
    assert list(found.columns) == names
    np.testing.assert_array_equal(found.to_numpy(), expected)
    mean = tree_shap(model, frame[:3], frame.mean()[names[::-1]])
    np.testing.assert_allclose(mean.to_numpy(), tree_shap(model, rows[:3], rows.mean(axis=0)), atol=1e-6)
    np.testing.assert_array_equal(tree_shap(model, rows[:3], 0), tree_shap(model, rows[:3], np.zeros(FEATURES)))
    images = tree_shap(TreeModel(fitted("xgboost", 0)), rows[:3].reshape(3, 1, 1, FEATURES), 0)
    assert images.shape == (3, 1, 1, FEATURES)


def test_a_pipeline_of_scalers_is_explained_and_others_are_not():
    rows, target = data(0)
    piped, alone = TreeModel(fitted(PIPED, 0)), TreeModel(fitted("boosting", 0))
    np.testing.assert_allclose(tree_shap(piped, rows[:3], 0), tree_shap(alone, rows[:3], 0), atol=1e-5)
    mixed = TreeModel(make_pipeline(StandardScaler(), PCA(), unfitted("boosting", 0)).fit(rows, target))
    with pytest.raises(ModelError, match=r"model: the step pca \(PCA\) of the pipeline may mix features"):
        tree_shap(mixed, rows[:3], 0)


NUMBERS = {"xgboost": {"multi_strategy": "multi_output_tree"}, "lightgbm": {"linear_tree": True}}
CALLS = [
    (lambda model, rows: tree_shap(lambda own: own, rows, 0), "model: expected a TreeModel, got function"),
    (lambda model, rows: tree_shap(model, [[1.0]], 0), "inputs: expected a tensor, an array or a pandas DataFrame"),
    (lambda model, rows: tree_shap(model, rows, rows[0, :3]), r"background: got shape \(3,\), expected rows of 5"),
    (lambda model, rows: tree_shap(model, rows, np.nan), "background: expected finite values"),
    (lambda model, rows: tree_shap(model, rows, ["a"] * 5), "background: holds <U1, expected real numbers"),
    (
        lambda model, rows: tree_shap(
            TreeModel(unfitted("xgboost", 0).set_params(missing=0.0).fit(rows, rows[:, 0])), rows, 0
        ),
        "model: takes 0 for a missing value, which TreeSHAP does not know",
    ),
    (lambda model, rows: tree_shap(model, rows, 0, 3), "target: .* is out of range"),
    (lambda model, rows: tree_shap(TreeModel(fitted("xgboost", 3)), rows, 0), "so a target is needed"),
    (
        lambda model, rows: tree_shap(TreeModel(fitted("xgboost", 3), output="probability"), rows, 0, 1),
        "output: TreeSHAP explains sums over trees: the margin or logits of boosted trees",
    ),
    (
        lambda model, rows: tree_shap(TreeModel(fitted("forest", 3), transform="logit"), rows, 0, 1),
        "transform: TreeSHAP explains sums over trees",
    ),
    *(
        (
            lambda model, rows, name=name, options=options: tree_shap(
                TreeModel(
                    unfitted(name, 0)
                    .set_params(**options)
                    .fit(rows, np.stack([rows[:, 0]] * (name == "xgboost") + [rows[:, 1]], 1))
                ),
                rows[:2],
                0,
                0,
            ),
            "model: has leaves with several numbers or a linear model",
        )
        for name, options in NUMBERS.items()
    ),
]


@pytest.mark.parametrize(("call", "line"), CALLS, ids=[line[:40] for _, line in CALLS])
@pytest.mark.filterwarnings("ignore:A column-vector y")
def test_wrong_calls_are_refused_in_one_line(call, line):
    with pytest.raises((TypeError, ValueError), match=line):
        call(TreeModel(fitted("xgboost", 0)), data(0)[0])


def test_values_that_do_not_sum_to_the_change_are_refused(monkeypatch):
    model, rows = TreeModel(fitted("histograms", 0)), data(0)[0]
    tables = type(model.ensemble).tables
    monkeypatch.setattr(type(model.ensemble), "tables", lambda own: tables(own)[:-1])
    with pytest.raises(ModelError, match=r"but the output changes by .*; this release of shap does not understand"):
        tree_shap(model, rows[:3], 0)


def test_trees_without_a_split_have_no_values():
    constant = xgboost.XGBRegressor(n_estimators=3, n_jobs=1).fit(data(0)[0], np.ones(120))
    np.testing.assert_array_equal(tree_shap(TreeModel(constant), data(0)[0][:3], 0), np.zeros((3, FEATURES)))


def test_a_pipeline_in_a_pipeline_is_explained_as_one():
    rows, target = data(0)
    inner, outer = unfitted("boosting", 0), MinMaxScaler()
    own = make_pipeline(outer, make_pipeline(StandardScaler(), inner)).fit(rows.astype(float), target)
    flat = make_pipeline(outer, StandardScaler(), inner).fit(rows.astype(float), target)
    np.testing.assert_allclose(*(tree_shap(TreeModel(model), rows[:3], 0) for model in (own, flat)), rtol=1e-6)
    mixing = make_pipeline(outer, make_pipeline(PCA(3), inner)).fit(rows.astype(float), target)
    with pytest.raises(ModelError, match=r"the step pca \(PCA\) of the pipeline may mix features"):
        tree_shap(TreeModel(mixing), rows[:3], 0)


def test_trees_that_correct_another_model_are_refused():
    rows, target = data(0)
    model = unfitted("boosting", 0).set_params(init=LinearRegression()).fit(rows, target)
    with pytest.raises(ModelError, match=r"^model: begins with a LinearRegression \(init\), which TreeSHAP"):
        tree_shap(TreeModel(model), rows[:3], 0)


@pytest.mark.parametrize(("scheme", "gap"), [("forward", 0.1), ("central", 0.03)])
@pytest.mark.parametrize("name", ["diabetes", "breast_cancer", "wine"])
def test_integrated_gradients_with_steps_of_the_path(name, scheme, gap):
    features, labels = getattr(datasets, f"load_{name}")(return_X_y=True)
    rows = (features - features.mean(axis=0)) / features.std(axis=0)
    classes = 0 if name == "diabetes" else len(np.unique(labels))
    estimator = unfitted("histograms", classes).set_params(max_iter=100, max_depth=4)
    model = TreeModel(estimator.fit(rows, labels))
    start, chosen = rows.mean(axis=0), np.random.default_rng(0).permutation(len(rows))[:20]
    target = labels[chosen] if classes > 2 else np.zeros(len(chosen), int)
    explained = {"target": target if classes > 2 else None}
    found = attribute(
        model,
        rows[chosen],
        method="integrated_gradients",
        gradient=FiniteDifference("path", scheme),
        baselines=start,
        n_steps=32,
        **explained,
    )
    change = (model(rows[chosen]) - model(start[None]))[np.arange(len(chosen)), target]
    gaps = np.abs(found.sum(axis=1) - change) / np.abs(change)
    shap = tree_shap(model, rows[chosen], start, **explained)
    correlations = [np.corrcoef(own, expected)[0, 1] for own, expected in zip(found, shap, strict=True)]
    # Where two features cross thresholds in one step, only the central scheme shares the change between them.
    assert np.median(gaps) <= gap
    assert np.mean(correlations) >= 0.9
