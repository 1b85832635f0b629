"""Weights that were trained elsewhere: read without unpickling objects, and fitted to a model or refused."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from approxgrad.messages import one_line
from approxgrad.models.evaluating import explained, switched
from approxgrad.models.kind import ModelError
from approxgrad.models.weight_names import plain_names, some
from approxgrad.storage.beginnings import recognised
from approxgrad.storage.damage import DAMAGES
from approxgrad.storage.seals import SealError, check_weights

EXTRA_STATE = "_extra_state"
"""Ending of the names under which modules keep values that are not tensors."""

WRAPPERS = (
    *("state_dict", "model_state_dict", "model", "net", "network", "weights", "params"),
    *("state_dict_ema", "ema_state_dict", "model_ema", "params_ema", "ema", "shadow"),
)
"""Keys of a checkpoint that its state dictionary stands under, the first that is there; averages come last."""

NO_WEIGHTS = "is neither safetensors nor a state dictionary of tensors only"

HOW_TO_SAVE = "where it was trained, write it with torch.save(model.state_dict(), path)"

UNREADABLE: tuple[type[Exception], ...] = (*DAMAGES, SafetensorError)
"""What both readers raise; torch's asks safetensors too, for files with such a name."""


def read_weights(path: Path | str, sha256: str | None = None) -> tuple[dict[str, Any], str]:
    """Return the tensors of a safetensors file or a torch state dictionary, and a line about where they were in it.

    The format is told by the content. A torch file is read with ``weights_only``, which builds tensors and
    containers and runs no code. In a checkpoint the state dictionary is found under its usual keys, :data:`WRAPPERS`;
    otherwise the line is empty.

    Parameters
    ----------
    path : path
        The file.
    sha256 : str, optional
        Checksum that the file must have.

    Raises
    ------
    ModelError
        If the file is missing, is neither, or has another checksum.
    """
    path = Path(path)
    try:
        if sha256 is not None:
            with path.open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
            if found != sha256.lower():
                raise ModelError(f"{path}: has SHA-256 {found}, expected {sha256}")
        check_weights(path)
        try:
            return load_file(path), ""
        except SafetensorError:
            if other := recognised(path):
                raise ModelError(f"{path}: {NO_WEIGHTS}; {other}") from None
            _check_records(path)
            state: Any = torch.load(path, map_location="cpu", weights_only=True)
    except ModelError:
        raise
    except SealError as error:
        raise ModelError(f"{path}: cannot be read as safetensors ({error})") from None
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({one_line(error.strerror or error)})") from None
    except UNREADABLE:
        raise ModelError(f"{path}: {NO_WEIGHTS}; {_foreign(path)}{HOW_TO_SAVE}") from None
    found, keys = state, []
    beside: list[str] = []
    while not _is_state(found):
        inside = [key for key in WRAPPERS if isinstance(found, Mapping) and isinstance(found.get(key), Mapping)]
        if not inside:
            raise ModelError(f"{path}: is not a state dictionary, which maps names to tensors{_held_keys(state)}")
        keys.append(inside[0])
        beside += inside[1:]
        found = found[inside[0]]
    others = f", which holds {' and '.join(beside)} too" if beside else ""
    return dict(found), f"weights from {'.'.join(keys)} of the checkpoint{others}" if keys else ""


def _is_state(value: Any) -> bool:
    return isinstance(value, Mapping) and all(
        isinstance(own, Tensor) or str(name).endswith(EXTRA_STATE) for name, own in value.items()
    )


def _held_keys(state: Any) -> str:
    return f"; it has the keys {one_line(some([str(key) for key in state]))}" if isinstance(state, Mapping) else ""


def _foreign(path: Path) -> str:
    """Return which classes a torch file needs besides tensors and containers, which are not imported for it."""
    try:
        found = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except UNREADABLE:
        return ""
    return f"it holds {one_line(some(found))}; " if found else ""


def _check_records(path: Path) -> None:
    """Check the checksums of a torch file that is a zip archive, which torch does not; all are zero without them."""
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as archive:
        damaged = archive.testzip() if any(record.CRC for record in archive.infolist()) else None
    if damaged is not None:
        raise ModelError(f"{path}: is damaged: the checksum of {one_line(damaged)} does not fit")


def fit_weights(model: nn.Module, weights: dict[str, Any], source: str) -> str:
    """Put weights into a model, and return a line about what was left out of their names; empty if nothing was.

    Of names that share one tensor, such as tied weights, a file may hold any. Names that do not fit are tried without
    what training scripts add to them (:func:`approxgrad.models.weight_names.plain_names`).

    Parameters
    ----------
    model : Module
        Changed in place.
    weights : dict
        Tensors, and extra state, by the names of the model's state dictionary.
    source : str
        Where the weights come from, for messages.

    Raises
    ------
    ModelError
        If names, shapes or kinds of numbers differ, a parameter is not finite, or names that share a tensor have
        different values; nothing is changed then.
    """
    with explained(f"{source}: the state dictionary of the model cannot be read"):
        own = model.state_dict()
    weights, note = plain_names(weights, own)
    faults = _faults(own, weights, {name for name, _ in model.named_parameters()})
    if faults:
        raise ModelError(f"{source}: does not fit {type(model).__name__}: {'; '.join(faults)}")
    with switched(model, training=True), explained(f"{source}: cannot be put into {type(model).__name__}"):
        model.load_state_dict(weights, strict=False)
    return note


