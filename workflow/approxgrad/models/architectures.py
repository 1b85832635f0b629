"""Architectures and the files that hold trained models."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from approxgrad.messages import one_line
from approxgrad.models.factories import ModelError as ModelError
from approxgrad.models.factories import explained, made_by_factory, materialise, switched
from approxgrad.models.shapes import shape_fault
from approxgrad.models.states import StateError, decoded, encoded, joined_state, split_state
from approxgrad.storage.seals import SealError, check_weights, sealed_weights
from approxgrad.storage.tables import write_atomically

Shape = tuple[int, ...]

NOT_ARCHITECTURE = ("provenance", "extra_state")
"""Entries of a file's description that :func:`build_model` does not take."""


class CNN(nn.Module):
    """The image network of the thesis: three 3 x 3 convolutions and two linear layers.

    Convolutions of 32, 32 and 64 channels, each followed by ReLU, with 2 x 2 max-pooling after the second and the
    third; then a hidden layer of 256 units.

    Parameters
    ----------
    input_shape : tuple of int
        Channels, height and width; :data:`approxgrad.models.shapes.SMALLEST_SIDE` bounds the sides.
    outputs : int
        Number of classes.
    """

    def __init__(self, input_shape: Shape, outputs: int) -> None:
        super().__init__()
        channels, height, width = _image_shape("cnn", input_shape)
        self.conv1 = nn.Conv2d(channels, 32, 3, padding=1)
        self.conv2 = nn.Conv2d(32, 32, 3, padding=1)
        self.conv3 = nn.Conv2d(32, 64, 3, padding=1)
        self.pool = nn.MaxPool2d(2)
        self.relu = nn.ReLU()
        self.fc1 = nn.Linear(64 * (height // 4) * (width // 4), 256)
        self.fc2 = nn.Linear(256, outputs)

    def forward(self, images: Tensor) -> Tensor:
        """Return class scores of shape (N, outputs) for images of shape (N, *input_shape)."""
        maps = self.relu(self.conv1(images))
        maps = self.pool(self.relu(self.conv2(maps)))
        maps = self.pool(self.relu(self.conv3(maps)))
        return self.fc2(self.relu(self.fc1(maps.flatten(1))))


class MLP(nn.Module):
    """The tabular network of the thesis: hidden layers with ReLU and dropout, and a linear output.

    Parameters
    ----------
    input_shape : tuple of int
        Inputs of any shape are flattened.
    outputs : int
        Number of classes, or 1 for a regression.
    hidden : sequence of int
        Widths of the hidden layers.
    dropout : float
        Probability with which a hidden unit is dropped in training.
    """

    def __init__(self, input_shape: Shape, outputs: int, hidden: list[int], dropout: float) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        width = math.prod(input_shape)
        for units in hidden:
            layers += [nn.Linear(width, units), nn.ReLU(), nn.Dropout(dropout)]
            width = units
        self.network = nn.Sequential(*layers, nn.Linear(width, outputs))

    def forward(self, inputs: Tensor) -> Tensor:
        """Return outputs of shape (N, outputs) for inputs of shape (N, *input_shape)."""
        return self.network(inputs.flatten(1))


def _resnet(name: str) -> Callable[..., nn.Module]:
    def build(input_shape: Shape, outputs: int, stem: str) -> nn.Module:
        # Importing torchvision takes as long as importing torch; only these architectures need it.
        from torchvision.models import resnet

        channels, _, _ = _image_shape(name, input_shape)
        network: nn.Module = getattr(resnet, name)(num_classes=outputs)
        if stem == "cifar":
            network.conv1 = nn.Conv2d(channels, 64, 3, padding=1, bias=False)
            network.maxpool = nn.Identity()
        elif channels != 3:
            network.conv1 = nn.Conv2d(channels, 64, 7, stride=2, padding=3, bias=False)
        return network

    build.__doc__ = f"torchvision's {name} (He et al., 2016, https://arxiv.org/abs/1512.03385) with a choice of stem."
    return build


ARCHITECTURES: dict[str, Callable[..., nn.Module]] = {
    "cnn": CNN,
    "mlp": MLP,
    "resnet18": _resnet("resnet18"),
    "resnet50": _resnet("resnet50"),
}


def build_model(
    input_shape: Shape,
    outputs: int,
    architecture: str | None = None,
    factory: str | None = None,
    options: dict[str, Any] | None = None,
    *,
    tried: bool = True,
    **architecture_options: Any,
) -> nn.Module:
    """Return an untrained model, initialised from torch's random state.

    Parameters
    ----------
    input_shape : tuple of int
        Shape of one input.
    outputs : int
        Number of classes, or 1 for a regression.
    architecture : str, optional
        A name from :data:`ARCHITECTURES`, which takes `architecture_options`.
    factory : str, optional
        Instead: ``package.module:function``, called as ``function(input_shape, outputs, **options)``.
    options : dict, optional
        Of the factory.
    tried : bool
        Whether what a factory makes is evaluated once, so that one that does not fit the data is refused.

    Raises
    ------
    ModelError
        If there is no such architecture or factory, it fails, or it does not take inputs of that shape.
    """
    shape = tuple(input_shape)
    if factory is not None:
        return made_by_factory(factory, shape, outputs, options or {}, tried=tried)
    if architecture not in ARCHITECTURES:
        raise ModelError(f"architecture: got {architecture!r}, expected one of {', '.join(ARCHITECTURES)}")
    return ARCHITECTURES[architecture](shape, outputs, **architecture_options)


def save_model(
    path: Path | str,
    model: nn.Module,
    description: dict[str, Any],
    *,
    inputs: Tensor | None = None,
    checked: bool = True,
) -> None:
    """Write weights as safetensors, and see that they give the same model again.

    Parameters
    ----------
    path : path
        The file.
    model : Module
        Its state dictionary is written, as it is in training mode; some networks fold weights for evaluation.
    description : dict
        The arguments of :func:`build_model`, and the entry ``provenance`` where it is known.
    inputs : Tensor, optional
        Rows that both models are evaluated with, where the model is; by default random ones.
    checked : bool
        Whether the file is loaded again before it gets its name, see :func:`approxgrad.models.saved.check_saved`.

    Raises
    ------
    ModelError
        If the state dictionary or the description holds what such a file cannot, or another model comes out of it.
    """
    # It needs `load_model`.
    from approxgrad.models.saved import check_saved

    try:
        # Copied before the mode changes back, which changes the tensors of a network that folds them.
        with switched(model, training=True):
            with explained("model: its state dictionary cannot be had"):
                state = model.state_dict()
            weights, extra = split_state(state)
        document = description | ({"extra_state": extra} if extra else {})
        if "options" in document:
            document["options"] = encoded(document["options"], "options of the factory")
    except StateError as error:
        raise ModelError(f"model: cannot be saved: {error}") from None
    # In the order in which a factory was given its options.
    metadata = {"approxgrad": json.dumps(document, allow_nan=False)}

    def write(temporary: Path) -> None:
        # Not by safetensors itself, whose error for a full disk is none of Python's.
        temporary.write_bytes(sealed_weights(save(weights, metadata=metadata)))
        if checked:
            check_saved(temporary, model, description, inputs)

    write_atomically(path, write)


def load_model(path: Path | str, device: torch.device) -> nn.Module:
    """Return a trained model in evaluation mode.

    Raises
    ------
    ModelError
        If the file was not written by :func:`save_model`, or is damaged.
    """
    try:
        check_weights(path)
        with safe_open(path, framework="pt") as file:
            description = json.loads((file.metadata() or {})["approxgrad"])
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    except (OSError, SafetensorError, SealError, MemoryError) as error:
        raise ModelError(f"{path}: cannot be read as safetensors ({one_line(error)})") from None
    except (KeyError, json.JSONDecodeError):
        raise ModelError(f"{path}: does not say which architecture its weights belong to") from None
    try:
        state = joined_state(weights, description.get("extra_state", {}))
        architecture = {key: value for key, value in description.items() if key not in NOT_ARCHITECTURE}
        if "options" in architecture:
            architecture["options"] = decoded(architecture["options"], {}, set())
        model = build_model(**architecture, tried=False)
        if state.keys() != model.state_dict().keys():
            materialise(model, tuple(architecture["input_shape"]))
        model.load_state_dict(state)
    except (Exception, SystemExit) as error:
        raise ModelError(f"{path}: no model can be made of it ({one_line(error)})") from error
    model.eval()
    return model.to(device)


def _image_shape(name: str, shape: Shape) -> tuple[int, int, int]:
    fault = shape_fault(name, shape)
    if fault is not None:
        raise ModelError(fault)
    channels, height, width = shape
    return channels, height, width
