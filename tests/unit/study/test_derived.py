"""Maps that follow from a shared gradient are those that the method computes itself."""

import numpy as np
import pytest
import torch
from captum.attr import InputXGradient, Saliency

from approxgrad import ExactGradient, FiniteDifference
from approxgrad.gradients.source import exact_source
from approxgrad.models.model_files import load_model
from approxgrad.storage.attributions import read_attributions, write_attributions
from approxgrad.storage.table_checks import TableError
from approxgrad.study import shards
from approxgrad.study.cells import attribute_cell
from approxgrad.study.derived import derive_cell
from approxgrad.study.shards import gather
from small_cells import IMAGE, classified_images
from small_studies import source

CPU = torch.device("cpu")
SHAPE, SAMPLES = IMAGE, 9
METHODS = ["gradient", "saliency", "input_x_gradient"]
SOURCES = ["exact", "forward", "central"]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Weights and test split of a classification of images."""
    return classified_images(tmp_path_factory.mktemp("cell")) | {"training": None}


def gradient(scheme, dtype):
    return exact_source(dtype) if scheme == "exact" else source(0.5, dtype, scheme)


def cell(files, method, scheme, dtype, **changes):
    options = {"samples": SAMPLES, "sample_seed": 3, "memory_mib": None, "device": CPU}
    return attribute_cell(
        **files, **options | changes, method={"attribution": method}, gradient=gradient(scheme, dtype).entry
    )[0]


def derived(files, path, method, scheme, dtype):
    write_attributions(path, cell(files, "gradient", scheme, dtype))
    return derive_cell(path, {"attribution": method})


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("scheme", SOURCES)
def test_derived_maps_are_those_of_captum_bit_for_bit(files, tmp_path, scheme, dtype):
    model = load_model(files["weights"], CPU).to(getattr(torch, dtype))
    function = ExactGradient() if scheme == "exact" else FiniteDifference(0.5, scheme)
    for method in METHODS:
        own = derived(files, tmp_path / "gradient.parquet", method, scheme, dtype)
        inputs = torch.tensor(own.inputs).to(getattr(torch, dtype)).reshape(-1, *SHAPE).requires_grad_()
        target = torch.tensor(own.target)
        if method == "gradient":
            expected = function(model, (inputs,), target)[0]
        else:
            explainer = {"saliency": Saliency, "input_x_gradient": InputXGradient}[method](model)
            explainer.gradient_func = function
            expected = explainer.attribute(inputs, target=target)
        assert own.attribution.dtype == dtype
        np.testing.assert_array_equal(own.attribution, expected.detach().flatten(1).numpy())
        assert np.any(own.attribution)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("scheme", SOURCES)
@pytest.mark.parametrize("method", METHODS)
def test_a_derived_file_is_that_of_the_method_but_for_outputs(files, tmp_path, method, scheme, dtype):
    own = derived(files, tmp_path / "gradient.parquet", method, scheme, dtype)
    direct = cell(files, method, scheme, dtype)
    assert own.metadata == direct.metadata
    assert (own.metadata["method"], own.metadata["signed"]) == ({"attribution": method}, method != "saliency")
    for name in ("sample", "attribution", "inputs", "target"):
        np.testing.assert_array_equal(getattr(own, name), getattr(direct, name))
    assert (own.output, own.baseline_output, own.truth) == (None, None, None)


@pytest.mark.parametrize("method", METHODS)
def test_the_rounding_scale_weighs_the_output_with_the_factors_of_the_method(files, tmp_path, method):
    own = derived(files, tmp_path / "gradient.parquet", method, "exact", "float64")
    shared = read_attributions(tmp_path / "gradient.parquet")
    model = load_model(files["weights"], CPU).double()
    with torch.inference_mode():
        outputs = model(torch.tensor(own.inputs).double().reshape(-1, *SHAPE))[range(SAMPLES), own.target.tolist()]
    np.testing.assert_allclose(shared.output, outputs, rtol=1e-12)
    factors = own.inputs.astype(float) if method == "input_x_gradient" else np.ones_like(shared.attribution)
    norms = np.linalg.norm(factors, axis=1) / np.linalg.norm(factors * shared.attribution, axis=1)
    expected = np.median(np.abs(outputs.numpy()) * norms)
    assert own.metadata["rounding_scale"] == pytest.approx(expected, rel=1e-12)
    assert derived(files, tmp_path / "other", method, "forward", "float64").metadata["rounding_scale"] is None


def test_maps_derived_from_gathered_shards_are_those_of_the_whole(files, tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "BLOCK_EVALUATIONS", 2)
    for scheme in ("exact", "central"):
        whole = derived(files, tmp_path / "whole", "saliency", scheme, "float32")
        parts = []
        for number in (1, 2):
            parts.append(tmp_path / f"part{number}")
            write_attributions(parts[-1], cell(files, "gradient", scheme, "float32", shard=(number, 2)))
        gather(parts, tmp_path / "gathered")
        assert (tmp_path / "gathered").read_bytes() == (tmp_path / "whole").read_bytes()
        own = derive_cell(tmp_path / "gathered", {"attribution": "saliency"})
        np.testing.assert_array_equal(own.attribution, whole.attribution)
        assert own.metadata == whole.metadata


def test_a_shared_gradient_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "gradient.parquet").write_text("nothing")
    with pytest.raises(TableError, match=r"gradient.parquet: cannot be read as parquet \("):
        derive_cell(tmp_path / "gradient.parquet", {"attribution": "saliency"})