def _faults(own: dict[str, Any], weights: dict[str, Any], learned: set[str]) -> list[str]:
    """Return what differs between a model's state and weights for it, of which some names are parameters."""
    places = _places(own)
    given = {places[name] for name in weights if name in places}
    # Torch counts batches in a buffer that older files lack and that inference does not use.
    missing = [
        name
        for name in own
        if name not in weights and places.get(name) not in given and not name.endswith("num_batches_tracked")
    ]
    common = [name for name, value in own.items() if name in weights and isinstance(value, Tensor)]
    wrong = [fault for name in common for fault in _wrong(name, weights[name], own[name])]
    alike = wrong or [
        f"{name} holds values that {_type(own[name])} does not"
        for name in common
        if not _held(weights[name], own[name])
    ]
    broken = [] if alike else [name for name in common if name in learned and not weights[name].isfinite().all()]
    first: dict[tuple[Any, ...], str] = {}
    pairs = [(name, first.setdefault(places[name], name)) for name in common if name in places]
    apart = [
        f"{name} and {other}"
        for name, other in pairs
        if name != other and not alike and not torch.equal(weights[name], weights[other])
    ]
    kinds = {
        "missing": missing,
        "unexpected": [name for name in weights if name not in own],
        "wrong:": alike,
        "NaN or infinite values in": broken,
        "different values for what is one tensor in the model:": apart,
    }
    faults = [f"{kind} {one_line(some(names))}" for kind, names in kinds.items() if names]
    longer = [name for name in common if _has_more_rows(weights[name], own[name])]
    if longer and len(longer) == len(alike):
        faults.append("if they know more classes than the data, name them as `classes` there")
    return faults


def _has_more_rows(found: Any, own: Tensor) -> bool:
    """Whether a value is that of a layer with more outputs."""
    shape = tuple(found.shape) if isinstance(found, Tensor) else ()
    return bool(shape) and own.ndim == len(shape) and shape[1:] == own.shape[1:] and shape[0] > own.shape[0]


def download_weights(repository: str, file: str, revision: str | None = None) -> Path:
    """Return the local path of a file from a Hugging Face repository, fetched once and cached by `huggingface_hub`.

    Raises a ModelError if it cannot be downloaded; the message says why, and what works without the network.
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    advice = "download it by hand and set weights.file instead"
    try:
        return Path(hf_hub_download(repository, file, revision=revision))
    except LocalEntryNotFoundError:
        raise ModelError(
            f"weights: {file} of {repository} is not cached and the Hugging Face hub cannot be reached; {advice}"
        ) from None
    except (HfHubHTTPError, OSError, ValueError) as error:
        reason = one_line(error)
        raise ModelError(f"weights: {file} of {repository} cannot be downloaded ({reason}); {advice}") from None


def _places(state: dict[str, Any]) -> dict[str, tuple[Any, ...]]:
    """Return where the tensors of a state dictionary lie: names with the same place are one tensor."""
    return {
        name: (value.data_ptr(), value.shape, value.stride(), value.dtype)
        for name, value in state.items()
        if isinstance(value, Tensor) and value.layout == torch.strided and value.numel()
    }


def _wrong(name: str, found: Any, own: Tensor) -> list[str]:
    """Return whether a value has another shape or kind of numbers than the model's; precisions are converted."""
    if not isinstance(found, Tensor):
        return [f"{name} holds {type(found).__name__}, expected {_type(own)}"]
    faults = []
    if found.shape != own.shape:
        faults.append(f"{name} has shape {tuple(found.shape)}, expected {tuple(own.shape)}")
    kinds = {(value.is_floating_point(), value.is_complex()) for value in (found, own)}
    if found.layout != torch.strided or len(kinds) > 1:
        faults.append(f"{name} holds {_type(found)}, expected {_type(own)}")
    return faults


def _held(found: Tensor, own: Tensor) -> bool:
    """Whether numbers survive another precision: none becomes infinite, and whole ones do not change."""
    converted = found.to(own.dtype)
    if found.is_floating_point() or found.is_complex():
        return bool((converted.isfinite() == found.isfinite()).all())
    return torch.equal(converted.to(found.dtype), found)


def _type(tensor: Tensor) -> str:
    layout = "" if tensor.layout == torch.strided else " in a sparse layout"
    return f"{str(tensor.dtype).removeprefix('torch.')}{layout}"
