"""How many copies are propagated at once: a pure function of the plan and a memory budget."""

from __future__ import annotations

from collections.abc import Iterator

from approxgrad.gradients.evaluating.batching import CPU_WORKING_SET, LARGEST_BATCH, balanced_slices
from approxgrad.gradients.propagation.plan import Plan
from approxgrad.gradients.propagation.windows import Block

SHARE = 0.5  # of the budget, for the changes; the rest is for the maps of the base point
KEPT = 3  # windows, or whole maps, of the largest size that exist at once
USEFUL = 768  # copies from which a batch is large enough for the smallest maps on a CPU


def bytes_of_copy(plan: Plan) -> tuple[int, int]:
    """Return the bytes of the largest window of a copy, and of its largest whole map; zero where there are none."""
    shapes, windows = plan.network.graph.shapes, plan.windows
    size = plan.network.dtype.itemsize
    if windows is None:
        return 0, size * max(shape.numel() for shape in shapes.values())
    nodes = (plan.network.graph.source, *windows.forms)
    widest = max(shapes[node][1] * windows.axes[node][0].width * windows.axes[node][1].width for node in nodes)
    rest = [
        shapes[node].numel() for node in plan.network.rules if node not in windows.forms and node not in windows.passed
    ]
    ended = [shapes[node].numel() for node in windows.read_whole]
    return size * widest, size * max([*rest, *ended], default=0)


def copies_at_once(plan: Plan, budget: int) -> int:
    """Return how many copies are propagated at once, from 1 to :data:`LARGEST_BATCH`; on a GPU as many as fit."""
    window, whole = bytes_of_copy(plan)
    limit = int(SHARE * budget) // max(1, KEPT * (window + whole))
    if plan.network.graph.device.type == "cpu":
        limit = min(limit, max(USEFUL, CPU_WORKING_SET // max(1, window, whole)))
    return max(1, min(LARGEST_BATCH, limit))


def blocks(plan: Plan, budget: int) -> Iterator[Block]:
    """Yield the blocks of all positions: rows of positions with all phases, or fewer phases of one row."""
    assert plan.windows is not None
    assert plan.patches is not None
    (y, x), channels = plan.windows.source, plan.patches.counts[0]
    copies = copies_at_once(plan, budget)
    down, across = range(len(y.starts)), range(len(x.starts))
    phase = channels * x.positions
    row = phase * len(down) * len(across)
    if row <= copies:
        for part in balanced_slices(y.positions, copies // row):
            yield Block(down, across, range(part.start, part.stop))
        return
    for number in range(y.positions):
        for part in balanced_slices(len(down), max(1, copies // (phase * len(across)))):
            for other in balanced_slices(len(across), max(1, copies // phase)):
                yield Block(down[part], across[other], range(number, number + 1))
