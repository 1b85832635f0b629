"""How a model is evaluated fast on a CPU without being changed: its convolutions and its memory."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from approxgrad.gradients.batching import inspected_module
from approxgrad.gradients.pooling import fast_pooling
from approxgrad.gradients.small_images import fast_convolution

# Parameters of glibc's mallopt, and the size below which memory is kept for reuse.
TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
KEPT_BYTES = 2**30

FAST: dict[type, Callable[[Any], Callable[[Tensor], Tensor]]] = {
    nn.Conv2d: fast_convolution,
    nn.MaxPool2d: fast_pooling,
}
"""Layers, not ones derived from them, and what makes the function that computes them faster."""


@contextmanager
def accelerated(model: Callable[..., Any], device: torch.device) -> Iterator[None]:
    """Let a model compute in the way that is fastest on a device; afterwards it is as it was.

    On a CPU, the weights of its two-dimensional convolutions are put into channels-last order, which the batches
    follow by themselves, and convolutions of images no larger than their kernel are computed as matrix products
    (:func:`approxgrad.gradients.small_images.fast_convolution`): sums of the same products in another order, so that
    results differ by rounding. Max-pooling gives the same numbers in a faster way
    (:func:`approxgrad.gradients.pooling.fast_pooling`), and :func:`keep_freed_memory` is called. On a GPU nothing is
    changed.

    Parameters
    ----------
    model : callable
        The model; a plain function is left alone, one with ``__wrapped__`` is followed to its module. Layers of a
        model that ``torch.compile`` has compiled, or with a ``forward`` of their own, keep their functions.
    device : torch.device
        Where it is evaluated.

    Notes
    -----
    The parameters stay the same objects; only the storage behind them is exchanged for the time of the evaluation,
    and the layers' ``forward``. While it lasts, no other thread may change the weights.
    """
    if device.type != "cpu":
        yield
        return
    keep_freed_memory()
    module = inspected_module(model)
    layers = [] if module is None else list(module.modules())
    own: list[tuple[nn.Parameter, torch.Tensor]] = []
    replaceable = [layer for layer in layers if type(layer) in FAST and "forward" not in vars(layer)]
    # A compiled model would be compiled again for every new function.
    replaced = [] if _is_compiled(layers) else replaceable
    try:
        for layer in layers:
            weight = layer._parameters.get("weight") if isinstance(layer, nn.Conv2d) else None
            if weight is not None and not weight.is_contiguous(memory_format=torch.channels_last):
                own.append((weight, weight.data))
                weight.data = weight.data.contiguous(memory_format=torch.channels_last)
        for layer in replaced:
            vars(layer)["forward"] = FAST[type(layer)](layer)
        yield
    finally:
        for parameter, data in own:
            parameter.data = data
        for layer in replaced:
            vars(layer).pop("forward", None)


def _is_compiled(parts: list[nn.Module]) -> bool:
    """Return whether ``torch.compile`` was applied to a module with these parts, or to one of them."""
    return any("_orig_mod" in part._modules or getattr(part, "_compiled_call_impl", None) is not None for part in parts)


@cache
def keep_freed_memory() -> bool:
    """Let this process keep the memory that it frees, and return whether the C library was told so.

    By default glibc gives every large block back to the system at once, so that each layer of each evaluation begins
    with page faults: a third of the time of a small convolutional network. Results do not depend on it. Whoever has
    set glibc's own variables (``MALLOC_MMAP_THRESHOLD_``, ``MALLOC_TRIM_THRESHOLD_``) keeps that setting.
    """
    if {"MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_"} & os.environ.keys():
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    return bool(mallopt(MMAP_THRESHOLD, KEPT_BYTES)) and bool(mallopt(TRIM_THRESHOLD, KEPT_BYTES))
