"""Whether a model still computes what was traced: the operations that it calls for a row, and the numbers they read.

Python may keep what a model computes anywhere: in weights, hooks, attributes, closures, globals, flags of torch. So the
model is not searched for changes, but evaluated. If it calls the same operations in the same order, each with the
results of the same ones before it, and reads the same weights and other numbers, bit for bit, then it is the same
function: models whose control flow depends on the input are not followed at all.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.weak import WeakIdKeyDictionary

PLAIN = (type(None), bool, int, float, complex, str, torch.dtype, torch.device, torch.layout, torch.memory_format)
"""Arguments of operations that are told apart by what they look like."""


class UnknownValueError(Exception):
    """Raised for what an operation reads or makes that cannot be compared later."""


def recorded(model: nn.Module, row: Tensor) -> tuple[Any, ...] | None:
    """Return what a model does with a row, which equals another record only if both are the same function.

    Parameters
    ----------
    model : Module
        It is evaluated once, without a graph.
    row : Tensor
        One row of the inputs, of shape (1, ...).

    Returns
    -------
    tuple or None
        Operations, outputs and digests of all tensors that are not made by them; None if the model fails, or does
        something that this record would not hold.
    """
    point = row.clone()
    recorder = _Recorder(point)
    try:
        with recorder:
            output = model(point)
        return (*recorder.steps, recorder.described(output), *map(_digest, recorder.outer))
    except Exception:  # noqa: BLE001 - whatever a model raises: the one who traces it says why
        return None


class _Recorder(TorchDispatchMode):
    """Notes the operations that are called while it is active in a thread.

    Attributes
    ----------
    steps : list
        Each operation with its arguments and results, tensors as numbers in the order in which they appear.
    outer : list of Tensor
        Tensors that no operation made, in the order in which they are read.
    """

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        # With True, the first operation imports the compiler.
        return False

    def __init__(self, point: Tensor) -> None:
        super().__init__()
        self.steps: list[Any] = []
        self.outer: list[Tensor] = []
        self._numbers = WeakIdKeyDictionary({point: 0})
        self._count = 1

    def __torch_dispatch__(self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None) -> Any:
        read = self.described((args, kwargs or {}))
        result = func(*args, **(kwargs or {}))
        self.steps.append((func, read, self._made(result)))
        return result

    def described(self, value: Any) -> Any:
        """Return what tells a value from others; tensors that no operation made are noted."""
        if isinstance(value, Tensor):
            if value not in self._numbers:
                self.outer.append(value)
                self._number(value)
            return ("tensor", self._numbers[value])
        if isinstance(value, (tuple, list)):
            return (type(value), *map(self.described, value))
        if isinstance(value, Mapping):
            return (dict, *((name, self.described(own)) for name, own in value.items()))
        if type(value) not in PLAIN:
            raise UnknownValueError
        # Not equality: 1 is 1.0 and True, 0.0 is -0.0, and no NaN is itself.
        return (type(value), repr(value))

    def _made(self, value: Any) -> Any:
        """Return what tells results from others; tensors get a number."""
        if isinstance(value, (tuple, list)):
            return (type(value), *map(self._made, value))
        if not isinstance(value, Tensor):
            return self.described(value)
        if value not in self._numbers:
            self._number(value)
        return (self._numbers[value], *_kind(value))

    def _number(self, tensor: Tensor) -> None:
        self._numbers[tensor] = self._count
        self._count += 1


def _kind(tensor: Tensor) -> tuple[Any, ...]:
    if type(tensor) not in (Tensor, nn.Parameter, nn.Buffer) or tensor.layout != torch.strided or tensor.is_quantized:
        raise UnknownValueError
    return tensor.dtype, tensor.device, tuple(tensor.shape), tensor.stride(), tensor.is_conj(), tensor.is_neg()


def _digest(tensor: Tensor) -> tuple[Any, ...]:
    """Return kind and numbers of a tensor: torch does not know of changes through ``.data`` or numpy."""
    numbers = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
    return (*_kind(tensor), hashlib.sha256(numbers.data).digest())
