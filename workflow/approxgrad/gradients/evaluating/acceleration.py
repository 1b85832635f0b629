"""Functions that a CPU computes faster in another way, while a model that uses them runs unchanged."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from approxgrad.gradients.evaluating.checks import layers
from approxgrad.gradients.evaluating.pooling import fast_max_pool2d
from approxgrad.gradients.evaluating.small_images import Geometry, Product, product

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # parameters of glibc's mallopt
KEPT_BYTES = 2**30  # size below which memory is kept for reuse


class FastFunctions(TorchFunctionMode):
    """While it is active in a thread, convolutions and max-pooling of images are computed faster.

    The model itself runs, with its own layers, weights, hooks and caches; only a few functions of torch that it calls
    are computed in another way. Weights of two-dimensional convolutions are copied into channels-last order, which
    their outputs follow. Convolutions of images no larger than their kernel become matrix products
    (:mod:`approxgrad.gradients.evaluating.small_images`). Max-pooling gives exactly the same numbers
    (:mod:`approxgrad.gradients.evaluating.pooling`).

    torch computes the rest: what autograd records, or a transform of ``torch.func`` or a compiler sees; tensors that
    are not on a CPU, not dense, of different or integer dtypes, or of a class of their own; and weights that are not
    parameters, since they may be new in every call.

    Attributes
    ----------
    used : bool
        Whether something was computed faster so far.

    Notes
    -----
    A parameter is copied once, and again when torch knows that it has changed, which it does not for changes through
    ``.data``. So an instance is only used after its outputs agreed with the model's
    (:class:`approxgrad.gradients.evaluating.prepared.PreparedModel`).
    """

    def __init__(self) -> None:
        super().__init__()
        self.used = False
        self._weights: dict[int, _Weight] = {}

    def __torch_function__(
        self, func: Callable[..., Any], types: Sequence[type], args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        """Compute a function of torch."""
        kwargs = kwargs or {}
        fast = _FAST.get(func)
        if fast is not None and not torch.compiler.is_compiling() and not torch.is_grad_enabled():
            result = fast(self, *args, **kwargs)
            if result is not None:
                self.used = True
                return result
        return func(*args, **kwargs)

    def _convolution(
        self,
        input: Tensor,
        weight: Tensor,
        bias: Tensor | None = None,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
    ) -> Tensor | None:
        if not isinstance(weight, nn.Parameter) or weight.is_inference():
            return None
        if not _plain(input, weight, *(() if bias is None else (bias,))):
            return None
        own = self._weights.get(id(weight))
        if own is None or not own.is_current():
            own = self._weights[id(weight)] = _Weight(weight)
        if input.shape[1] == weight.shape[1] and not torch.is_autocast_enabled("cpu"):
            fast = own.product(Geometry.of(weight, stride, padding, dilation, groups), input.shape[2:])
            if fast is not None:
                return fast(input, bias)
        return torch.conv2d(input, own.channels_last, bias, stride, padding, dilation, groups)

    def _max_pooling(self, input: Tensor, *args: Any, **kwargs: Any) -> Tensor | None:
        return fast_max_pool2d(input, *args, **kwargs) if _plain(input) else None

    def _view(self, input: Tensor, *shape: Any) -> Tensor | None:
        # Models flatten maps with `view`, which torch refuses for maps in channels-last order.
        follows = _plain(input) and not input.is_contiguous() and input.is_contiguous(memory_format=torch.channels_last)
        sizes = shape[0] if len(shape) == 1 and isinstance(shape[0], (tuple, list)) else shape
        return input.reshape(*sizes) if follows and all(type(size) is int for size in sizes) else None


class _Weight:
    """A parameter of convolutions in channels-last order, and as matrices for the image sizes seen so far."""

    def __init__(self, weight: nn.Parameter) -> None:
        # Both kept alive, so that no other parameter, and no other numbers of this one, get their addresses.
        self._weight, self._numbers = weight, weight.detach()
        self._state = (weight.data_ptr(), weight._version)
        self._products: dict[tuple[Geometry | None, torch.Size], Product | None] = {}
        self.channels_last = weight.detach().contiguous(memory_format=torch.channels_last)

    def is_current(self) -> bool:
        """Return whether torch knows of no change of the numbers."""
        return self._state == (self._weight.data_ptr(), self._weight._version)

    def product(self, geometry: Geometry | None, size: torch.Size) -> Product | None:
        if (geometry, size) not in self._products:
            self._products[geometry, size] = product(self._weight, geometry, size)
        return self._products[geometry, size]


def _plain(input: Tensor, *others: Tensor) -> bool:
    """Return whether images and weights are ordinary dense tensors on a CPU, all of one floating-point dtype."""
    return (
        input.ndim == 4
        and all(
            type(tensor) in (Tensor, nn.Parameter)
            and tensor.device.type == "cpu"
            and tensor.layout == torch.strided
            and tensor.dtype == input.dtype
            and not torch._C._functorch.is_functorch_wrapped_tensor(tensor)
            for tensor in (input, *others)
        )
        and input.is_floating_point()
    )


_FAST: dict[Any, Callable[..., Tensor | None]] = {
    torch.conv2d: FastFunctions._convolution,
    functional.max_pool2d: FastFunctions._max_pooling,
    Tensor.view: FastFunctions._view,
}


def is_compiled(model: nn.Module) -> bool:
    """Return whether ``torch.compile`` or TorchScript was applied to a module, or to a part of it.

    Such parts do not see :class:`FastFunctions`, or would be compiled again for it.
    """
    return any(
        isinstance(part, torch.jit.ScriptModule)
        or "_orig_mod" in part._modules
        or getattr(part, "_compiled_call_impl", None) is not None
        for _, part in layers(model)
    )


@cache
def keep_freed_memory() -> bool:
    """Let this process keep the memory that it frees, and return whether the C library was told so.

    By default glibc returns every large block to the system at once, so that each layer of each evaluation begins with
    page faults, a third of the time of a small convolutional network. Results do not depend on it. If glibc's own
    variables (``MALLOC_MMAP_THRESHOLD_``, ``MALLOC_TRIM_THRESHOLD_``) are set, they stay in force.
    """
    if {"MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_"} & os.environ.keys():
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    return bool(mallopt(MMAP_THRESHOLD, KEPT_BYTES)) and bool(mallopt(TRIM_THRESHOLD, KEPT_BYTES))
