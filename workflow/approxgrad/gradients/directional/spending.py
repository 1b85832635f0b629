"""What a budget of evaluations is spent on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from approxgrad.gradients.stencils import Stencil

if TYPE_CHECKING:  # Plans count evaluations without torch.
    from torch import Tensor

PROBES = 32
"""Random directions for a prediction: enough for a relative standard deviation of a quarter of the missed energy."""

PROBE_SHARE = 12
"""At most one direction of so many is a random one for the prediction."""

LEAST_WATCHED = 8
"""Fewest probes by which it is decided whether directions will do."""

FEW_POINTS = 5
"""Fewer points of a path than this are worth a point more even if each then lacks some directions."""


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


def check_budget(budget: int | None, probes: int | None, points: int | None, stencil: Stencil) -> None:
    """Refuse, by a ValueError, a budget that pays for no direction at each of some points, beside some probes."""
    least = (points or 1) * stencil.evaluations(1 + (probes or 0))
    if budget is not None and budget < least:
        beside = f", {probes} probes" * bool(probes) + f" and {points} points" * bool(points)
        raise ValueError(f"budget: expected at least {least} for one direction{beside}, got {budget}")


def spending(
    budget: int | None, stencil: Stencil, size: int, probes: int | None, points: int = 1, watched: bool = False
) -> Spending:
    """Return what a budget for the gradients at some points is spent on, if there are so many directions.

    A gradient that is `watched`, to stop when it is good enough, has probes even if all directions are paid for.
    """
    if budget is None:
        return Spending(size, probes or 0, points, stencil)
    affordable = (budget // points - int(stencil.uses_base)) // len(stencil.shifts)
    if affordable >= size and not (probes or watched):
        return Spending(size, 0, points, stencil)
    least = min(LEAST_WATCHED, affordable // 2) if watched else 0
    own = max(least, min(PROBES, min(size, affordable) // PROBE_SHARE)) if probes is None else probes
    if affordable <= own:
        raise ValueError(f"budget: {budget} does not pay for a direction and {own} probes at each of {points} points")
    return Spending(min(size, affordable - own), own, points, stencil)


def path_points(
    budget: int | None, stencil: Stencil, size: int, probes: int | None = None, watched: bool = False
) -> int:
    """Return how many points of a path a budget is best divided among, if there are so many directions.

    One gradient from many directions is nearer to the integral than several from few. So there is about one point for
    each whole gradient that the budget could pay for. If the spending is watched, a whole gradient includes its probes
    (:func:`spending`): the directions that they would replace may be those that a quality needs.
    """
    if budget is None:
        return 1
    own = spending(budget, stencil, size, probes, watched=True).probes if watched else 0
    points = budget / stencil.evaluations(size + own)
    return max(1, min(round(points) if points < FEW_POINTS else int(points), budget // stencil.evaluations(1)))
