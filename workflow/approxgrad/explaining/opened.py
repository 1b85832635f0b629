"""Models and inputs as the terminal names them: files and addresses."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from approxgrad.datasets.faults import reading
from approxgrad.datasets.pixels import decoded, pillow_limits
from approxgrad.messages import one_line
from approxgrad.models.kind import MODELS, ModelError
from approxgrad.models.onnx_model import OnnxModel
from approxgrad.models.services.service_model import ServiceModel
from approxgrad.models.weights import fit_weights, read_weights

OWN = ("cnn", "mlp", "resnet18", "resnet50")
"""Networks of this package that need no options."""


def opened_model(
    name: str,
    shape: tuple[int, ...] | None,
    architecture: str | None = None,
    outputs: int | None = None,
    **options: Any,
) -> Any:
    """Return a model from a file or a service.

    Parameters
    ----------
    name : str
        An address with ``://``, a file that ends in ``.onnx``, weights of an architecture, or a TorchScript file.
    shape : tuple of int, optional
        Of one input, for services that do not say it, and for architectures.
    architecture : str, optional
        A network of this package or of torchvision, for files of weights: safetensors or a state dictionary.
    outputs : int, optional
        Its outputs; by default as many as the last weights have.
    **options
        For files of ONNX and services: `output`, `transform`, `channels_last`, `round_inputs`; for services `model`.

    Raises
    ------
    ModelError
        If it cannot be opened.
    """
    given = {key: value for key, value in options.items() if value}
    of_weights = {"architecture": architecture, "outputs": outputs}
    if "://" in name or name.lower().endswith(".onnx"):
        for key in (key for key, value in of_weights.items() if value is not None):
            raise ModelError(f"{key}: is for files of weights, not for {name}; leave it out")
    if "://" in name:
        return ServiceModel(name, shape=shape, **given)
    if name.lower().endswith(".onnx"):
        if "model" in given:
            raise ModelError("model-name: is for services; a file has one model")
        return OnnxModel(name, threads=torch.get_num_threads(), **given)
    if given:
        raise ModelError(f"{', '.join(given).replace('_', '-')}: for services and ONNX files only, not for {name}")
    if architecture is None and outputs is not None:
        raise ModelError(f"outputs: is for weights of an architecture; {name} has outputs of its own")
    if architecture is not None:
        return _network(Path(name), architecture, outputs, shape)
    return _script(Path(name))


def _network(path: Path, architecture: str, outputs: int | None, shape: tuple[int, ...] | None) -> torch.nn.Module:
    """Return a network with weights from a file."""
    state, _ = read_weights(path)
    if outputs is None:
        last = list(_untrained(architecture, 1, shape).state_dict())[-1]
        outputs = int(state[last].shape[0]) if last in state else 1
    network = _untrained(architecture, outputs, shape)
    fit_weights(network, state, str(path))
    return network.eval()


def _untrained(architecture: str, outputs: int, shape: tuple[int, ...] | None) -> torch.nn.Module:
    """Return a network of this package, or else of torchvision."""
    if architecture in OWN:
        if shape is None:
            raise ModelError(f"shape: {architecture} needs that of its inputs")
        described: Any = MODELS[architecture]
        return described().build(shape, outputs)
    from torchvision.models import get_model

    try:
        return get_model(architecture, weights=None, num_classes=outputs)
    except (ValueError, TypeError) as error:
        raise ModelError(f"architecture: {one_line(error)}") from None


def _script(path: Path) -> Any:
    """Return a TorchScript file as a function."""
    if not path.is_file():
        raise ModelError(f"{path}: is no file" if path.exists() else f"{path}: there is no such file")
    try:
        return torch.jit.load(str(path), map_location="cpu").eval()
    except RuntimeError as error:
        raise ModelError(
            f"{path}: is no TorchScript file ({one_line(error, 100)}); for weights, name their --architecture"
        ) from None


def read_input(
    path: Path,
    shape: tuple[int, ...] | None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    *,
    integers: bool = False,
) -> NDArray[np.float32]:
    """Return one input of a model: an array of a ``.npy`` file as it is, or an image file.

    An image is resized to cover height and width of the shape, cut to its middle, scaled to [0, 1] and normalised. For
    a model that takes integers it keeps its pixels from 0 to 255.

    Parameters
    ----------
    path : Path
        The file.
    shape : tuple of int, optional
        Channels, height and width, which images need, and an array must have, alone or as a batch of one.
    mean, std : sequence of float, optional
        One number for all channels, or one for each: subtracted, and divided by. For images only.
    integers : bool
        Whether the model takes integers.

    Raises
    ------
    DatasetError, OSError, ValueError
        If the file cannot be read, or does not fit.
    """
    normalised = {name: values for name, values in (("mean", mean), ("std", std)) if values is not None}
    if path.suffix.lower() == ".npy":
        for name in normalised:
            raise ValueError(f"{name}: is for image files; the array in {path} is taken as it is")
        array = _array(path)
        if shape is not None and array.shape not in (shape, (1, *shape)):
            raise ValueError(f"{path}: has shape {array.shape}, expected {shape}")
        return array
    with reading(f"{path}: cannot be read"):
        content = path.read_bytes()
    if shape is None:
        raise ValueError(f"{path}: is an image, and the model does not say how large its inputs are; give --shape")
    if len(shape) != 3 or shape[0] not in (1, 3):
        raise ValueError(f"{path}: is an image, but the model takes inputs of shape {shape}; give an array (.npy)")
    for name, values in normalised.items():
        if integers:
            raise ValueError(f"{name}: the model takes integers, which are the pixels themselves; leave it out")
        if len(values) not in (1, shape[0]):
            raise ValueError(f"{name}: expected one number or {shape[0]}, got {len(values)}")
        if not all(0 <= value <= 1 for value in values) or (name == "std" and 0 in values):
            least = "above 0" if name == "std" else "from 0"
            raise ValueError(
                f"{name}: expected numbers {least} to 1, as of pixels from 0 to 1, got {' '.join(map(str, values))}; "
                "divide those of pixels from 0 to 255 by 255"
            )
    with pillow_limits():
        pixels = decoded(content, (shape[1], shape[2]), shape[0], str(path))
    if integers:
        return np.asarray(np.rint(pixels), np.float32)
    centre, spread = (np.reshape(np.asarray(values, np.float64), (-1, 1, 1)) for values in (mean or [0], std or [1]))
    return np.asarray((pixels / 255 - centre) / spread, np.float32)


def _array(path: Path) -> NDArray[Any]:
    """Return the numbers of a ``.npy`` file, as float32 or float64."""
    with reading(f"{path}: cannot be read"):
        values = np.load(path, allow_pickle=False)
    if values.dtype.kind not in "fiub":
        raise ValueError(f"{path}: holds {values.dtype}, expected real numbers")
    return np.asarray(values, np.float64 if values.dtype == np.float64 else np.float32)
