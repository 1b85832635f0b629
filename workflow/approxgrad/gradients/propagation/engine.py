"""Propagated differences for the finite-difference engine: which models, with which memory, and checked before use."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from approxgrad.gradients.evaluating.checks import check_deterministic, check_finite
from approxgrad.gradients.evaluating.evaluated import BatchedGradient, Stream
from approxgrad.gradients.evaluating.evaluation import evaluation
from approxgrad.gradients.evaluating.targets import OutputSelector, as_outputs
from approxgrad.gradients.evaluating.wrapping import unwrapped, wrappers
from approxgrad.gradients.propagation.agreement import TOLERANCE, check_agreement
from approxgrad.gradients.propagation.double import UntraceableError, refused
from approxgrad.gradients.propagation.network import Network
from approxgrad.gradients.propagation.patches import Patches
from approxgrad.gradients.propagation.plan import Plan
from approxgrad.gradients.propagation.run import Propagator
from approxgrad.gradients.propagation.tracing import Graph, check_followed
from approxgrad.gradients.propagation.unchanged import recorded
from approxgrad.gradients.stencils import Stencil

PAYS = 1.1
"""Ratio of dense to propagated operations from which ``auto`` chooses propagation."""

EPSILONS = 16
"""Roundings of short numbers by which trial differences may be off."""


@dataclass(frozen=True)
class _Known:
    """A plan, with all that it follows from."""

    options: tuple[object, ...]
    record: tuple[object, ...]
    plan: Plan


_known: WeakKeyDictionary[BatchedGradient, _Known] = WeakKeyDictionary()
"""The last plan of each source."""


def plan_of(
    stream: Stream,
    source: BatchedGradient,
    *,
    least: float = 0,
    patches: Patches | None = None,
    other: Tensor | None = None,
    whole: bool = False,
    arithmetic: torch.dtype | None = None,
    unit: float = 1.0,
) -> Plan:
    """Return how differences are propagated through the model of a stream, checked when it is first used.

    The last plan of a source is returned again while the model computes the same, which one evaluation shows.

    Parameters
    ----------
    stream, source
        The model with its inputs; the source counts the evaluations of the check.
    least : float
        A plan that saves fewer operations is not checked, because it will not be used.
    patches, other
        What is replaced, one at a time, by the patches of another row; by default single features are moved.
    whole : bool
        Whether to use no windows.
    arithmetic : torch.dtype, optional
        Precision of the changes; by default that of the inputs.
    unit : float
        What changes in short numbers are multiples of: :class:`approxgrad.gradients.propagation.network.Network`.

    Raises
    ------
    UntraceableError
        If the model cannot be followed, or the check fails.
    """
    if len(stream.inputs) != 1 or stream.arguments:
        raise UntraceableError("it has several inputs or additional arguments")
    if not all(wrapper.same_outputs for wrapper in wrappers(stream.given)):
        raise UntraceableError("a function around it combines its outputs")
    module, row = unwrapped(stream.given), stream.inputs[0][:1]
    options = (row.shape, row.dtype, row.device, patches, whole, arithmetic, unit)
    with evaluation():
        known = _known.get(source)
        if known is not None and known.options == options and _is_unchanged(module, row, known, source):
            return known.plan
        # Looks at the model, if nobody has.
        output = as_outputs(stream.ready(row.clone()))
        record = recorded(module, row)
        with refused("a rule"):
            graph = Graph(module, row)

            def planned(dtype: torch.dtype, unit: float = 1.0) -> Plan:
                made = Plan(Network(graph, dtype, unit), patches)
                return made.on_whole_maps() if whole else made

            plan = planned(row.dtype)
        if plan.bound < least:
            return plan
    source.check_evaluations += check_agreement(plan, row, output, other)
    if arithmetic is not None and arithmetic != row.dtype:
        # The rules are right; their numbers may be too short for the network.
        plan = planned(arithmetic, unit)
        tolerance = max(TOLERANCE, EPSILONS * torch.finfo(arithmetic).eps)
        source.check_evaluations += check_agreement(plan, row, output, other, (unit,), tolerance)
    if record is not None:
        _known[source] = _Known(options, record, plan)
    return plan


def _is_unchanged(module: Any, row: Tensor, known: _Known, source: BatchedGradient) -> bool:
    """Return whether a model computes what it did when a plan was made, and a first call would take it too."""
    try:
        check_deterministic(module)
        check_followed(module, row)
    except ValueError:
        return False  # the first call says it, in the order in which it looks at models
    source.check_evaluations += 1
    return recorded(module, row) == known.record


def derivatives(
    stream: Stream, plan: Plan, scheme: Stencil, steps: Tensor, features: Tensor, budget: int
) -> Iterator[tuple[slice, Tensor]]:
    """Yield each row of the inputs as a slice, with its derivatives along the features: float64 of shape (1, K).

    Parameters
    ----------
    stream, plan
        Inputs and targets; the model.
    scheme : Stencil
        Of the differences, whose divisor is the step as it is given.
    steps : Tensor
        Step of every feature, float64.
    features : Tensor
        K numbers of features.
    budget : int
        Bytes to occupy.

    Raises
    ------
    ValueError
        If an output or a difference is not finite.
    """
    select, (points,) = OutputSelector(stream.indices), stream.inputs
    own, back = features.unique(return_inverse=True)
    with evaluation():
        for row in range(stream.rows):
            propagator = Propagator(plan, points[row : row + 1], budget)
            number = torch.full((len(own),), row, device=stream.device)
            check_finite(select(propagator.output, number[:1]), _Place(row))
            total = torch.zeros(len(own), dtype=torch.float64, device=stream.device)
            for shift in scheme.shifts:
                for places, change in propagator.changes(own, shift * steps[own]):
                    found = select(change.flatten(0, 1), number[places]).double()
                    total[places] += scheme.weights[shift] * found
            check_finite(total, _Place(row, own))
            for wrapper in wrappers(stream.given):
                wrapper.advance(scheme.evaluations(len(features)))
            yield slice(row, row + 1), (total / steps[own])[back].unsqueeze(0)


class _Place:
    """Says in words which output this is: that of an input, or with one of some features moved."""

    def __init__(self, row: int, features: Tensor | None = None) -> None:
        self._row, self._features = row, features

    def __call__(self, item: int) -> str:
        moved = "" if self._features is None else f" with feature {int(self._features[item])} moved"
        return f"input {self._row}{moved}"
