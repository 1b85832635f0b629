"""What a caller would notice if an engine changed the model: all of it must stay the same during and after a call."""

from __future__ import annotations

import contextlib
import functools
import random
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

HOOKS = (
    "_forward_hooks",
    "_forward_pre_hooks",
    "_backward_hooks",
    "_backward_pre_hooks",
    "_state_dict_hooks",
    "_load_state_dict_pre_hooks",
)
EVALUATING = ("forward", "_call_impl", "__call__")
"""Names of the Python functions in which a model is being evaluated."""


def modules_of(thing: Any, depth: int = 3) -> list[nn.Module]:
    """Return the modules that a callable is or holds: in its closure, its object, its attributes."""
    if isinstance(thing, nn.Module):
        return [thing]
    if depth == 0:
        return []
    held: list[Any] = []
    if isinstance(thing, functools.partial):
        held += [thing.func, *thing.args, *thing.keywords.values()]
    elif isinstance(thing, (list, tuple)):
        held += thing
    else:
        with contextlib.suppress(AttributeError):
            held += [cell.cell_contents for cell in object.__getattribute__(thing, "__closure__") or ()]
        with contextlib.suppress(AttributeError):
            held.append(object.__getattribute__(thing, "__self__"))
        with contextlib.suppress(AttributeError):
            held += list(object.__getattribute__(thing, "__dict__").values())
    return [module for one in held for module in modules_of(one, depth - 1)]


def wiring(model: Any) -> dict[str, Any]:
    """Describe modes, hooks, attributes and storage, without the numbers: cheap enough for every call of a function."""
    found: dict[str, Any] = {}
    for index, module in enumerate(modules_of(model)):
        for name, layer in nn.Module.named_modules(module):
            own = f"{index}.{name}"
            found[own] = (id(layer), type(layer), getattr(layer, "training", None))
            # What comes out of a file fills in its attributes when it is first called.
            attributes = {} if isinstance(layer, torch.jit.ScriptModule) else vars(layer)
            found[f"{own} attributes"] = sorted(attributes)
            found[f"{own} forward"] = id(attributes["forward"]) if "forward" in attributes else None
            for kind in HOOKS:
                found[f"{own} {kind}"] = list(attributes.get(kind) or ())
        for name, tensor in tensors_of(module):
            found[f"{index}.{name}"] = (id(tensor), tensor.requires_grad, id(tensor.grad), *_storage(tensor))
    for kind in ("_global_forward_hooks", "_global_forward_pre_hooks", "_global_backward_hooks"):
        found[kind] = list(getattr(torch.nn.modules.module, kind))
    return found


def tensors_of(module: nn.Module) -> list[tuple[str, Tensor]]:
    """Return parameters and buffers, shared ones under each of their names."""
    return [
        *nn.Module.named_parameters(module, remove_duplicate=False),
        *nn.Module.named_buffers(module, remove_duplicate=False),
    ]


def _storage(tensor: Tensor) -> tuple[Any, ...]:
    if isinstance(tensor, nn.parameter.UninitializedTensorMixin):
        return ("uninitialised",)
    if tensor.layout != torch.strided or tensor.is_meta:
        return (tensor.layout,)
    return (tensor.data_ptr(), tensor.stride(), tensor.storage_offset(), tensor.shape, tensor.dtype)


def numbers(model: Any) -> dict[str, Any]:
    """Return copies of all numbers of the modules, and of the gradients of their parameters."""
    found: dict[str, Any] = {}
    for index, module in enumerate(modules_of(model)):
        for name, tensor in tensors_of(module):
            found[f"{index}.{name}"] = _bits(tensor)
            if tensor.grad is not None:
                found[f"{index}.{name} gradient"] = _bits(tensor.grad)
        with contextlib.suppress(Exception):
            for name, value in module.state_dict().items():
                if isinstance(value, Tensor):
                    found[f"{index} state {name}"] = _bits(value)
    return found


def _bits(tensor: Tensor) -> bytes:
    if tensor.is_meta or isinstance(tensor, nn.parameter.UninitializedTensorMixin):
        return b""
    tensor = tensor.detach()
    if tensor.is_quantized:
        tensor = tensor.int_repr()
    if tensor.layout != torch.strided:
        tensor = tensor.to_dense()
    return tensor.clone(memory_format=torch.contiguous_format).reshape(-1).view(torch.uint8).numpy().tobytes()


def surroundings(random_states: bool = True) -> dict[str, Any]:
    """Describe the state of the libraries that a call might leave changed."""
    found: dict[str, Any] = {
        "autograd": (torch.is_grad_enabled(), torch.is_inference_mode_enabled()),
        "autocast": torch.is_autocast_enabled("cpu"),
        "dtype": torch.get_default_dtype(),
        "threads": torch.get_num_threads(),
        "deterministic": (torch.are_deterministic_algorithms_enabled(), torch.backends.mkldnn.enabled),
        "convolution": (id(nn.functional.conv2d), id(nn.Conv2d.forward), id(nn.functional.max_pool2d)),
    }
    if random_states:
        found["torch"] = torch.get_rng_state().numpy().tobytes()
        kind, key, place, *_ = np.random.get_state()  # noqa: NPY002 - the state that must not change
        found["numpy"] = (kind, key.tobytes(), place)
        found["random"] = random.getstate()
    return found


def differences(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """Name what is not the same."""
    return [key for key in sorted(before.keys() | after.keys()) if before.get(key) != after.get(key)]


@contextlib.contextmanager
def each_evaluation(look: Callable[[], None]) -> Iterator[None]:
    """Call a function whenever this thread begins to evaluate a module or callable; the model itself is not changed."""

    def watch(frame: Any, event: str, _: Any) -> None:
        if event == "call" and frame.f_code.co_name in EVALUATING:
            sys.setprofile(None)
            try:
                look()
            finally:
                sys.setprofile(watch)

    before = sys.getprofile()
    sys.setprofile(watch)
    try:
        yield
    finally:
        sys.setprofile(before)
