"""Ensembles of trees as a kind of model of a study: trained, opened and measured."""

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, log_loss, mean_squared_error

from approxgrad import TreeModel
from approxgrad.descriptions import read
from approxgrad.models.kind import MODELS, ModelError
from approxgrad.models.making import made_model, measured_model
from approxgrad.models.opening import open_model
from approxgrad.storage.splits import Split
from small_studies import entry, faults
from tree_models import FEATURES, data, fitted

CPU = torch.device("cpu")
LIBRARIES = ("scikit-learn", "xgboost", "lightgbm")
TRAINED = {"trees": "scikit-learn", "training": {"trees": 8}}


def kind(library="scikit-learn", **options):
    return read(MODELS["trees"], {"trees": library, **options})


def split(classes, seed=0, shape=(FEATURES,)):
    rows, target = data(classes, seed)
    names = tuple(f"class {number}" for number in range(classes))
    return Split(rows, target.astype(np.int64 if classes else np.float32), feature_shape=shape, classes=names)


def made(path, own, classes, seed=3):
    return made_model(path, own, split(classes, 1), CPU, train=split(classes), seed=seed)


@pytest.mark.parametrize("classes", [0, 2, 3])
@pytest.mark.parametrize("ensemble", ["boosting", "forest"])
@pytest.mark.parametrize("library", LIBRARIES)
def test_a_study_trains_an_ensemble(library, ensemble, classes, tmp_path):
    own = kind(library, training={"ensemble": ensemble, "trees": 8, "depth": 3})
    path, test = tmp_path / own.makes, split(classes, 1)
    known, measures = made(path, own, classes)
    model = own.open((FEATURES,), classes or 1, CPU, torch.float32, path)
    outputs = model(torch.from_numpy(test.features)).numpy()
    assert outputs.shape == (len(test.target), classes or 1)
    trees = 8 * (classes if classes > 2 and (library, ensemble) != ("scikit-learn", "forest") else 1)
    assert trees < known["leaves"] <= trees * 2**3
    if not classes:
        assert measures["loss"] == pytest.approx(mean_squared_error(test.target, outputs), rel=1e-5)
        assert measures["r2"] > (0.1 if ensemble == "boosting" else 0)
        return
    probabilities = TreeModel(path, output="probability")(test.features)
    # The smallest probability is the rounding of the model's numbers.
    floor = np.finfo(outputs.dtype).eps
    expected = log_loss(test.target, np.maximum(probabilities, floor).astype(np.float64), labels=range(classes))
    assert measures["loss"] == pytest.approx(expected, rel=1e-4)
    assert measures["accuracy"] == accuracy_score(test.target, probabilities.argmax(axis=1)) > 0.5


@pytest.mark.parametrize("ensemble", ["boosting", "forest"])
@pytest.mark.parametrize("library", LIBRARIES)
def test_the_file_depends_on_the_seed_and_on_nothing_else(library, ensemble, tmp_path):
    own = kind(library, training={"ensemble": ensemble, "trees": 3})
    for name, seed in (("first", 3), ("second", 3), ("other", 2**62 + 5)):
        made(tmp_path / name, own, 3, seed)
    content = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert content["first"] == content["second"]
    if ensemble == "forest":
        assert content["first"] != content["other"]


def test_images_are_flattened(tmp_path):
    test = split(2, shape=(1, 1, FEATURES))
    made_model(tmp_path / "own", kind(**{"training": {"trees": 3}}), test, CPU, train=test, seed=0)
    opened = kind(file=str(tmp_path / "own")).open((1, 1, FEATURES), 2, CPU, torch.float32)
    rows = torch.from_numpy(test.features)
    torch.testing.assert_close(opened(rows.reshape(-1, 1, 1, FEATURES)), opened(rows))


def test_every_output_of_two_classes_can_be_explained(tmp_path):
    fitted("xgboost", 2).save_model(tmp_path / "own.json")
    rows = torch.from_numpy(data(2)[0])
    logits = kind("xgboost", file=str(tmp_path / "own.json")).open((FEATURES,), 2, CPU, torch.float32)(rows)
    torch.testing.assert_close(logits[:, 0], -logits[:, 1])
    own = kind("xgboost", file=str(tmp_path / "own.json"), output="probability")
    torch.testing.assert_close(own.open((FEATURES,), 2, CPU, torch.float32)(rows), logits.softmax(dim=1).double())


