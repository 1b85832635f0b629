"""Networks that other libraries know by name; what is not installed is answered in one line."""

import importlib.util
import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torchvision.models import get_model

from approxgrad.descriptions import read
from approxgrad.models.kind import MODELS, ModelError
from approxgrad.models.making import fitted_model
from approxgrad.models.model_files import build_model, load_model
from approxgrad.models.weights import read_weights
from approxgrad.storage.splits import Split
from approxgrad.study.configuration import SECTIONS

CPU = torch.device("cpu")
TRAINING = {"training": {"epochs": 1, "batch_size": 2, "learning_rate": 0.1}}
SHAPE = (3, 32, 32)

needs_timm = pytest.mark.skipif(importlib.util.find_spec("timm") is None, reason="timm is not installed")
needs_transformers = pytest.mark.skipif(
    importlib.util.find_spec("transformers") is None, reason="transformers is not installed"
)


def entry(**options):
    section = SECTIONS["models"]
    own = section.expanded(options)
    return read(MODELS[section.kind(own)], section.options(own))


def images(rows=4, classes=2):
    generator = np.random.default_rng(0)
    features = generator.random((rows, 3 * 32 * 32)).astype(np.float32)
    target = np.arange(rows) % classes
    return Split(features, target, feature_shape=SHAPE, classes=tuple("abcdef"[:classes]))


@pytest.mark.parametrize("kind", ["torchvision", "timm"])
def test_the_name_after_a_slash_is_the_key(kind):
    short, long = entry(architecture=f"{kind}/resnet18", **TRAINING), entry(**{kind: "resnet18"}, **TRAINING)
    assert short == long
    assert short.architecture() == {kind: "resnet18", "options": {}}
    assert short.words == f"{kind} resnet18"
    assert not short.faults()


@pytest.mark.parametrize("given", ["other/resnet18", "mlp/x", "resnet18/", "/resnet18"])
def test_other_slashes_stay_as_they_are(given):
    assert SECTIONS["models"].expanded({"architecture": given}) == {"architecture": given}


def test_nothing_is_downloaded_by_an_option():
    own = entry(architecture="timm/resnet18", options={"pretrained": True}, **TRAINING)
    assert own.faults() == ["options.pretrained: expected weights under `weights`, from a file or a repository"]


def test_weights_of_torchvision_are_fitted_and_loaded_again(tmp_path):
    torch.manual_seed(0)
    original = get_model("squeezenet1_1", num_classes=2).eval()
    torch.save({"state_dict": original.state_dict()}, tmp_path / "own.pt")
    own = entry(architecture="torchvision/squeezenet1_1", weights={"file": str(tmp_path / "own.pt")})
    description = {"input_shape": SHAPE, "outputs": 2, **own.architecture()}
    weights, _ = read_weights(tmp_path / "own.pt")
    fitted_model(tmp_path / "kept.safetensors", description, weights, "own.pt", images(), CPU)
    inputs = torch.from_numpy(images().model_inputs())
    with torch.no_grad():
        assert torch.equal(load_model(tmp_path / "kept.safetensors", CPU)(inputs), original(inputs))


@pytest.mark.parametrize(
    ("shape", "name", "options", "expected"),
    [
        (SHAPE, "resnet81", {}, r"torchvision resnet81: is not an architecture .* such as resnet18|expected one"),
        (SHAPE, "fasterrcnn_resnet50_fpn", {}, r"is not an architecture of the installed version"),
        (SHAPE, "squeezenet1_1", {"depth": 3}, r"torchvision squeezenet1_1: failed \(TypeError: .*depth"),
        ((1, 32, 32), "squeezenet1_1", {}, r"squeezenet1_1: expected colour images, got shape \(1, 32, 32\)"),
        ((12,), "squeezenet1_1", {}, r"squeezenet1_1: expected images, got shape \(12,\)"),
        (SHAPE, "alexnet", {}, r"model: fails for inputs of shape \(3, 32, 32\)"),
    ],
)
def test_networks_that_cannot_be_made(shape, name, options, expected):
    with pytest.raises(ModelError, match=expected):
        build_model(shape, 2, torchvision=name, options=options)


@pytest.mark.skipif(importlib.util.find_spec("timm") is not None, reason="timm is installed")
def test_without_timm_one_line_says_so():
    with pytest.raises(ModelError, match=r"^timm resnet18: No module named 'timm'; pip install timm$"):
        build_model(SHAPE, 2, timm="resnet18")


@pytest.mark.skipif(importlib.util.find_spec("transformers") is not None, reason="transformers is installed")
def test_without_transformers_one_line_says_so():
    with pytest.raises(ModelError, match=r"^huggingface: No module named 'transformers'; pip install transformers$"):
        build_model(SHAPE, 2, huggingface="folder")


@needs_timm
def test_a_network_of_timm_for_grey_images():
    model = build_model((1, 32, 32), 5, timm="resnet18")
    assert model(torch.zeros(2, 1, 32, 32)).shape == (2, 5)
    with pytest.raises(ModelError, match=r"timm resnet81: is not an architecture"):
        build_model(SHAPE, 5, timm="resnet81")


def classifier(folder):
    """Write a small classifier as transformers does, and return it."""
    from transformers import ResNetConfig, ResNetForImageClassification

    torch.manual_seed(0)
    config = ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic", num_labels=3)
    model = ResNetForImageClassification(config).eval()
    model.save_pretrained(folder)
    return model


@needs_transformers
def test_a_classifier_of_hugging_face_is_its_logits(tmp_path):
    original = classifier(tmp_path / "own")
    own = entry(huggingface=str(tmp_path / "own"))
    assert own.fitted
    assert not own.faults()
    weights, _ = read_weights(own.weight_file("own"))
    description = {"input_shape": SHAPE, "outputs": 3, **own.architecture()}
    fitted_model(tmp_path / "kept.safetensors", description, weights, "own", images(classes=3), CPU)
    inputs = torch.from_numpy(images().model_inputs())
    with torch.no_grad():
        found = load_model(tmp_path / "kept.safetensors", CPU)(inputs)
        torch.testing.assert_close(found, original(inputs).logits, rtol=0, atol=1e-6)
    with pytest.raises(ModelError, match=r"own: has 3 classes, the data 2$"):
        build_model(SHAPE, 2, huggingface=str(tmp_path / "own"))


def test_the_files_of_a_classifier_are_its_own(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({}))
    save_file({"a": torch.zeros(1)}, tmp_path / "model.safetensors")
    own = entry(huggingface=str(tmp_path))
    assert own.own_files == {
        "huggingface": [str(tmp_path / "config.json")],
        "weights.file": [str(tmp_path / "model.safetensors")],
    }
    assert own.opened_files == [str(tmp_path / "config.json")]
    other = entry(huggingface=str(tmp_path), weights={"file": "other.pt"})
    assert other.weight_file("own") == "other.pt"
    assert entry(huggingface=str(tmp_path), **TRAINING).trained
