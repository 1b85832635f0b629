"""Ensembles of trees as models: what their libraries return, whatever they are given, and nothing of them changed."""

import copy
import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.special import softmax
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler

from approxgrad import FiniteDifference, TreeModel, attribute
from approxgrad.models.kind import ModelError
from tree_models import FEATURES, NAMES, PIPED, data, fitted, lightgbm, margins, unfitted, xgboost

FLOAT32 = ("xgboost", "xgboost forest", "xgboost dart", "boosting", "forest", "extra trees", "tree")


@pytest.mark.parametrize("classes", [0, 2, 3])
@pytest.mark.parametrize("name", NAMES)
def test_the_outputs_are_those_of_the_library(name, classes):
    estimator, (rows, _) = fitted(name, classes), data(classes, seed=1)
    before = margins(estimator, rows)
    model = TreeModel(estimator)
    found = model(rows)
    np.testing.assert_allclose(found, before, rtol=2e-6, atol=1e-6)
    assert model.dtype == (np.float32 if name in FLOAT32 else np.float64)
    assert model.shape == (FEATURES,)
    as_tensor = model(torch.from_numpy(rows))
    assert as_tensor.dtype == torch.from_numpy(found[:1]).dtype
    np.testing.assert_array_equal(as_tensor.numpy(), found)
    np.testing.assert_array_equal(margins(estimator, rows), before)


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("name", NAMES)
def test_a_softmax_of_the_logits_is_the_probabilities(name, classes):
    estimator, (rows, _) = fitted(name, classes), data(classes, seed=1)
    expected = estimator.predict_proba(rows)
    np.testing.assert_allclose(TreeModel(estimator, output="probability")(rows), expected, atol=1e-6)
    if "margin" not in TreeModel(estimator).ensemble.offers:
        return
    logits = TreeModel(estimator, output="logits")(rows)
    np.testing.assert_allclose(softmax(logits.astype(float), axis=1), expected, atol=1e-6)
    if classes == 2:
        np.testing.assert_array_equal(logits[:, 0], -logits[:, 1])
        np.testing.assert_allclose(logits[:, 1] - logits[:, 0], margins(estimator, rows)[:, 0], rtol=1e-5, atol=1e-6)


def test_links_that_are_no_plain_ones():
    rows, target = data(2)
    exponential = unfitted("boosting", 2).set_params(loss="exponential").fit(rows, target)
    wide = unfitted("lightgbm", 2).set_params(sigmoid=3.0).fit(rows, target)
    for estimator in (exponential, wide):
        found = TreeModel(estimator, output="probability")(rows)
        np.testing.assert_allclose(found, estimator.predict_proba(rows), atol=1e-9)
    apart = unfitted("lightgbm", 3).set_params(objective="multiclassova").fit(rows, data(3)[1])
    assert TreeModel(apart).ensemble.offers == ("margin",)
    with pytest.raises(ModelError, match="output: got 'logits', expected margin, which this model has"):
        TreeModel(apart, output="logits")


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("xgboost", {"objective": "count:poisson"}),
        ("lightgbm", {"objective": "poisson"}),
        ("histograms", {"loss": "poisson"}),
        ("histograms", {"loss": "gamma"}),
    ],
)
def test_a_margin_stands_before_the_link_and_a_prediction_after_it(name, options):
    rows, target = data(0)
    estimator = unfitted(name, 0).set_params(**options).fit(rows, np.exp(target))
    margin, prediction = TreeModel(estimator)(rows), TreeModel(estimator, output="prediction")(rows)
    np.testing.assert_allclose(prediction[:, 0], estimator.predict(rows), rtol=1e-6)
    np.testing.assert_allclose(np.exp(margin), prediction, rtol=1e-5)


def test_several_numbers_are_several_columns():
    rows, target = data(0)
    both = np.stack([target, target**2], axis=1)
    for name, options in (("xgboost", {}), ("xgboost", {"multi_strategy": "multi_output_tree"}), ("forest", {})):
        estimator = unfitted(name, 0).set_params(**options).fit(rows, both)
        np.testing.assert_allclose(TreeModel(estimator)(rows), estimator.predict(rows), rtol=1e-6)


