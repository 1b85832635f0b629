"""A GPU that is not there: tensors that say they are on one, computed on the CPU, with every wait of the host counted.

Tensors on two devices in one operation are refused as CUDA refuses them. A backward pass needs a real device.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.fx.experimental import proxy_tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

aten = torch.ops.aten
PROXY = torch._C._TorchDispatchModeKey.PROXY
GPU, CPU = torch.device("cuda:0"), torch.device("cpu")

# Operations whose result the host reads, or whose shape it has to know.
READS = {aten._local_scalar_dense, aten.nonzero, aten.masked_select, aten.equal, aten._unique2, aten.bincount}
# Operations that may have tensors of a CPU beside those of a GPU.
INDEXED = {aten.index, aten.index_put, aten.index_put_}
MIXED = {*INDEXED, aten.copy_, aten._to_copy}


class OnGpu(Tensor):
    """A tensor that says it is on a GPU; `here` has its numbers."""

    here: Tensor

    @staticmethod
    def __new__(cls, here: Tensor) -> OnGpu:
        own = Tensor._make_wrapper_subclass(
            cls, here.shape, strides=here.stride(), storage_offset=here.storage_offset(), dtype=here.dtype, device=GPU
        )
        own.here = here
        return own

    def __repr__(self, *, tensor_contents: object = None) -> str:
        return f"OnGpu({self.here})"

    def tolist(self) -> Any:
        """Return the numbers, which the host waits for."""
        return self.cpu().tolist()

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise RuntimeError(f"{func} outside the mode")


class PretendedGpu(TorchDispatchMode):
    """While it is active, operations on a GPU are computed; `waits` counts the operations for which the host waits."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: Counter[str] = Counter()
        self.calls = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        tracer = torch._C._unset_dispatch_mode(PROXY)
        if tracer is not None:
            # A tracer comes after other modes, but has to see these tensors.
            try:
                with self:
                    return tracer.__torch_dispatch__(func, types, args, kwargs)
            finally:
                torch._C._set_dispatch_mode(tracer)
        packet, leaves = func.overloadpacket, tree_leaves((args, kwargs))
        tensors = [own for own in leaves if isinstance(own, Tensor)]
        there = any(isinstance(own, OnGpu) for own in tensors)
        wanted = kwargs.get("device")
        to_gpu = torch.device(wanted).type == "cuda" if wanted is not None else there
        if there:
            self.calls += 1
            here = [own for own in tensors if not isinstance(own, OnGpu) and own.ndim > 0]
            if here and packet not in MIXED:
                raise RuntimeError(f"{func}: expected all tensors on one device, found cuda:0 and cpu")
            for own in here if packet in INDEXED else ():
                self.waits[f"{packet} with numbers of the host: {tuple(own.shape)}"] += 1
        # A Boolean index has to be counted first.
        if there and packet in INDEXED and any(isinstance(own, Tensor) and own.dtype == torch.bool for own in args[1]):
            self.waits[f"{packet} with a mask"] += 1
        if there and packet in READS:
            self.waits[str(packet)] += 1
        if packet in {aten._to_copy, aten.copy_}:
            places = {isinstance(own, OnGpu) for own in tensors} | ({to_gpu} if packet is aten._to_copy else set())
            if len(places) == 2 and not kwargs.get("non_blocking"):
                self.waits[f"{packet} between devices"] += 1
        if wanted is not None:
            kwargs["device"] = CPU
        found = func(*tree_map(_here, args), **tree_map(_here, kwargs))
        if func._schema.is_mutable and not isinstance(found, (tuple, list)):
            outs = [kwargs[name] for name in ("out",) if isinstance(kwargs.get(name), Tensor)]
            return outs[0] if outs else args[0]
        return tree_map(lambda own: OnGpu(own) if isinstance(own, Tensor) else own, found) if to_gpu else found


def _here(value: Any) -> Any:
    return value.here if isinstance(value, OnGpu) else value


@contextlib.contextmanager
def pretended_gpu(monkeypatch: Any, memory: int = 2**30) -> Iterator[PretendedGpu]:
    """Let this machine have a GPU with so many bytes of memory, all of them free."""
    torch._C._ensureCUDADeviceGuardSet()
    monkeypatch.setattr(torch.cuda, "_lazy_init", lambda: None)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device=None: (memory, memory))
    for name, value in (("memory_allocated", 0), ("memory_reserved", 0), ("get_per_process_memory_fraction", 1.0)):
        monkeypatch.setattr(torch.cuda, name, lambda device=None, value=value: value)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    # Tracing takes them for ordinary tensors.
    monkeypatch.setattr(proxy_tensor, "HANDLED_TYPES", (*proxy_tensor.HANDLED_TYPES, OnGpu))
    # Numbers of the host reach the device by an operation that the mode sees.
    lifts, swaps = torch._C._only_lift_cpu_tensors(), torch.__future__.get_swap_module_params_on_conversion()
    torch._C._set_only_lift_cpu_tensors(True)
    # Parameters of a module that is moved are exchanged whole.
    torch.__future__.set_swap_module_params_on_conversion(True)
    try:
        with PretendedGpu() as mode:
            yield mode
    finally:
        torch._C._set_only_lift_cpu_tensors(lifts)
        torch.__future__.set_swap_module_params_on_conversion(swaps)
