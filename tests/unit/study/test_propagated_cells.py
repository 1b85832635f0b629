"""Cells of a study whose differences are followed through the layers of a network."""

import numpy as np
import pytest
import torch
from captum.attr import Occlusion

from approxgrad.gradients.source import evaluated_source
from approxgrad.models.model_files import build_model
from approxgrad.models.saved import save_model
from approxgrad.storage.splits import Split, write_split
from approxgrad.study.cells import attribute_cell

SAMPLES = 3


@pytest.fixture
def network():
    torch.manual_seed(0)
    return build_model(architecture="cnn", input_shape=(1, 8, 8), outputs=3).eval()


@pytest.fixture
def split():
    features = np.random.default_rng(0).normal(size=(6, 64)).astype(np.float32)
    return Split(features, feature_shape=(1, 8, 8), target=np.arange(6) % 3, classes=("a", "b", "c"))


@pytest.fixture
def cell(tmp_path, network, split):
    """What makes the cell of a method and a gradient source."""
    save_model(
        tmp_path / "weights.safetensors", network, {"architecture": "cnn", "input_shape": (1, 8, 8), "outputs": 3}
    )
    write_split(tmp_path / "test.parquet", split, {})
    files = {"weights": tmp_path / "weights.safetensors", "test": tmp_path / "test.parquet", "training": None}
    options = {"samples": SAMPLES, "sample_seed": 1, "memory_mib": None, "device": torch.device("cpu")}

    def made(method, gradient):
        return attribute_cell(model={"kind": "cnn"}, **files, method=method, gradient=gradient, **options)[0]

    return made


def difference(**options):
    return {"kind": "difference", "difference": "central", "steps": [0.5], **options}


@pytest.mark.parametrize(
    "method", [{"attribution": "saliency"}, {"attribution": "integrated_gradients", "n_steps": 3}], ids=str
)
def test_propagated_differences(cell, method):
    dense, found = cell(method, difference()), cell(method, difference(evaluation="propagated"))
    np.testing.assert_allclose(found.attribution, dense.attribution, rtol=1e-4, atol=1e-6)
    metadata = found.metadata
    assert metadata["family"] == "central_propagated"
    assert metadata["gradient"] == "central_propagated-h0.5"
    assert metadata["model_evaluations"] == dense.metadata["model_evaluations"]
    assert (metadata["evaluation"], metadata["base_dtype"], metadata["without_rule"]) == ("propagated", "float64", [])
    assert metadata["change_dtype"] == "float32"
    assert metadata["saved_operations"] > 0
    assert "evaluation" not in dense.metadata


def test_the_precision_of_the_changes_is_recorded(cell):
    exact = cell({"attribution": "saliency"}, difference(evaluation="propagated"))
    short = cell({"attribution": "saliency"}, difference(evaluation="propagated", arithmetic="bfloat16"))
    assert short.metadata["change_dtype"] == "bfloat16"
    assert short.metadata["gradient"] == "central_propagated_bfloat16-h0.5"
    error = np.linalg.norm(short.attribution - exact.attribution) / np.linalg.norm(exact.attribution)
    assert 1e-4 < error < 4 * torch.finfo(torch.bfloat16).eps


@pytest.mark.parametrize("evaluation", ["dense", "propagated"])
def test_occlusion_is_captums(cell, network, split, evaluation):
    method = {"attribution": "occlusion", "window": 3, "stride": 2, "baseline": 0.25, "evaluation": evaluation}
    made = cell(method, evaluated_source().entry)
    part = split.rows(made.sample)
    expected = Occlusion(network.double()).attribute(
        torch.from_numpy(part.model_inputs()).double(),
        (1, 3, 3),
        strides=(1, 2, 2),
        baselines=0.25,
        target=torch.from_numpy(part.target),
    )
    error = torch.from_numpy(made.attribution).double() - expected.flatten(1)
    assert float(error.norm() / expected.norm()) < (1e-4 if evaluation == "dense" else 2e-6)
    assert made.metadata["model_evaluations"] == SAMPLES * made.metadata["evaluations"] == SAMPLES * (4 * 4 + 1)
    assert made.metadata["gradient"] == "evaluated"
    assert made.metadata.get("evaluation") == ("propagated" if evaluation == "propagated" else None)