@pytest.mark.filterwarnings("ignore:The argument 'eval_set'")
def test_early_stopping_counts_as_the_library_counts_it(tmp_path):
    rows, target = data(2)
    other = data(2, seed=5)
    for name in ("xgboost", "lightgbm"):
        estimator = unfitted(name, 2).set_params(n_estimators=200, early_stopping_rounds=2)
        estimator.fit(rows, target, eval_set=[other], **({"verbose": False} if name == "xgboost" else {}))
        booster = estimator.get_booster() if name == "xgboost" else estimator.booster_
        path = tmp_path / "model.json"
        (estimator if name == "xgboost" else booster).save_model(path)
        for model in (TreeModel(estimator), TreeModel(path)):
            np.testing.assert_allclose(model(rows), margins(estimator, rows), rtol=1e-6)
        if name == "xgboost":
            assert estimator.best_iteration + 1 < booster.num_boosted_rounds()
            every = booster.predict(xgboost.DMatrix(rows), output_margin=True)
            np.testing.assert_allclose(TreeModel(booster)(rows)[:, 0], every, rtol=1e-6)
            assert not np.allclose(every, margins(estimator, rows)[:, 0])


@pytest.mark.parametrize("name", NAMES)
def test_what_is_given_is_neither_changed_nor_followed(name):
    estimator = copy.deepcopy(fitted(name, 2))
    parameters, (rows, target) = copy.deepcopy(estimator.get_params(deep=False)), data(2)
    model = TreeModel(estimator)
    before = model(rows)
    assert repr(estimator.get_params(deep=False)) == repr(parameters)
    estimator.fit(rows, 1 - target)
    np.testing.assert_array_equal(model(rows), before)


@pytest.mark.parametrize("name", NAMES)
def test_models_are_pickled(name, tmp_path):
    model, (rows, _) = TreeModel(fitted(name, 3)), data(3)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(model))(rows), model(rows))


def test_a_pickled_file_is_read_again_unless_it_changed(tmp_path):
    path, (rows, _) = tmp_path / "own.txt", data(2)
    fitted("lightgbm", 2).booster_.save_model(path)
    model = TreeModel(path)
    content = pickle.dumps(model)
    assert len(content) < 1000
    assert model.digests().keys() == {"own.txt"}
    np.testing.assert_array_equal(pickle.loads(content)(rows), model(rows))
    fitted("lightgbm", 3).booster_.save_model(path)
    with pytest.raises(ModelError, match=r"own\.txt: is another file than it was when the model was pickled"):
        pickle.loads(content)


def test_outputs_do_not_depend_on_threads_or_batches():
    for name in NAMES:
        rows = data(3, seed=2)[0]
        one, many = TreeModel(fitted(name, 3)), TreeModel(fitted(name, 3), threads=2, batch_size=7)
        np.testing.assert_array_equal(one(rows), many(rows))


@pytest.mark.parametrize("name", NAMES)
def test_columns_of_a_data_frame_are_the_features(name):
    rows, target = data(0)
    names = [f"own {number}" for number in range(FEATURES)]
    frame = pd.DataFrame(rows, columns=names)
    model = TreeModel(unfitted(name, 0).fit(frame, target))
    by_name, by_place = model(frame), model(rows)
    np.testing.assert_array_equal(by_name, by_place)
    known = [own.replace(" ", "_") for own in names] if name.startswith("lightgbm") else names
    assert list(model.feature_names) == known
    np.testing.assert_array_equal(model(pd.DataFrame(rows)), by_place)
    found = attribute(model, frame[:3], gradient=FiniteDifference(0.5))
    assert list(found.columns) == names
    for columns, fault in (
        (known[::-1], "they are in another order; take"),
        ([*known[:-1], "new"], "is missing; 'new' is unknown"),
    ):
        for call in (model, lambda own: attribute(model, own, gradient=FiniteDifference(0.5))):
            with pytest.raises(ModelError, match=f"inputs: columns are not the model's features: .*{fault}"):
                call(pd.DataFrame(rows, columns=columns))


