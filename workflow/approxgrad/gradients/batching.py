"""How many inputs a model is given at once: a pure function of model, input shape, device and memory budget."""

from __future__ import annotations

import math
from itertools import pairwise

import torch

from approxgrad.gradients.footprint import Footprint, MemoryMeter

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

WORKSPACES = 4
"""Memory of the widest operation that it takes besides what it is given and returns: other orders of numbers, slack of
the allocator."""

BACKWARD_COPIES = 4
"""Memory of a backward pass over that of all that a forward pass makes: the graph, gradients, workspaces."""

CPU_WORKING_SET = 6 * MEBIBYTE
"""Bytes that the widest operation of a batch may occupy on the CPU: what is larger does not stay in its caches."""

WEIGHT_USES = 2600
"""How often a batch should use each weight of the convolutions on the CPU, which reads and reorders them every time."""

ORDERED_WEIGHT_USES = 1600
"""The same where a compiler has put the weights in order beforehand, so that they are only read."""

LARGEST_BATCH = 4096
"""Beyond this size the overhead per call is negligible for every model."""


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
    size: Footprint, device: torch.device, budget: int, backward: bool = False, weights_in_order: bool = False
) -> int:
    """Return how many inputs to evaluate at once.

    Parameters
    ----------
    size : Footprint
        What one input asks of the device.
    device : torch.device
        Where the model is evaluated.
    budget : int
        Bytes that the evaluation may occupy: :func:`memory_budget`.
    backward : bool
        Whether a backward pass follows, for which all activations are kept.
    weights_in_order : bool
        Whether a compiler has put the weights of convolutions in order beforehand, so that they are only read.

    Returns
    -------
    int
        At least 1 and at most :data:`LARGEST_BATCH`.

    Notes
    -----
    A GPU is given what fits into the budget. On a CPU the rate stops rising once the widest operation fills
    :data:`CPU_WORKING_SET` and each weight is used :data:`WEIGHT_USES` times (:data:`ORDERED_WEIGHT_USES`), so no
    more is taken than both need.
    """
    on_cpu = device.type == "cpu" and not backward
    copies = size.weight_copies if on_cpu and not weights_in_order else 0
    free = int((1 - PATH_SHARE - OUTPUT_SHARE) * budget) - size.fixed - copies
    each = BACKWARD_COPIES * size.total if backward else bytes_at_once(size)
    limit = free // max(1, each)
    if on_cpu:
        uses = ORDERED_WEIGHT_USES if weights_in_order else WEIGHT_USES
        useful = max(CPU_WORKING_SET // max(1, size.widest), math.ceil(uses / max(1, size.weight_uses)))
        limit = min(limit, useful)
    return max(1, min(LARGEST_BATCH, limit))


def bytes_at_once(size: Footprint | MemoryMeter) -> int:
    """Return the memory that an evaluation occupies: what exists at the same time, and workspaces."""
    return size.peak + WORKSPACES * size.widest


def balanced_slices(total: int, largest: int) -> list[slice]:
    """Cut ``range(total)`` into the fewest slices of at most `largest`, their sizes differing by at most one.

    Equal sizes let all evaluations see the same kernels, so that rounding errors cancel in differences.
    """
    count = max(1, math.ceil(total / largest))
    edges = [index * total // count for index in range(count + 1)]
    return [slice(start, stop) for start, stop in pairwise(edges)]
