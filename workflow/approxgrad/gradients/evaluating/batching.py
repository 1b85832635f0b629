"""How many inputs a model is given at once: a pure function of model, input shape, device and memory budget."""

from __future__ import annotations

import math
from itertools import pairwise

import torch

from approxgrad.gradients.evaluating.footprint import Footprint, MemoryMeter

MEBIBYTE = 2**20
# Default bytes for an attribution on the CPU, besides model, inputs and result.
CPU_MEMORY_BUDGET = 512 * MEBIBYTE
# Default share of a GPU's memory for an attribution; at most the second share of its free memory.
GPU_MEMORY_SHARE, GPU_FREE_SHARE = 0.25, 0.8
PATH_SHARE = 1 / 8  # of the budget, for the path points that are differentiated together
OUTPUT_SHARE = 1 / 16  # of the budget, for outputs and row numbers of the rows that are differentiated together
# Extra memory of the widest operation, over its inputs and outputs: reordered copies, allocator slack.
WORKSPACES = 4
# Memory of a backward pass (graph, gradients, workspaces) over that of everything a forward pass makes.
BACKWARD_COPIES = 4
# Bytes of the widest operation of a batch on the CPU; anything larger falls out of its caches.
CPU_WORKING_SET = 6 * MEBIBYTE
# How often a batch should use each convolution weight on the CPU, which reads and reorders the weights every time; the
# second number is for weights that a compiler has reordered.
WEIGHT_USES, ORDERED_WEIGHT_USES = 2600, 1600
LARGEST_BATCH = 4096  # beyond this size the overhead per call is negligible for every model


def memory_budget(device: torch.device) -> int:
    """Return the default memory budget on a device, in bytes.

    On a GPU that nothing else uses it depends only on the kind of GPU and the share of it that torch may have. So batch
    sizes, and with them the last digits of results, are the same from run to run.
    """
    if device.type != "cuda":
        return CPU_MEMORY_BUDGET
    free, total = torch.cuda.mem_get_info(device)
    taken, cached = torch.cuda.memory_allocated(device), torch.cuda.memory_reserved(device)
    allowed = int(total * torch.cuda.get_per_process_memory_fraction(device))
    # What torch keeps for reuse is free, although the driver says otherwise.
    free = min(free + cached - taken, allowed - taken)
    return max(1, int(min(GPU_MEMORY_SHARE * allowed, GPU_FREE_SHARE * free)))


def batch_size(
    size: Footprint, device: torch.device, budget: int, backward: bool = False, weights_in_order: bool = False
) -> int:
    """Return how many inputs to evaluate at once, from 1 to :data:`LARGEST_BATCH`.

    On a GPU it is what fits into the budget of bytes. On a CPU the rate stops rising once the widest operation fills
    :data:`CPU_WORKING_SET` and each weight is used :data:`WEIGHT_USES` times, so the batch is no larger than that. With
    a backward pass all activations are kept.
    """
    on_cpu = device.type == "cpu" and not backward
    copies = size.weight_copies if on_cpu and not weights_in_order else 0
    free = int((1 - PATH_SHARE - OUTPUT_SHARE) * budget) - size.fixed - copies
    limit = free // max(1, BACKWARD_COPIES * size.total if backward else bytes_at_once(size))
    if on_cpu:
        uses = ORDERED_WEIGHT_USES if weights_in_order else WEIGHT_USES
        useful = max(CPU_WORKING_SET // max(1, size.widest), math.ceil(uses / max(1, size.weight_uses)))
        limit = min(limit, useful)
    return max(1, min(LARGEST_BATCH, limit))


def bytes_at_once(size: Footprint | MemoryMeter) -> int:
    """Return the memory of an evaluation: all that exists at the same time, and workspaces."""
    return size.peak + WORKSPACES * size.widest


def balanced_slices(total: int, largest: int) -> list[slice]:
    """Cut ``range(total)`` into the fewest slices of at most `largest`, their sizes differing by at most one.

    With equal sizes all evaluations see the same kernels, so that rounding errors cancel in differences.
    """
    count = max(1, math.ceil(total / largest))
    edges = [index * total // count for index in range(count + 1)]
    return [slice(start, stop) for start, stop in pairwise(edges)]


def halved(size: int) -> int:
    """Return the batch size to try after a GPU ran out of memory; a MemoryError if the batch was a single input."""
    if size == 1:
        raise MemoryError("batch_size: the GPU has no memory for a single input") from None
    torch.cuda.empty_cache()
    return size // 2
