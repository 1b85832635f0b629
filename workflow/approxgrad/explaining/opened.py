"""Models as the terminal names them: files and addresses."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import torch

from approxgrad.messages import one_line
from approxgrad.models.kind import MODELS, ModelError
from approxgrad.models.libraries import needing
from approxgrad.models.onnx_model import OnnxModel
from approxgrad.models.services.service_model import ServiceModel
from approxgrad.storage.beginnings import recognised
from approxgrad.storage.damage import DAMAGES

OWN = ("cnn", "mlp", "resnet18", "resnet50")
"""Networks of this package that need no options."""

INPUT_ENDINGS = (".npy", ".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")
MODEL_ENDINGS = (".onnx", ".pt", ".pth", ".safetensors")
"""Endings, in lower case, of names that are surely those of inputs, and of models."""

ARCHIVE = b"PK\x03\x04"
"""How files begin that torch writes."""


def check_names(model: str, path: Path) -> None:
    """Refuse, by a ValueError, a model and an input that are named in the other order, and an input that is no file."""
    order = "the first argument is the model, the second its input"
    if "://" not in model and model.lower().endswith(INPUT_ENDINGS):
        raise ValueError(f"{model}: is named like an input, expected a model; {order}")
    if path.suffix.lower() in MODEL_ENDINGS:
        raise ValueError(f"{path}: is named like a model, expected an input; {order}")
    # Before a service is asked for anything.
    if not path.exists():
        raise ValueError(f"{path}: no such file")
    if path.is_dir():
        raise ValueError(f"{path}: is a folder, expected an image file or an array of one input (.npy)")


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
        try:
            return ServiceModel(name, shape=shape, **given)
        except ModelError as error:
            # What does not fit is no input yet, but the option.
            if shape is None or not str(error).startswith("inputs: "):
                raise
            raise ModelError(f"shape: {str(error).removeprefix('inputs: ')}; leave --shape out") from None
    if name.lower().endswith(".onnx"):
        if "model" in given:
            raise ModelError("model-name: is for services; a file has one model")
        return OnnxModel(name, threads=torch.get_num_threads(), **given)
    if Path(name).is_dir():
        raise ModelError(f"{name}: is a folder, expected an ONNX file, a TorchScript file, or weights")
    if given:
        raise ModelError(f"{', '.join(given).replace('_', '-')}: for services and ONNX files only, not for {name}")
    if architecture is None and outputs is not None:
        raise ModelError(f"outputs: is for weights of an architecture; {name} has outputs of its own")
    if architecture is not None:
        with needing("study"):
            return _network(Path(name), architecture, outputs, shape)
    return _script(Path(name))


def _network(path: Path, architecture: str, outputs: int | None, shape: tuple[int, ...] | None) -> torch.nn.Module:
    """Return a network with weights from a file."""
    from approxgrad.models.weights import fit_weights, read_weights

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
    if not path.exists():
        raise ModelError(f"{path}: no such file")
    try:
        return torch.jit.load(str(path), map_location="cpu").eval()
    except DAMAGES as error:
        raise ModelError(f"{path}: {_no_script(path, error)}") from None


def _no_script(path: Path, error: Exception) -> str:
    """Return why a file is no TorchScript that can be loaded, without the inner life of torch's reader."""
    weights = "for weights, name their --architecture"
    if not zipfile.is_zipfile(path):
        with path.open("rb") as file:
            torn = file.read(len(ARCHIVE)) == ARCHIVE
        told = "" if torn else recognised(path)
        return "is damaged: its end is missing" if torn else f"is no TorchScript file; {told or weights}"
    with zipfile.ZipFile(path) as archive:
        members = {name.rpartition("/")[2] for name in archive.namelist()}
    if "constants.pkl" in members:
        inner = isinstance(error, UnicodeError) or "PytorchStreamReader" in str(error)
        return "is damaged" if inner else f"cannot be loaded as TorchScript ({one_line(error, 100)})"
    what = "holds weights or a pickled model, and no TorchScript" if "data.pkl" in members else "is no TorchScript file"
    return f"{what}; {weights}"
