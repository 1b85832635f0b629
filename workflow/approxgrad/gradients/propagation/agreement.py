"""Propagated differences compared with those of two evaluations in double precision, before they are used."""

from __future__ import annotations

import torch
from torch import Tensor

from approxgrad.gradients.evaluating.evaluation import evaluation
from approxgrad.gradients.propagation.double import UntraceableError, refused
from approxgrad.gradients.propagation.memory import blocks
from approxgrad.gradients.propagation.network import unit_moves
from approxgrad.gradients.propagation.plan import Plan
from approxgrad.gradients.propagation.run import Propagator, box_masks, perturbed

STEPS = (1.0, 0.01)  # of the trial differences
FEATURES = 4  # features with each step
TOLERANCE = 1e-3  # largest relative error of the differences, which rounding never reaches and a wrong rule always does
ROUNDINGS = 2**10  # roundings of the outputs by which differences in double precision may be off
ROUNDING = 2**-3  # of the model's own precision by which propagated ones may, where an output does not change at all


def check_agreement(
    plan: Plan,
    row: Tensor,
    output: Tensor,
    other: Tensor | None = None,
    steps: tuple[float, ...] = STEPS,
    tolerance: float = TOLERANCE,
) -> int:
    """Refuse, by an UntraceableError, a model whose propagated differences are not those of evaluations.

    Parameters
    ----------
    plan, row
        As for :class:`approxgrad.gradients.propagation.run.Propagator`.
    output : Tensor
        What the model itself returns for the row.
    other : Tensor, optional
        What the patches of the plan are replaced by; by default features are moved.
    steps : tuple of float
        By how much they are moved.
    tolerance : float
        Largest relative error.

    Returns
    -------
    int
        Evaluations made.
    """
    with evaluation(), refused("a rule"):
        # The smallest blocks: they have all that is particular to a place.
        propagator = Propagator(plan, row, 1)
        _check_base(output.double(), propagator.output)
        if other is not None:
            return 1 + _check_patches(plan, propagator, row, other, tolerance)
        trials = [_check_step(plan, propagator, row, number, step, tolerance) for number, step in enumerate(steps)]
        if not any(compared for _, compared in trials):
            raise UntraceableError("its outputs are not finite after any trial step")
        return 1 + sum(evaluations for evaluations, _ in trials)


def _check_step(
    plan: Plan, propagator: Propagator, row: Tensor, number: int, step: float, tolerance: float
) -> tuple[int, int]:
    """Return how many points were evaluated, and how many of them compared."""
    features = _sample(plan, number, row.device)
    moves = torch.full((len(features),), step, dtype=torch.float64, device=row.device)
    found = row.new_zeros(len(features), *propagator.output.shape, dtype=torch.float64)
    for places, change in propagator.changes(features, moves):
        found[places] = change.double()
    points = row.double() + unit_moves(row.shape, features, moves, torch.float64)
    return len(points), _check_differences(plan, found, points, propagator.output, tolerance)


def _check_patches(plan: Plan, propagator: Propagator, row: Tensor, other: Tensor, tolerance: float) -> int:
    assert plan.patches is not None
    generator = torch.Generator().manual_seed(0)
    if plan.windows is None:
        numbers = torch.randperm(plan.patches.count, generator=generator)[:FEATURES].to(row.device)
        masks = box_masks(plan.patches, row.device)
        parts = propagator.masked(lambda copies: masks(numbers[copies]), len(numbers), other)
        found = torch.cat([change for _, change in parts])
    else:
        places, changes = next(propagator.replaced(other))
        chosen = torch.randperm(len(places), generator=generator)[:FEATURES].to(row.device)
        numbers, found = places[chosen], changes[chosen]
    points = row.double().expand(len(numbers), *row.shape).clone()
    for point, number in zip(points, numbers.tolist(), strict=True):
        box = plan.patches.box(number)
        point[0][box] = other[0][box].double()
    _check_differences(plan, found.double(), points, propagator.output, tolerance)
    return len(points)


def _sample(plan: Plan, number: int, device: torch.device) -> Tensor:
    """Return some features: of the first block of positions, or of the middle one."""
    generator = torch.Generator().manual_seed(number)
    if plan.windows is None:
        own = torch.arange(plan.shape.numel())
    else:
        found = list(blocks(plan, 1))
        own = perturbed(found[number * (len(found) // 2)], plan).flatten()
        own = own[own >= 0]
    return own[torch.randperm(len(own), generator=generator)[:FEATURES]].to(device)


def _check_base(own: Tensor, base: Tensor) -> None:
    if own.shape != base.shape or not (own - base).abs().max() <= TOLERANCE * base.abs().max():
        raise UntraceableError("a copy of it in double precision computes something else")


def _check_differences(plan: Plan, found: Tensor, points: Tensor, output: Tensor, tolerance: float) -> int:
    """Return how many differences were compared."""
    expected = torch.stack([plan.network.graph.evaluated(point) for point in points]) - output
    # A trial step may leave the domain of the model, which the user's step need not do.
    usual = expected.flatten(1).isfinite().all(dim=1)
    found, expected = found[usual], expected[usual]
    error, size = float((found - expected).norm()), float(expected.norm())
    eps, own = torch.finfo(torch.float64).eps, torch.finfo(plan.network.graph.dtype).eps
    rounding = max(ROUNDINGS * eps, ROUNDING * own) * float(output.norm())
    if not error <= tolerance * size + rounding:
        raise UntraceableError(f"trial differences are off by {error:.1g}, and their size is {size:.1g}")
    return len(found)
