"""A model that is trained several times."""

import copy

import pytest

from approxgrad.figures.figure import FIGURES
from approxgrad.models.making import evaluated_as
from small_studies import DEFAULT, entry, faults, key, study


def models(**changes):
    own = copy.deepcopy(DEFAULT["models"])
    own["mlp"] |= changes
    return own


def test_every_training_is_a_model_and_the_first_is_what_it_was():
    once, thrice = study(entry()), study(entry(), models=models(repeats=3))
    assert [cell.model for cell in thrice.cells if cell.gradient.is_exact] == ["mlp", "mlp-2", "mlp-3"]
    assert set(map(key, once.cells)) < set(map(key, thrice.cells))
    # The parameters of its jobs do not say how often it is trained.
    for own in ("mlp", "mlp-2"):
        assert thrice.model(own).architecture() == once.model("mlp").architecture()
        assert thrice.model(own).opening() == once.model("mlp").opening()
    assert thrice.repeats == {"mlp-2": "mlp", "mlp-3": "mlp"}
    assert thrice.labels["model"]["mlp-3"] == "MLP, training 3"
    assert thrice.document["models"]["mlp"]["repeats"] == 3
    assert "mlp-2" not in thrice.document["models"]


def test_pictures_and_pages_are_of_the_first_training():
    own = study(entry(methods=["saliency", "integrated_gradients"]), models=models(repeats=3))
    assert {names[1] for names in own.comparisons} == {"mlp", "mlp-2", "mlp-3"}
    assert {names[1] for names in own.pictured} == {"mlp"}
    for name in FIGURES:
        assert not [path for path in FIGURES[name]().files(own) if "mlp-" in path]


def test_a_model_made_from_one_that_is_repeated_is_made_from_the_first():
    own = copy.deepcopy(DEFAULT["models"])
    own["cnn"]["repeats"] = 2
    digits = study(entry(datasets=["digits"], models=["cnn", "cnn_onnx"]), models=own)
    assert digits.twin("cnn_onnx") == "cnn"
    assert ("digits", "cnn-2") in digits.models


def test_looks_of_a_training_are_those_of_its_model():
    section = {"mlp": {"batch_size": 7}, "other-2": {"check_rows": False}}
    assert evaluated_as(section, "mlp-12") == evaluated_as(section, "mlp") == {"batch_size": 7}
    assert evaluated_as(section, "other-2") == {"check_rows": False}


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"repeats": 0}, "models.mlp.repeats: got 0, expected at least 1"),
        (
            {"repeats": 2, "training": None, "weights": {"file": "a.pt"}},
            "models.mlp.repeats: is for a model with `training`",
        ),
    ],
)
def test_repeats_that_cannot_be_are_refused(changes, complaint):
    assert any(complaint in line for line in faults(entry(), models=models(**changes)))


def test_a_training_with_the_name_of_another_model_is_refused():
    own = models(repeats=3)
    own["mlp-3"] = own["cnn"]
    assert faults(entry(), models=own) == [
        "models.mlp.repeats: a training is called mlp-3, as another model is; rename one"
    ]


def test_only_models_that_are_trained_can_be_repeated():
    own = copy.deepcopy(DEFAULT["models"])
    own["cnn_onnx"]["repeats"] = 2
    assert any("models.cnn_onnx.repeats" in line for line in faults(entry(), models=own))
