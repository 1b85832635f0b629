"""Cells of methods that take no gradients: which there are, and what they are compared with."""

import pytest

from approxgrad.study.study import Study
from small_studies import difference, entry, faults, key, study, without_sources

METHODS = {
    "gradient_x_input": {"attribution": "input_x_gradient"},
    "boxes": {"attribution": "occlusion", "window": 2},
    "parts": {"attribution": "feature_ablation", "reference": "gradient_x_input"},
    "alone": {"attribution": "feature_ablation", "evaluation": "dense"},
}


def named(own, model):
    return [key(cell)[2:] for cell in own.cells if cell.model == model]


def test_the_written_configuration_of_an_experiment_without_sources_is_read_again():
    own = study(without_sources(methods=["alone"]), methods=METHODS)
    assert "gradients" not in own.document["experiments"][0]
    assert Study(own.document).cells == own.cells


def test_a_model_with_gradients():
    own = study(entry(methods=["parts", "alone"], datasets=["synthetic_linear"]), methods=METHODS)
    assert named(own, "mlp") == [
        ("gradient_x_input", "exact"),
        ("parts", "evaluated"),
        ("alone", "evaluated"),
    ]
    assert own.comparisons == [("synthetic_linear", "mlp", "parts")]
    assert key(own.exact(*own.comparisons[0]))[2:] == ("gradient_x_input", "exact")


def test_a_model_without_gradients_is_compared_with_the_same_of_its_twin():
    experiment = entry(
        difference("central", [0.1]), datasets=["digits"], models=["cnn_int8"], methods=["boxes", "parts"]
    )
    own = study(experiment, methods=METHODS)
    assert named(own, "cnn_int8") == [("boxes", "evaluated"), ("parts", "evaluated")]
    assert sorted(named(own, "cnn")) == [("boxes", "evaluated"), ("gradient_x_input", "exact")]
    (reference,) = own.references("digits", "cnn_int8", "boxes")
    assert key(reference) == ("digits", "cnn", "boxes", "evaluated")
    assert own.is_reference(reference)
    assert [own.is_reference(cell) for cell in own.cells if cell.model == "cnn_int8"] == [False, False]


def test_a_model_without_gradients_and_twin_needs_no_source():
    trees = {"datasets": ["synthetic_linear"], "models": ["boosted_trees"], "samples": 3}
    own = study(without_sources(**trees, methods=["alone"]), methods=METHODS)
    assert named(own, "boosted_trees") == [("alone", "evaluated")]
    assert own.comparisons == []
    (fault,) = faults(entry(**trees, methods=["parts"]), methods=METHODS)
    assert "boosted_trees has no exact gradient, so name the source" in fault
    other = entry(difference("central", [0.1]), **trees, methods=["parts"], reference="central-h0.1")
    assert named(study(other, methods=METHODS), "boosted_trees") == [
        ("gradient_x_input", "central-h0.1"),
        ("parts", "evaluated"),
    ]


@pytest.mark.parametrize(
    ("methods", "said"),
    [
        (
            {"boxes": METHODS["boxes"]},
            "methods.boxes: does not fit synthetic_linear: window: expected inputs of channels",
        ),
        (
            {"boxes": {"attribution": "feature_ablation", "mask": [0, 1]}},
            "methods.boxes: does not fit synthetic_linear: mask: got 2 numbers, expected 12, one for each feature",
        ),
        ({"boxes": {"attribution": "occlusion"}}, "methods.boxes.window: is missing"),
        ({"boxes": {"attribution": "occlusion", "window": 0}}, "methods.boxes.window: "),
        (
            {"boxes": {"attribution": "feature_ablation", "reference": "x"}},
            "methods.boxes.reference: got 'x', expected a method with an exact counterpart",
        ),
        (
            {
                "boxes": {"attribution": "feature_ablation", "reference": "other"},
                "other": {"attribution": "feature_ablation", "reference": "saliency"},
                "saliency": {"attribution": "saliency"},
            },
            "methods.boxes.reference: other is itself compared with another method; name that one",
        ),
    ],
)
def test_what_does_not_fit_is_one_line(methods, said):
    (fault,) = faults(entry(methods=["boxes"]), methods=methods)
    assert fault.startswith(said)


def test_methods_that_take_gradients_need_a_source():
    experiment = without_sources(methods=["boxes", "gradient_x_input"], datasets=["digits"], models=["cnn"])
    (fault,) = faults(experiment, methods=METHODS)
    assert fault == (
        "experiments[0].gradients: gradient_x_input takes gradients, or is compared with a method that does; name at "
        "least one source"
    )
