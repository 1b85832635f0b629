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

from approxgrad.gradients.small_images import is_matrix_product

MEBIBYTE = 2**20
CPU_MEMORY_BUDGET = 512 * MEBIBYTE
"""Bytes that an attribution may occupy on the CPU, besides model, inputs and result, by default."""

GPU_MEMORY_SHARE = 0.25
"""Share of a GPU's memory that an attribution may occupy by default."""

GPU_FREE_SHARE = 0.8
"""Share of a GPU's free memory that bounds this further, where others use the same GPU."""

PATH_SHARE = 1 / 8
"""Share of the memory budget for the path points that are differentiated together."""

OUTPUT_SHARE = 1 / 16
"""Share of the memory budget for the outputs of the rows that are differentiated together, and for their numbering."""

LAYERS_AT_ONCE = 5
"""Widest layers that an evaluation holds at once: branches, workspaces, slack of the allocator; measured 1.2 to 4.8."""

CPU_WORKING_SET = 6 * MEBIBYTE
"""Bytes that the widest layer of a batch may occupy on the CPU: what is larger does not stay in its caches."""

WEIGHT_USES = 2600
"""How often a batch should use each weight of the convolutions on the CPU, which reads and reorders them every time."""

ORDERED_WEIGHT_USES = 1600
"""The same where a compiler has put the weights in order beforehand, so that they are only read."""

LARGEST_BATCH = 4096
"""Beyond this size the overhead per call is negligible for every model."""

UNKNOWN_EXPANSION = 32
"""Widest layer over input size, assumed where a model cannot be inspected."""

UNKNOWN_WEIGHT_USES = 16
"""How often an input uses each weight of the convolutions, assumed where a model cannot be inspected."""


@dataclass(frozen=True)
class Footprint:
    """What one input asks of a device on its way through a model.

    Attributes
    ----------
    widest : int
        Bytes of the largest layer, input and output together.
    total : int
        Bytes of all layer outputs: what autograd keeps for the backward pass.
    weight_uses : float
        How often the input uses each weight of the convolutions on average: at as many positions as they have
        outputs, and once where they are computed as matrix products; infinite without convolutions.
    weights_in_order : bool
        Whether a compiler has put these weights in order once and for all.
    weight_copies : int
        Bytes of the copies of these weights on the CPU: of all in another order, and of some as matrices.
    """

    widest: int
    total: int
    weight_uses: float = math.inf
    weights_in_order: bool = False
    weight_copies: int = 0


def inspected_module(model: Callable[..., Any]) -> nn.Module | None:
    """Return the module behind a callable (following ``__wrapped__``), or None."""
    module = inspect.unwrap(model)
    return module if isinstance(module, nn.Module) else None


def _weights_in_order(model: Callable[..., Any]) -> bool:
    """Return whether a model, or one that it wraps, says that its weights were put in order beforehand."""
    stop = inspect.unwrap(model, stop=lambda wrapped: getattr(wrapped, "weights_in_order", False))
    return bool(getattr(stop, "weights_in_order", False))


def footprint(model: Callable[..., Any], inputs: tuple[Tensor, ...]) -> Footprint:
    """Return what one input asks of a device, without evaluating the model itself.

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
        Bytes and weight uses per input.
    """
    input_bytes = sum(tensor[0].numel() * tensor.element_size() for tensor in inputs)
    guess = Footprint(UNKNOWN_EXPANSION * input_bytes, 4 * UNKNOWN_EXPANSION * input_bytes, UNKNOWN_WEIGHT_USES)
    module = inspected_module(model)
    if module is None:
        return guess
    sizes: list[tuple[int, int]] = []
    weights: list[tuple[int, int]] = []
    copies: list[int] = []

    def record(layer: nn.Module, arguments: tuple[Any, ...], output: Any) -> None:
        sizes.append((_bytes(arguments), _bytes(output)))
        if isinstance(layer, nn.Conv2d):
            own, positions = layer.weight.numel(), output[0, 0].numel()
            copies.append(own)
            if arguments and is_matrix_product(layer, *arguments[0].shape[2:]):
                own, positions = arguments[0][0].numel() * output[0].numel(), 1
                copies.append(own)
            weights.append((own, positions))

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
    in_order = _weights_in_order(model)
    return Footprint(
        widest=max(before + after for before, after in sizes) + input_bytes,
        total=sum(after for _, after in sizes) + input_bytes,
        weight_uses=_mean_uses(weights) if weights else math.inf,
        weights_in_order=in_order,
        weight_copies=0 if in_order else inputs[0].element_size() * sum(copies),
    )


def _mean_uses(weights: list[tuple[int, int]]) -> float:
    return sum(count * uses for count, uses in weights) / sum(count for count, _ in weights)


def _bytes(value: Any) -> int:
    if isinstance(value, Tensor):
        return value.numel() * value.element_size()
    if isinstance(value, (tuple, list)):
        return sum(map(_bytes, value))
    return 0


def memory_budget(device: torch.device) -> int:
    """Return the default memory budget on a device, in bytes.

    On a GPU that nothing else uses it depends on the kind of GPU only, so that batch sizes, and with them the last
    digits of results, are the same from run to run.
    """
    if device.type != "cuda":
        return CPU_MEMORY_BUDGET
    free, total = torch.cuda.mem_get_info(device)
    return int(min(GPU_MEMORY_SHARE * total, GPU_FREE_SHARE * free))


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
        Bytes that the evaluation may occupy; by default :func:`memory_budget` of the device.
    backward : bool
        Whether a backward pass follows, for which all activations are kept.

    Returns
    -------
    int
        At least 1 and at most :data:`LARGEST_BATCH`.

    Notes
    -----
    A GPU is given what fits into the budget. On a CPU the rate stops rising once the widest layer fills
    :data:`CPU_WORKING_SET` and each weight is used :data:`WEIGHT_USES` times (:data:`ORDERED_WEIGHT_USES`), so no
    more is taken than both need.
    """
    device = inputs[0].device
    size = footprint(model, inputs)
    budget = memory_budget(device) if budget is None else budget
    works_with_copies = device.type == "cpu" and not backward
    layers = int((1 - PATH_SHARE - OUTPUT_SHARE) * budget) - (size.weight_copies if works_with_copies else 0)
    limit = layers // max(1, 2 * size.total if backward else LAYERS_AT_ONCE * size.widest)
    if works_with_copies:
        uses = ORDERED_WEIGHT_USES if size.weights_in_order else WEIGHT_USES
        useful = max(CPU_WORKING_SET // max(1, size.widest), math.ceil(uses / max(1, size.weight_uses)))
        limit = min(limit, useful)
    return max(1, min(LARGEST_BATCH, limit))


def balanced_slices(total: int, largest: int) -> list[slice]:
    """Cut ``range(total)`` into the fewest slices of at most `largest`, their sizes differing by at most one.

    Equal sizes let all evaluations see the same kernels, so that rounding errors cancel in differences.
    """
    count = max(1, math.ceil(total / largest))
    edges = [index * total // count for index in range(count + 1)]
    return [slice(start, stop) for start, stop in pairwise(edges)]
