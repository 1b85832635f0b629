import pickle

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from approxgrad.models.kind import ModelError
from approxgrad.models.model_files import build_model, load_model
from approxgrad.models.saved import save_model

CPU = torch.device("cpu")
DESCRIPTIONS = {
    "cnn": {"architecture": "cnn", "input_shape": (1, 8, 8), "outputs": 10},
    "mlp": {"architecture": "mlp", "input_shape": (12,), "outputs": 1, "hidden": [8, 4], "dropout": 0.4},
    "resnet18": {"architecture": "resnet18", "input_shape": (1, 8, 8), "outputs": 10, "stem": "imagenet"},
}


def outputs(model, shape):
    with torch.inference_mode():
        return model.eval()(torch.randn(2, *shape, generator=torch.Generator().manual_seed(0)))


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 32, 32), (3, 33, 20), (2, 4, 4)])
@pytest.mark.parametrize("classes", [2, 10])
def test_the_cnn_takes_images_of_any_size(shape, classes):
    assert outputs(build_model(architecture="cnn", input_shape=shape, outputs=classes), shape).shape == (2, classes)


def test_the_cnn_has_the_layers_of_the_thesis():
    model = build_model(architecture="cnn", input_shape=(3, 32, 32), outputs=10)
    shapes = {name: tuple(weight.shape) for name, weight in model.named_parameters() if name.endswith("weight")}
    assert shapes == {
        "conv1.weight": (32, 3, 3, 3),
        "conv2.weight": (32, 32, 3, 3),
        "conv3.weight": (64, 32, 3, 3),
        "fc1.weight": (256, 64 * 8 * 8),
        "fc2.weight": (10, 256),
    }


def test_the_mlp_flattens_its_inputs_and_has_the_hidden_widths():
    model = build_model(architecture="mlp", input_shape=(2, 3), outputs=4, hidden=[7, 5], dropout=0.3)
    assert [tuple(layer.weight.shape) for layer in model.network if isinstance(layer, nn.Linear)] == [
        (7, 6),
        (5, 7),
        (4, 5),
    ]
    assert [layer.p for layer in model.network if isinstance(layer, nn.Dropout)] == [0.3, 0.3]
    assert outputs(model, (2, 3)).shape == (2, 4)


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
@pytest.mark.parametrize(
    ("stem", "channels", "kernel", "stride"), [("imagenet", 3, 7, 2), ("imagenet", 1, 7, 2), ("cifar", 1, 3, 1)]
)
def test_residual_networks_have_a_choice_of_stem(name, stem, channels, kernel, stride):
    model = build_model(architecture=name, input_shape=(channels, 8, 8), outputs=4, stem=stem)
    assert (model.conv1.in_channels, model.conv1.kernel_size[0], model.conv1.stride[0]) == (channels, kernel, stride)
    assert isinstance(model.maxpool, nn.MaxPool2d if stem == "imagenet" else nn.Identity)
    assert model.fc.in_features == {"resnet18": 512, "resnet50": 2048}[name]
    assert outputs(model, (channels, 8, 8)).shape == (2, 4)


@pytest.mark.parametrize(("architecture", "shape"), [("cnn", (12,)), ("cnn", (1, 3, 8)), ("resnet18", (12,))])
def test_unfit_shapes_are_refused(architecture, shape):
    options = {"stem": "cifar"} if architecture == "resnet18" else {}
    with pytest.raises(ModelError, match=rf"^architecture {architecture}: expected images .* got shape \({shape[0]},"):
        build_model(architecture=architecture, input_shape=shape, outputs=2, **options)


def test_unknown_architectures_are_refused_with_the_known_ones():
    with pytest.raises(ModelError, match=r"^architecture: got 'vgg', expected one of cnn, mlp, resnet18, resnet50, t"):
        build_model(architecture="vgg", input_shape=(3,), outputs=1)


@pytest.mark.parametrize("name", DESCRIPTIONS)
def test_a_stored_model_comes_back_bit_for_bit(tmp_path, name):
    description = DESCRIPTIONS[name]
    model = build_model(**description)
    for buffer in model.buffers():
        buffer.add_(1)
    save_model(tmp_path / "weights.safetensors", model, description)
    loaded = load_model(tmp_path / "weights.safetensors", CPU)
    assert not any(layer.training for layer in loaded.modules())
    assert loaded.state_dict().keys() == model.state_dict().keys()
    for key, tensor in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[key], tensor)
    assert torch.equal(outputs(loaded, description["input_shape"]), outputs(model, description["input_shape"]))


def test_storing_twice_gives_the_same_bytes(tmp_path):
    model = build_model(**DESCRIPTIONS["mlp"])
    for name in ("a", "b"):
        save_model(tmp_path / name, model, DESCRIPTIONS["mlp"])
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


class Bomb:
    """Raises when it is unpickled."""

    def __reduce__(self):
        return (exec, ("raise RuntimeError('a pickle was executed')",))


@pytest.mark.parametrize(
    ("write", "complaint"),
    [
        (lambda path: None, "cannot be read as safetensors"),
        (lambda path: path.write_bytes(b""), "cannot be read as safetensors"),
        (lambda path: path.write_bytes(b"x" * 100), "cannot be read as safetensors"),
        (lambda path: path.write_bytes(pickle.dumps(Bomb())), "cannot be read as safetensors"),
        (lambda path: torch.save({"weight": torch.ones(2)}, path), "cannot be read as safetensors"),
        (lambda path: save_file({"weight": torch.ones(2)}, path), "does not say which architecture"),
        (
            lambda path: save_file({"weight": torch.ones(2)}, path, metadata={"approxgrad": "not json"}),
            "does not say which architecture",
        ),
    ],
    ids=["missing", "empty", "garbage", "pickle", "torch", "no description", "broken description"],
)
def test_files_that_hold_no_model_are_refused(tmp_path, write, complaint):
    path = tmp_path / "weights.safetensors"
    write(path)
    with pytest.raises(ModelError, match=rf"weights\.safetensors: {complaint}"):
        load_model(path, CPU)
