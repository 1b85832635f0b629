"""State of a model as tensors and JSON: the same values come back, and nothing is unpickled.

A state dictionary holds tensors, and whatever ``get_extra_state`` of a module returns. JSON has text
as its only keys, and no tuples, infinite numbers, tensors or arrays: there, and in the options of a factory, each of
these is written as a mapping with one key that begins with :data:`TAG`.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor, nn

from approxgrad.messages import one_line

TAG = "approxgrad:"

PLAIN = (type(None), bool, int, float, str)
"""Types that JSON returns as they were."""


class StateError(ValueError):
    """A value that cannot be written; the message says where it is and what is allowed."""


def split_state(state: Mapping[str, Any]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return a state dictionary as tensors that share no memory, and the rest as JSON.

    Raises a StateError if a value is neither a plain tensor nor made of what :func:`encoded` takes.
    """
    tensors = {name: _plain(name, value) for name, value in state.items() if isinstance(value, Tensor)}
    rest: dict[str, Tensor] = {}
    extra = {name: encoded(value, name, rest) for name, value in state.items() if not isinstance(value, Tensor)}
    return tensors | rest, extra


def joined_state(tensors: Mapping[str, Tensor], extra: Mapping[str, Any]) -> dict[str, Any]:
    """Return the state dictionary that :func:`split_state` has split."""
    used: set[str] = set()
    rest = {name: decoded(value, tensors, used) for name, value in extra.items()}
    return {name: tensor for name, tensor in tensors.items() if name not in used} | rest


def encoded(value: Any, where: str, tensors: dict[str, Tensor] | None = None) -> Any:
    """Return numbers, text, None, lists, tuples and mappings as JSON, and put their tensors and arrays aside.

    Parameters
    ----------
    value : Any
        What is written.
    where : str
        Its name, for messages and for its tensors.
    tensors : dict, optional
        Filled with its tensors; without it, tensors and arrays are refused.

    Raises
    ------
    StateError
        If the value contains anything else.
    """
    kind = type(value)
    if kind is float and not math.isfinite(value):
        return {f"{TAG}float": str(value)}
    if kind in PLAIN:
        return value
    if kind is list:
        return [encoded(item, where, tensors) for item in value]
    if kind is tuple:
        return {f"{TAG}tuple": [encoded(item, where, tensors) for item in value]}
    if kind in (dict, OrderedDict):
        if all(type(key) is str and not key.startswith(TAG) for key in value):
            return {key: encoded(item, where, tensors) for key, item in value.items()}
        pairs = [[encoded(key, where, tensors), encoded(item, where, tensors)] for key, item in value.items()]
        return {f"{TAG}mapping": pairs}
    if tensors is not None and isinstance(value, (Tensor, np.ndarray, np.generic)):
        name = f"{where}#{len(tensors)}"
        try:
            tensors[name] = _plain(where, value if isinstance(value, Tensor) else torch.from_numpy(np.array(value)))
        except TypeError:
            raise StateError(f"{where}: holds an array of {value.dtype}, expected numbers") from None
        return {f"{TAG}{'tensor' if isinstance(value, Tensor) else 'array'}": name}
    also = "" if tensors is None else ", tensors and arrays"
    raise StateError(
        f"{where}: holds a value of type {kind.__name__}, expected numbers, text, lists, tuples and mappings{also}"
    )


def decoded(value: Any, tensors: Mapping[str, Tensor], used: set[str]) -> Any:
    """Return what :func:`encoded` was given, and add the names of its tensors to `used`."""
    if isinstance(value, list):
        return [decoded(item, tensors, used) for item in value]
    if not isinstance(value, dict):
        return value
    tag = next(iter(value), "")
    if not tag.startswith(TAG):
        return {key: decoded(item, tensors, used) for key, item in value.items()}
    content = value[tag]
    match tag.removeprefix(TAG):
        case "tuple":
            return tuple(decoded(item, tensors, used) for item in content)
        case "mapping":
            return {decoded(key, tensors, used): decoded(item, tensors, used) for key, item in content}
        case "float":
            return float(content)
        case "tensor":
            used.add(content)
            return tensors[content]
        case "array":
            used.add(content)
            return tensors[content].numpy()[()]
    raise StateError(f"got {one_line(tag)}, expected a kind of value that this version knows")


def _plain(name: str, tensor: Tensor) -> Tensor:
    """Return a copy of a tensor, contiguous on the CPU."""
    if nn.parameter.is_lazy(tensor):
        raise StateError(f"{name}: has no shape yet, because the network was never called")
    kind = str(tensor.dtype).removeprefix("torch.")
    if type(tensor) not in (Tensor, nn.Parameter, nn.Buffer) or tensor.layout != torch.strided or tensor.is_quantized:
        form = f"{type(tensor).__name__} of {kind}"
        raise StateError(f"{name}: is a {form} whose values are not contiguous, expected a plain tensor")
    if tensor.is_meta:
        raise StateError(f"{name}: is on the device meta, so it has no values")
    try:
        save({name: torch.empty(0, dtype=tensor.dtype)})
    except KeyError:
        raise StateError(f"{name}: holds {kind}, which safetensors cannot store") from None
    # Safetensors copies the memory: a conjugate or negative view would lose its sign.
    return tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
