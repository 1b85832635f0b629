"""Cells and studies of 16 bits."""

import numpy as np
import pytest
import torch

from approxgrad import FiniteDifference, attribute
from approxgrad.gradients.precisions import HALVES
from approxgrad.gradients.source import exact_source
from approxgrad.models.model_files import build_model, load_model
from approxgrad.models.saved import save_model
from approxgrad.storage.attributions import read_attributions, write_attributions
from approxgrad.storage.splits import Split, read_split, write_split
from approxgrad.study.cells import attribute_cell
from approxgrad.study.derived import derive_cell
from small_studies import difference, entry, faults, source, study

CPU, FEATURES, SAMPLES = torch.device("cpu"), 4, 5


@pytest.fixture
def files(tmp_path):
    torch.manual_seed(0)
    description = {"architecture": "mlp", "input_shape": (FEATURES,), "outputs": 1, "hidden": [16], "dropout": 0.4}
    save_model(tmp_path / "weights.safetensors", build_model(**description), description)
    random = np.random.default_rng(1)
    features, target = random.normal(size=(8, FEATURES)).astype(np.float32), random.normal(size=8).astype(np.float32)
    write_split(tmp_path / "test.parquet", Split(features, target, feature_shape=(FEATURES,)), {})
    parts = {"weights": tmp_path / "weights.safetensors", "test": tmp_path / "test.parquet", "training": None}
    return {"model": {"kind": "mlp"}, **parts}


def cell(files, method, gradient):
    own = {"gradient": gradient.entry, "samples": SAMPLES, "sample_seed": 3, "memory_mib": None, "device": CPU}
    return attribute_cell(**files, **own, method=method)[0]


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("method", ["saliency", "input_x_gradient", "integrated_gradients"])
@pytest.mark.parametrize("exact", [True, False])
def test_a_cell_holds_the_numbers_of_a_model_of_that_precision(files, tmp_path, dtype, method, exact):
    gradient = exact_source(dtype) if exact else source(0.5, dtype, "central")
    options = {"baseline": "zero", "n_steps": 7} if method == "integrated_gradients" else {}
    found = cell(files, {"attribution": method, **options}, gradient)
    assert found.metadata["dtype"] == dtype
    assert found.metadata["gradient"] == ("exact" if exact else "central-h0.5") + f"-{dtype}"
    kind = getattr(torch, dtype)
    model = load_model(files["weights"], CPU).to(kind)
    part = read_split(files["test"]).rows(found.sample)
    used = "exact" if exact else FiniteDifference(0.5, "central")
    expected = attribute(
        model,
        torch.from_numpy(part.model_inputs()).to(kind),
        method=method,
        gradient=used,
        **{"n_steps": 7} if options else {},
    )
    np.testing.assert_array_equal(found.attribution, expected.float().numpy())
    write_attributions(tmp_path / "own.parquet", found)
    np.testing.assert_array_equal(read_attributions(tmp_path / "own.parquet").attribution, found.attribution)


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("method", ["saliency", "input_x_gradient"])
def test_what_is_derived_from_a_gradient_is_what_the_method_itself_gives(files, tmp_path, dtype, method):
    write_attributions(tmp_path / "gradient.parquet", cell(files, {"attribution": "gradient"}, exact_source(dtype)))
    found = derive_cell(tmp_path / "gradient.parquet", {"attribution": method})
    own = cell(files, {"attribution": method}, exact_source(dtype))
    np.testing.assert_array_equal(found.attribution, own.attribution)
    assert found.metadata["rounding_scale"] == pytest.approx(own.metadata["rounding_scale"], rel=1e-6)


def test_each_precision_is_compared_with_its_own_exact_gradient_and_single_is_shown():
    place = ("synthetic_linear", "mlp", "saliency")
    own = study(entry(difference(steps=[0.5], dtypes=["float64", "bfloat16", "float32"])))
    assert [found.gradient.dtype for found in own.references(*place)] == ["bfloat16", "float32", "float64"]
    assert [found.gradient.dtype for found in own.approximated(*place)] == ["bfloat16", "float32", "float64"]
    assert own.exact(*place).gradient == exact_source("float32")
    assert [found.gradient.dtype for found in own.shown(*place)] == ["float32"]
    halves = study(entry(difference(steps=[0.5], dtypes=["float16", "bfloat16"])))
    assert [found.gradient.dtype for found in halves.shown(*place)] == ["bfloat16"]


@pytest.mark.parametrize("model", ["cnn_onnx", "cnn_int8", "boosted_trees"])
def test_models_without_16_bits_are_refused_in_one_line(model):
    data = "synthetic_nonlinear" if model == "boosted_trees" else "digits"
    gradients = [difference(dtypes=["float32", "bfloat16"])]
    named = {"reference": "forward-h0.1"} if model == "boosted_trees" else {}
    (line,) = faults(entry(*gradients, datasets=[data], models=[model], **named))
    assert f"evaluates models in bfloat16, but {model} takes only float32" in line


def test_propagated_differences_are_refused_in_one_line():
    gradient = {**difference(dtypes=["float16"]), "evaluation": "propagated"}
    (line,) = faults(entry(gradient))
    assert "dtypes: got float16" in line
    assert "write arithmetic: float16" in line