def test_a_file_of_the_users_is_measured(tmp_path):
    fitted("lightgbm", 3).booster_.save_model(tmp_path / "own.txt")
    options = kind("lightgbm", file=str(tmp_path / "own.txt")).opening()
    model = open_model("trees", options, None, (FEATURES,), 3, CPU)
    assert measured_model(model, split(3), CPU)["accuracy"] > 0.6


OPENED = [
    ("lightgbm", 3, 3, "trees: got lightgbm, but .* is a model of xgboost"),
    ("xgboost", 3, 2, "trees .*: tells 3 classes, the data have 2 classes"),
    ("xgboost", 3, 1, "trees .*: tells 3 classes, the data have a number"),
    ("xgboost", 0, 3, "trees .*: predicts a number, the data have 3 classes"),
]


@pytest.mark.parametrize(("library", "classes", "outputs", "line"), OPENED)
def test_a_file_that_does_not_fit_is_refused(library, classes, outputs, line, tmp_path):
    fitted("xgboost", classes).save_model(tmp_path / "own.json")
    with pytest.raises(ModelError, match=line):
        kind(library, file=str(tmp_path / "own.json")).open((FEATURES,), outputs, CPU, torch.float32)


def test_other_faults_of_a_file(tmp_path):
    fitted("xgboost", 0).save_model(tmp_path / "own.json")
    own = {"file": str(tmp_path / "own.json")}
    with pytest.raises(ModelError, match="output: got logits, but the data have no classes; leave it out"):
        kind("xgboost", output="logits", **own).open((FEATURES,), 1, CPU, torch.float32)
    with pytest.raises(
        ModelError, match="takes float32, so it cannot be evaluated in float64; leave that out of dtypes"
    ):
        kind("xgboost", **own).open((FEATURES,), 1, CPU, torch.float64)
    with pytest.raises(ModelError, match=r"got shape \(2, 9\), the model takes \(N, 5\)"):
        kind("xgboost", **own).open((9,), 1, CPU, torch.float32)


def test_a_class_without_rows_is_named(tmp_path):
    train = split(2)
    lacking = Split(train.features, 0 * train.target, feature_shape=(FEATURES,), classes=train.classes)
    with pytest.raises(ModelError, match="training: there are no training rows of class class 1"):
        made_model(tmp_path / "own", kind(**{"training": {}}), lacking, CPU, train=lacking, seed=0)


def test_what_a_study_makes_and_reads():
    trained, file = kind("xgboost", training={}), kind("xgboost", file="own.json")
    assert (trained.makes, trained.needs_training_rows, trained.own_files) == ("model.ubj", True, {})
    assert (file.makes, file.needs_training_rows, file.own_files) == ("", False, {"file": ["own.json"]})


FAULTS = [
    ({"trees": "xgboost"}, "models.own.training: is missing, expected either training or file"),
    (TRAINED | {"file": "own.json"}, "models.own.training: stands beside file, expected either training or file"),
    (
        {"trees": "xgboost", "training": {"ensemble": "forest", "learning_rate": 0.1}},
        "models.own.training.learning_rate: is for boosting, a forest has none; leave it out",
    ),
    (
        {"trees": "catboost", "training": {}},
        "models.own.trees: got 'catboost', expected one of scikit-learn, xgboost, lightgbm",
    ),
    ({"trees": "xgboost", "training": {"depth": 0}}, "models.own.training.depth: got 0, expected at least 1"),
    ({"trees": "xgboost", "training": {"trees": 1.5}}, "models.own.training.trees: got 1.5, expected an integer"),
    ({"trees": "xgboost", "file": ""}, "models.own.file: "),
]


@pytest.mark.parametrize(("own", "line"), FAULTS)
def test_faults_of_the_configuration_are_one_line(own, line):
    (found,) = faults(entry(models=["own"], reference="forward-h0.1"), models={"own": own})
    assert found.startswith(line)
