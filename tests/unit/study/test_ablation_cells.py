"""Cells of methods that take no gradients: which there are, what they are compared with, and how they are made."""

import numpy as np
import pytest
import torch
from captum.attr import Occlusion

from approxgrad.gradients.source import evaluated_source
from approxgrad.models.model_files import build_model
from approxgrad.models.saved import save_model
from approxgrad.storage.splits import Split, write_split
from approxgrad.study.cells import attribute_cell
from small_studies import difference, entry, faults, key, study, without_sources

METHODS = {
    "gradient_x_input": {"attribution": "input_x_gradient"},
    "boxes": {"attribution": "occlusion", "window": 2},
    "parts": {"attribution": "feature_ablation", "reference": "gradient_x_input"},
    "alone": {"attribution": "feature_ablation", "evaluation": "dense"},
}


def named(own, model):
    return [key(cell)[2:] for cell in own.cells if cell.model == model]


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


@pytest.mark.parametrize("evaluation", ["dense", "propagated"])
def test_a_cell_is_captums_and_says_how_it_was_made(tmp_path, evaluation):
    torch.manual_seed(0)
    description = {"architecture": "cnn", "input_shape": (1, 8, 8), "outputs": 3}
    network = build_model(**description)
    save_model(tmp_path / "weights.safetensors", network, description)
    random = np.random.default_rng(0)
    features = random.normal(size=(6, 64)).astype(np.float32)
    split = Split(features, feature_shape=(1, 8, 8), target=np.arange(6) % 3, classes=("a", "b", "c"))
    write_split(tmp_path / "test.parquet", split, {})
    method = {"attribution": "occlusion", "window": 3, "stride": 2, "baseline": 0.25, "evaluation": evaluation}
    made, _ = attribute_cell(
        model={"kind": "cnn"},
        weights=tmp_path / "weights.safetensors",
        test=tmp_path / "test.parquet",
        training=None,
        method=method,
        gradient=evaluated_source().entry,
        samples=3,
        sample_seed=1,
        memory_mib=None,
        device=torch.device("cpu"),
    )
    part = split.rows(made.sample)
    images = torch.from_numpy(part.model_inputs()).double()
    expected = Occlusion(network.double().eval()).attribute(
        images, (1, 3, 3), strides=(1, 2, 2), baselines=0.25, target=torch.from_numpy(part.target)
    )
    error = torch.from_numpy(made.attribution).double() - expected.flatten(1)
    assert float(error.norm() / expected.norm()) < (1e-4 if evaluation == "dense" else 2e-6)
    assert made.metadata["model_evaluations"] == 3 * made.metadata["evaluations"] == 3 * (4 * 4 + 1)
    assert made.metadata["gradient"] == "evaluated"
    assert made.metadata.get("evaluation") == ("propagated" if evaluation == "propagated" else None)
