"""How many inputs a model is given at once: a pure function of model, input shape, device and memory budget."""

from __future__ import annotations

import copy
import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

MEBIBYTE = 2**20
CPU_MEMORY_BUDGET = 512 * MEBIBYTE
"""Bytes that one evaluation may occupy on the CPU unless the caller says otherwise."""

GPU_MEMORY_SHARE = 0.25
"""Share of a GPU's memory that one evaluation may occupy unless the caller says otherwise."""

CPU_CACHE_TARGET = 16 * MEBIBYTE
"""Bytes that the widest layer of a batch should occupy on the CPU: past the last-level cache, rates fall."""

LARGEST_BATCH = 4096
"""Beyond this size the overhead per call is negligible for every model."""

UNKNOWN_EXPANSION = 64
"""Widest layer over input size, assumed where a model cannot be inspected (a first layer of 64 channels)."""


@dataclass(frozen=True)
class Footprint:
    """Memory of one input on its way through a model.

    Attributes
    ----------
    widest : int
        Bytes of the largest layer, input and output together: what inference holds at once.
    total : int
        Bytes of all layer outputs: what autograd keeps for the backward pass.
    """

    widest: int
    total: int


def inspected_module(model: Callable[..., Any]) -> nn.Module | None:
    """Return the module behind a callable (following ``__wrapped__``), or None."""
    module = inspect.unwrap(model)
    return module if isinstance(module, nn.Module) else None


def footprint(model: Callable[..., Any], inputs: tuple[Tensor, ...]) -> Footprint:
    """Return the memory of one input, without evaluating the model itself.

    A copy of the module that shares the parameters, without the caller's hooks, is given one input of zeros, and the
    sizes of what its layers take and return are noted. A model that cannot be inspected so, such as a plain
    function, gets a fixed guess.

    Parameters
    ----------
    model : callable
        The model.
    inputs : tuple of Tensor
        Inputs of shape (N, ...); only shape and dtype are used.

    Returns
    -------
    Footprint
        Bytes per input.
    """
    input_bytes = sum(tensor[0].numel() * tensor.element_size() for tensor in inputs)
    guess = Footprint(widest=UNKNOWN_EXPANSION * input_bytes, total=4 * UNKNOWN_EXPANSION * input_bytes)
    module = inspected_module(model)
    if module is None:
        return guess
    sizes: list[tuple[int, int]] = []

    def record(_module: nn.Module, arguments: tuple[Any, ...], output: Any) -> None:
        sizes.append((_bytes(arguments), _bytes(output)))

    try:
        shadow = copy.deepcopy(module, {id(parameter): parameter for parameter in module.parameters()}).eval()
        for layer in shadow.modules():
            layer._forward_hooks.clear()
            layer._forward_pre_hooks.clear()
            if next(layer.children(), None) is None:
                layer.register_forward_hook(record)
        with torch.inference_mode():
            shadow(*(torch.zeros_like(tensor[:1]) for tensor in inputs))
    except Exception:  # noqa: BLE001 - whatever a foreign model raises here, the guess still serves
        return guess
    if not sizes:
        return guess
    return Footprint(
        widest=max(before + after for before, after in sizes) + input_bytes,
        total=sum(after for _, after in sizes) + input_bytes,
    )


def _bytes(value: Any) -> int:
    if isinstance(value, Tensor):
        return value.numel() * value.element_size()
    if isinstance(value, (tuple, list)):
        return sum(map(_bytes, value))
    return 0


def memory_budget(device: torch.device) -> int:
    """Return the default memory budget on a device, in bytes."""
    if device.type == "cuda":
        return int(GPU_MEMORY_SHARE * torch.cuda.get_device_properties(device).total_memory)
    return CPU_MEMORY_BUDGET


def batch_size(
    model: Callable[..., Any], inputs: tuple[Tensor, ...], budget: int | None = None, backward: bool = False
) -> int:
    """Return how many inputs to evaluate at once.

    Parameters
    ----------
    model : callable
        The model.
    inputs : tuple of Tensor
        Inputs of shape (N, ...); only shape, dtype and device are used.
    budget : int, optional
        Bytes that one evaluation may occupy; by default :func:`memory_budget` of the device.
    backward : bool
        Whether a backward pass follows, for which all activations are kept.

    Returns
    -------
    int
        At least 1 and at most :data:`LARGEST_BATCH`.
    """
    device = inputs[0].device
    size = footprint(model, inputs)
    budget = memory_budget(device) if budget is None else budget
    limit = budget // max(1, 2 * size.total if backward else 2 * size.widest)
    if device.type == "cpu" and not backward:
        limit = min(limit, CPU_CACHE_TARGET // max(1, size.widest))
    return max(1, min(LARGEST_BATCH, limit))


def balanced_slices(total: int, largest: int) -> list[slice]:
    """Cut ``range(total)`` into the fewest slices of at most `largest`, their sizes differing by at most one.

    Equal sizes let all evaluations see the same kernels, so that rounding errors cancel in differences.
    """
    count = max(1, math.ceil(total / largest))
    edges = [index * total // count for index in range(count + 1)]
    return [slice(start, stop) for start, stop in pairwise(edges)]
