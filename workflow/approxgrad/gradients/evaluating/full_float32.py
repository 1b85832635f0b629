"""Products of float32 numbers in float32: a GPU may round their factors to TF32, in which differences cancel."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor

from approxgrad.gradients.evaluating.shared_settings import Restore, SharedSettings

TF32_EPS = 2.0**-10
"""Machine epsilon of TF32, which keeps ten bits of a factor."""

SHORT = ("tf32", "bf16")  # what torch may compute products of float32 numbers in

_allowed: ContextVar[bool] = ContextVar("tf32_allowed", default=False)


@contextmanager
def allow_tf32() -> Iterator[None]:
    """Let gradient sources in this context evaluate models with whatever torch is set to: TF32 where it allows that.

    By default they evaluate float32 models in full float32, whatever torch's settings are, and put these back. TF32 is
    faster on a GPU but rounds 8,000 times as coarsely, so differences need steps about 90 times as large.
    """
    token = _allowed.set(True)
    try:
        yield
    finally:
        _allowed.reset(token)


def product_eps(tensor: Tensor) -> float:
    """Return the machine epsilon with which products of a tensor's numbers are computed, 0 for integers."""
    if not tensor.is_floating_point():
        return 0.0
    own = torch.finfo(tensor.dtype).eps
    return TF32_EPS if uses_tf32(tensor.device, tensor.dtype) else own


def uses_tf32(device: torch.device, dtype: torch.dtype) -> bool:
    """Return whether products of such numbers may be computed in TF32 here."""
    return _allowed.get() and device.type == "cuda" and dtype == torch.float32 and any(map(_is_short, _of_gpu()))


@contextmanager
def full_float32() -> Iterator[None]:
    """Compute products of float32 numbers in float32, unless :func:`allow_tf32` says otherwise."""
    if _allowed.get():
        yield
        return
    with _full():
        yield


def _of_gpu() -> list[Any]:
    """Return torch's settings that count on a GPU."""
    backends: Any = torch.backends  # not typed as a whole
    return [backends.cudnn.conv, backends.cudnn.rnn, backends.cuda.matmul]


def _is_short(setting: Any) -> bool:
    return setting.fp32_precision in SHORT


def _switch_off() -> Restore:
    """Set what is short to full precision, and return what puts it back, last first."""
    # Tensors can be on a GPU only once CUDA is initialised.
    backends: Any = torch.backends
    settings = [backends.mkldnn.matmul, *(_of_gpu() if torch.cuda.is_initialized() else [])]
    if not any(map(_is_short, settings)):
        return []
    restore: Restore = []
    # torch's older settings have to agree with the newer ones, or reading them is an error; where they do not agree
    # already, they are left alone.
    older = _read(lambda: torch.backends.cudnn.allow_tf32)
    precision = _read(torch.get_float32_matmul_precision)
    for setting in settings:
        restore.append(_setter(setting, setting.fp32_precision))
    if older is not None:
        restore.append(lambda: setattr(torch.backends.cudnn, "allow_tf32", older))
        torch.backends.cudnn.allow_tf32 = False
    if precision is not None:
        restore.append(lambda: torch.set_float32_matmul_precision(precision))
        torch.set_float32_matmul_precision("highest")
    for setting in settings:
        setting.fp32_precision = "ieee"
    return restore


_full = SharedSettings(_switch_off)


def _setter(setting: Any, value: str) -> Callable[[], None]:
    return lambda: setattr(setting, "fp32_precision", value)


def _read(get: Callable[[], Any]) -> Any:
    try:
        return get()
    except RuntimeError:
        return None
