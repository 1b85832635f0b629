"""Files of networks: weights as safetensors, with a description from which the network is built again."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from approxgrad.descriptions import read
from approxgrad.messages import one_line
from approxgrad.models.evaluating import try_out
from approxgrad.models.kind import MODELS, ModelError
from approxgrad.models.network_kind import Network
from approxgrad.models.states import decoded, joined_state
from approxgrad.storage.seals import SealError, check_weights

NOT_ARCHITECTURE = ("input_shape", "outputs", "provenance", "extra_state")
"""Entries of a file's description besides those that name its network."""


def network(description: Mapping[str, Any]) -> Network:
    """Return the network that a file's description names; a ModelError if there is no such network."""
    options = {key: value for key, value in description.items() if key not in NOT_ARCHITECTURE}
    name = options.pop("architecture", None) or next((key for key in options if key in MODELS), None)
    networks: dict[str, type[Network]] = {own: kind for own, kind in MODELS.items() if issubclass(kind, Network)}
    if name not in networks:
        raise ModelError(f"architecture: got {name!r}, expected one of {', '.join(networks)}")
    return read(networks[name], options)


def build_model(input_shape: Sequence[int], outputs: int, *, tried: bool = True, **architecture: Any) -> nn.Module:
    """Return an untrained network, initialised from torch's random state.

    Parameters
    ----------
    input_shape : sequence of int
        Shape of one input.
    outputs : int
        Number of classes, or 1 for a regression.
    tried : bool
        Whether the network is evaluated once, so that one that does not fit the data is refused.
    **architecture
        What :meth:`approxgrad.models.network_kind.Network.architecture` returns; other entries of a file's description
        are passed over.

    Raises
    ------
    ModelError
        If there is no such network, it cannot be made, or it does not take inputs of that shape.
    """
    own, shape = network(architecture), tuple(input_shape)
    fault = own.shape_fault(shape)
    if fault is not None:
        raise ModelError(fault)
    model = own.build(shape, outputs)
    if tried:
        try_out(model, shape, outputs)
    return model


def load_model(path: Path | str, device: torch.device) -> nn.Module:
    """Return a network in evaluation mode.

    Raises a ModelError if the file was not written by :func:`save_model`, or is damaged.
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
        if "options" in description:
            description["options"] = decoded(description["options"], {}, set())
        model = build_model(**description, tried=False)
        if state.keys() != model.state_dict().keys():
            try_out(model, tuple(description["input_shape"]), description["outputs"])
        model.load_state_dict(state)
    except (Exception, SystemExit) as error:
        raise ModelError(f"{path}: no model can be made of it ({one_line(error)})") from error
    model.eval()
    return model.to(device)
