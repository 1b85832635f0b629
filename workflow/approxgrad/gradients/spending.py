"""What a budget of evaluations is spent on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from approxgrad.gradients.stencils import Stencil

if TYPE_CHECKING:  # Plans count evaluations without torch.
    from torch import Tensor

PROBES = 32
"""Random directions for a prediction: enough for a relative standard deviation of a quarter of the missed energy."""

PROBE_SHARE = 8
"""At most one direction of so many is a random one for the prediction."""


@dataclass(frozen=True)
class Spending:
    """How many directions and probes are evaluated at each point of one input, and at how many points."""

    directions: int
    probes: int
    points: int
    stencil: Stencil

    def evaluations(self, directions: Tensor) -> Tensor:
        """Return the evaluations of inputs for which so many directions are taken."""
        return self.points * (int(self.stencil.uses_base) + len(self.stencil.shifts) * (directions + self.probes))


def check_budget(budget: int | None, probes: int | None, stencil: Stencil) -> None:
    """Refuse, by a ValueError, a budget that pays for no direction, or probes that are no number."""
    least = stencil.evaluations(1)
    if budget is not None and (isinstance(budget, bool) or not isinstance(budget, int) or budget < least):
        raise ValueError(f"budget: expected an integer of at least {least}, which one direction costs, got {budget!r}")
    if probes is None:
        return
    if isinstance(probes, bool) or not isinstance(probes, int) or probes < 0:
        raise ValueError(f"probes: expected an integer of at least 0, got {probes!r}")
    if budget is not None and budget < stencil.evaluations(1 + probes):
        raise ValueError(f"probes: a budget of {budget} does not pay for {probes} of them and a direction")


def spending(budget: int | None, stencil: Stencil, size: int, probes: int | None) -> Spending:
    """Return what a budget for one gradient is spent on, if there are so many directions."""
    if budget is None:
        return Spending(size, probes or 0, 1, stencil)
    affordable = (budget - int(stencil.uses_base)) // len(stencil.shifts)
    if affordable >= size and not probes:
        return Spending(size, 0, 1, stencil)
    own = min(PROBES, affordable // PROBE_SHARE) if probes is None else probes
    return Spending(min(size, affordable - own), own, 1, stencil)


def path_spending(budget: int | None, stencil: Stencil, size: int, probes: int | None) -> Spending:
    """Return what a budget for the gradients along a path is spent on.

    The path has ``max(1, round(budget / cost of a whole gradient))`` points: one gradient that has more directions is
    nearer to the integral than several that have fewer.
    """
    points = 1
    if budget is not None:
        points = max(1, min(round(budget / stencil.evaluations(size)), budget // stencil.evaluations(1)))
    each = spending(None if budget is None else budget // points, stencil, size, probes)
    return Spending(each.directions, each.probes, points, stencil)