@pytest.mark.parametrize("name", NAMES)
def test_differences_are_those_of_the_library(name):
    estimator, (rows, _) = fitted(name, 0), data(0, seed=3)
    step, model = 0.5, TreeModel(estimator)
    found = attribute(model, rows[:4], method="gradient", gradient=FiniteDifference(step))
    for feature in range(FEATURES):
        moved = rows[:4].copy()
        moved[:, feature] += np.float32(step)
        made = moved[:, feature].astype(float) - rows[:4, feature]
        change = (margins(estimator, moved) - margins(estimator, rows[:4])).astype(float)[:, 0]
        np.testing.assert_allclose(found[:, feature], change / made, rtol=1e-4, atol=1e-5)


def test_precision_is_that_of_the_thresholds():
    """Steps that float32 does not hold are refused where trees compare in float32, and made where they do not."""
    rows, target = data(0)
    for name, narrow in (("boosting", True), ("xgboost", True), ("histograms", False), ("lightgbm", False)):
        model = TreeModel(unfitted(name, 0).fit(rows, target))
        moved = rows[:2].astype(np.float64) + 1e-12
        if narrow:
            with pytest.raises(ModelError, match="model takes float32, which does not hold all of their numbers"):
                model(moved)
            np.testing.assert_array_equal(TreeModel(fitted(name, 0), round_inputs=True)(moved), model(rows[:2]))
        else:
            # A threshold beside which float64 tells two numbers from each other, and float32 does not.
            threshold = next(own for table in model.ensemble.tables() for own in table.threshold[table.inner])
            feature = next(own for table in model.ensemble.tables() for own in table.feature[table.inner])
            beside = np.repeat(rows[:1].astype(np.float64), 2, axis=0)
            beside[:, feature] = threshold, np.nextafter(threshold, np.inf)
            assert len(np.unique(beside.astype(np.float32), axis=0)) == 1
            outputs = model(beside)
            np.testing.assert_allclose(outputs[:, 0], model.ensemble.predictions(beside).ravel())


def test_images_are_flattened():
    rows, target = data(0)
    model = TreeModel(unfitted("histograms", 0).fit(rows[:, :4], target))
    np.testing.assert_array_equal(model(rows[:, :4].reshape(-1, 1, 2, 2)), model(rows[:, :4].copy()))
    found = attribute(model, rows[:2, :4].reshape(-1, 1, 2, 2), gradient=FiniteDifference(0.5))
    assert found.shape == (2, 1, 2, 2)


def test_trees_have_no_exact_gradient():
    with pytest.raises(ValueError, match="there is no exact gradient; use FiniteDifference"):
        attribute(TreeModel(fitted("xgboost", 0)), torch.from_numpy(data(0)[0][:2]))


def test_a_pipeline_is_explained_at_its_beginning():
    estimator, rows = fitted(PIPED, 0), data(0)[0].astype(np.float64) + 1e-9
    model = TreeModel(estimator)
    np.testing.assert_allclose(model(rows)[:, 0], estimator.predict(rows))
    assert model.dtype == np.float64


def test_the_steps_of_a_pipeline_compute_in_the_precision_of_the_training():
    """Scaled zeros lie on thresholds, so that rounding decides on which side they are."""
    rows = data(0)[0].copy()
    rows[np.random.default_rng(0).random(rows.shape) < 0.2] = 0
    target = rows[:, 0] + rows[:, 1] * rows[:, 2]
    estimator = make_pipeline(StandardScaler(), MinMaxScaler(), unfitted("xgboost", 0)).fit(rows, target)
    for dtype in ("float32", "float64"):
        own = rows.astype(dtype)
        np.testing.assert_array_equal(TreeModel(estimator, dtype=dtype)(own)[:, 0], estimator.predict(own))
    assert (estimator.predict(rows) != estimator.predict(rows.astype(np.float64))).any()
    for given, dtype, line in (
        (estimator, "float16", "dtype: got 'float16', expected float32 or float64"),
        (fitted("xgboost", 0), "float64", "dtype: is for pipelines, the precision of a XGBRegressor is that of its"),
    ):
        with pytest.raises(ValueError, match=line):
            TreeModel(given, dtype=dtype)


def test_boosters_count_as_well_as_estimators():
    rows = data(3)[0]
    for name in ("xgboost", "lightgbm"):
        estimator = fitted(name, 3)
        booster = estimator.get_booster() if name == "xgboost" else estimator.booster_
        np.testing.assert_array_equal(TreeModel(booster)(rows), TreeModel(estimator)(rows))
    assert isinstance(fitted("lightgbm", 3).booster_, lightgbm.Booster)
