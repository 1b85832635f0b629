"""A copy of a model in double precision: what it computes in single precision, and what Python does with numbers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.weak import WeakIdKeyDictionary

from approxgrad.messages import one_line

aten = torch.ops.aten

WIDER = {torch.float32: torch.float64, torch.complex64: torch.complex128}

DECIDES_SHAPE = {aten.index.Tensor: 1, aten.masked_select.default: 1}
"""Which argument decides the shape of a result, where it is not the first one."""

OF_CONSTANTS = {torch.Tag.data_dependent_output, torch.Tag.nondeterministic_seeded}
"""Operations whose results are computed while a model is traced, if they do not depend on its input."""

LEAVING = {
    *(Tensor.numpy, Tensor.__array__, Tensor.__dlpack__, Tensor.tolist),
    *(Tensor.data_ptr, Tensor.untyped_storage, Tensor.storage),
}
"""Functions that give the numbers of a tensor to others than torch."""


class UntraceableError(ValueError):
    """A model whose differences cannot be propagated."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"differences cannot be propagated through this model, because {reason}")


@contextmanager
def refused(what: str) -> Iterator[None]:
    """Turn failures into an UntraceableError that says in one line what fails."""
    try:
        yield
    except (UntraceableError, MemoryError):
        raise
    except Exception as error:
        raise UntraceableError(f"{what} fails with {type(error).__name__}: {one_line(error)}") from error


class Doubled(TorchDispatchMode):
    """Computes in double precision what the copy of a model makes, holds or converts in single precision.

    These are tensors that it makes when it is called, tensors that are no buffers, and arguments such as ``dtype``.
    """

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        # With True, the first operation imports the compiler.
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func._schema.is_mutable:
            # A wider copy would be changed in place of what is meant.
            return func(*args, **kwargs)
        args, kwargs = tree_map(_wider, (tuple(args), kwargs))
        return tree_map(_wider, func(*args, **kwargs))


def _wider(value: Any) -> Any:
    if isinstance(value, torch.dtype):
        return WIDER.get(value, value)
    return value.to(WIDER[value.dtype]) if isinstance(value, Tensor) and value.dtype in WIDER else value


class Watched(TorchDispatchMode):
    """Refuses what a trace would not show: Python that goes on with numbers, or shapes, made from the input.

    Parameters
    ----------
    point : Tensor
        The input.
    """

    def __init__(self, point: Tensor) -> None:
        super().__init__()
        self._made = WeakIdKeyDictionary({point: True})

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        depends, tags = self._depends((args, kwargs)), func.tags
        if torch.Tag.data_dependent_output in tags and depends:
            raise UntraceableError(f"it decides something by numbers made from its input ({func})")
        if not depends and not OF_CONSTANTS.isdisjoint(tags):
            # Behind the tracer's back: it knows no numbers, and would draw others later.
            with _disable_current_modes():
                return func(*args, **kwargs)
        if torch.Tag.dynamic_output_shape in tags and self._decides(func, args):
            raise UntraceableError(f"it makes tensors whose shape depends on numbers made from its input ({func})")
        result = func(*args, **kwargs)
        if depends:
            for own in tree_leaves(result):
                if isinstance(own, Tensor):
                    self._made[own] = True
        return result

    def _depends(self, value: Any) -> bool:
        return any(isinstance(own, Tensor) and own in self._made for own in tree_leaves(value))

    def _decides(self, func: Any, args: Sequence[Any]) -> bool:
        """Return whether the shape of a result depends on the input."""
        deciding = tree_leaves(args[DECIDES_SHAPE.get(func, 0)])
        if func is aten.index.Tensor:
            deciding = [own for own in deciding if own is not None and own.dtype in (torch.bool, torch.uint8)]
        return self._depends(deciding)


class Inside(TorchFunctionMode):
    """Refuses what no operation of a trace would show: numbers that leave torch, and short ones of ``torch.autocast``.

    Parameters
    ----------
    device : torch.device
        Where the model is.
    """

    def __init__(self, device: torch.device) -> None:
        super().__init__()
        self._kind = device.type

    def __torch_function__(self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None) -> Any:
        if func in LEAVING and torch._is_functional_tensor(args[0]):
            # They are not yet computed.
            raise UntraceableError(f"numbers leave torch ({func.__name__})")
        if torch.is_autocast_enabled(self._kind):
            # Double precision is not converted by it.
            raise UntraceableError(f"it computes in {torch.get_autocast_dtype(self._kind)}, by torch.autocast")
        return func(*args, **(kwargs or {}))
