"""What one input needs of a device on its way through a model, measured while the model is evaluated."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode

from approxgrad.gradients.evaluating.small_images import Geometry

_OF_IMAGES = {torch.ops.aten.convolution.default, torch.ops.aten.max_pool2d_with_indices.default}

# Assumed for a model that computes outside torch: its widest operation over its input size, and how often an input uses
# each convolution weight.
UNKNOWN_EXPANSION, UNKNOWN_WEIGHT_USES = 32, 16


@dataclass(frozen=True)
class Footprint:
    """What one input needs of a device on its way through a model.

    Attributes
    ----------
    widest, peak, total : int
        Bytes of the largest operation, inputs and outputs together; of the tensors that exist at the same time, at
        most; and of all tensors that are made, which is what autograd keeps.
    fixed : int
        Bytes that do not depend on the number of inputs.
    weight_uses : float
        How often the input uses each convolution weight on average: at as many positions as there are outputs, but
        once for convolutions that are matrix products; infinite without convolutions.
    weight_copies : int
        Bytes of the copies of these weights on the CPU: all in another order, some as matrices.
    """

    widest: int
    peak: int
    total: int
    fixed: int = 0
    weight_uses: float = math.inf
    weight_copies: int = 0


def guessed(inputs: Sequence[Tensor]) -> Footprint:
    """Return the footprint that is assumed for a model of unknown kind."""
    widest = UNKNOWN_EXPANSION * sum(tensor[:1].numel() * tensor.element_size() for tensor in inputs)
    return Footprint(widest, peak=2 * widest, total=4 * widest, weight_uses=UNKNOWN_WEIGHT_USES)


class MemoryMeter(TorchDispatchMode):
    """While it is active in a thread, it measures the memory of every tensor that torch makes there.

    It sees operations, whatever calls them: layers, functions, attention or interpolation of a model's own.

    Attributes
    ----------
    peak, total, widest : int
        In bytes, as in :class:`Footprint`, but for all inputs together.
    failed, sees_images : bool
        Whether the outputs did not follow from the inputs by operations that it saw, and whether there was a
        convolution or max-pooling.
    convolutions : list
        For every convolution the size of its weight, or of its matrix if it is better computed as one, and how often
        all inputs together use it.
    """

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        # With True, the first operation imports the compiler: a second and 170 MiB.
        return False

    def __init__(self) -> None:
        super().__init__()
        self.peak = self.total = self.widest = 0
        self.failed = True
        self.sees_images = False
        self.convolutions: list[tuple[int, int]] = []
        self._copies: dict[int, int] = {}
        self._live: dict[int, tuple[StorageWeakRef, int, bool]] = {}

    def run(self, model: Callable[..., Any], inputs: Sequence[Tensor], arguments: Sequence[Any]) -> Any:
        """Evaluate a model and measure its memory."""
        for tensor in inputs:
            self._add(tensor, derived=True)
        with self:
            output = model(*inputs, *arguments)
        self.failed = not (isinstance(output, Tensor) and self._derived(output))
        return output

    def __torch_dispatch__(self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Any = None) -> Any:
        """Run an operation and measure its inputs and outputs."""
        result = func(*args, **(kwargs or {}))
        taken = list(_tensors((args, kwargs)))
        made = list(_tensors(result))
        derived = any(map(self._derived, taken))
        self._forget()
        borrowed = {_key(tensor) for tensor in taken} - self._live.keys()
        for tensor in made:
            # A view of a weight, or a weight changed in place, has no memory of its own.
            if _key(tensor) not in borrowed:
                self._add(tensor, derived)
        self.peak = max(self.peak, sum(size for _, size, _ in self._live.values()))
        touched = {_key(tensor): _size(tensor) for tensor in [*taken, *made] if _key(tensor) in self._live}
        self.widest = max(self.widest, sum(touched.values()))
        self.sees_images |= func in _OF_IMAGES
        if func is torch.ops.aten.convolution.default:
            self._note_convolution(result, *args)
        return result

    @property
    def copies(self) -> int:
        """Bytes of the convolution weights in another order, and of their matrices."""
        return sum(self._copies.values())

    def _note_convolution(self, output: Tensor, images: Tensor, weight: Tensor, *rest: Any) -> None:
        _, stride, padding, dilation, transposed, _, groups = rest
        numbers, uses, copied = weight.numel(), output.numel() // max(1, output.shape[1]), weight.numel()
        geometry = None if transposed else Geometry.of(weight, stride, padding, dilation, groups)
        if geometry is not None and images.ndim == 4 and geometry.is_matrix_product(*images.shape[2:]):
            numbers, uses = images[0].numel() * output[0].numel(), len(images)
            copied += numbers
        self.convolutions.append((numbers, uses))
        self._copies[weight.data_ptr()] = copied * weight.element_size()

    def _add(self, tensor: Tensor, derived: bool) -> None:
        key = _key(tensor)
        if key is None:
            return
        known = self._live.get(key)
        if known is None:
            size = _size(tensor)
            self.total += size
            self._live[key] = (StorageWeakRef(tensor.untyped_storage()), size, derived)
        elif derived and not known[2]:
            self._live[key] = (known[0], known[1], True)

    def _derived(self, tensor: Tensor) -> bool:
        key = _key(tensor)
        return key is not None and key in self._live and self._live[key][2]

    def _forget(self) -> None:
        for key in [key for key, (reference, _, _) in self._live.items() if reference.expired()]:
            del self._live[key]


class MeterBesideCompiler(MemoryMeter):
    """The same for a process that uses torch's compiler, which has to skip this mode."""

    # torch hides from its compiler what a class defines itself.
    __torch_dispatch__ = MemoryMeter.__torch_dispatch__

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return True


def memory_meter() -> MemoryMeter:
    """Return a meter for the models of this process."""
    return MeterBesideCompiler() if "torch._dynamo" in sys.modules else MemoryMeter()


def footprint(one: MemoryMeter, several: MemoryMeter | None, rows: int) -> Footprint:
    """Return what one input needs, from an evaluation of one and, if it was measured, of `rows` (at least 2)."""

    def each(name: str) -> int:
        if several is None:
            return int(getattr(one, name))
        return max(0, math.ceil((getattr(several, name) - getattr(one, name)) / (rows - 1)))

    weights = sum(numbers for numbers, _ in one.convolutions)
    peak = each("peak")
    return Footprint(
        widest=each("widest"),
        peak=peak,
        total=each("total"),
        fixed=max(0, one.peak - peak),
        weight_uses=sum(numbers * uses for numbers, uses in one.convolutions) / weights if weights else math.inf,
        weight_copies=one.copies,
    )


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (tuple, list, dict)):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _tensors(item)


def _key(tensor: Tensor) -> int | None:
    """Return what identifies a tensor's memory; None if it has none of its own (sparse, of a library)."""
    try:
        return tensor.untyped_storage()._cdata
    except (RuntimeError, NotImplementedError):
        return None


def _size(tensor: Tensor) -> int:
    return tensor.untyped_storage().nbytes()
