"""Propagated differences for the finite-difference engine: which models, with which memory, and checked before use."""

from __future__ import annotations

from collections.abc import Iterator
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from approxgrad.gradients.evaluating.checks import check_finite
from approxgrad.gradients.evaluating.evaluated import BatchedGradient, Stream
from approxgrad.gradients.evaluating.evaluation import evaluation
from approxgrad.gradients.evaluating.prepared import says_the_same
from approxgrad.gradients.evaluating.targets import OutputSelector, as_outputs
from approxgrad.gradients.evaluating.wrapping import unwrapped, wrappers
from approxgrad.gradients.propagation.agreement import TOLERANCE, check_agreement
from approxgrad.gradients.propagation.network import Network
from approxgrad.gradients.propagation.patches import Patches
from approxgrad.gradients.propagation.plan import Plan
from approxgrad.gradients.propagation.run import Propagator
from approxgrad.gradients.propagation.tracing import Graph, UntraceableError, check_followed
from approxgrad.gradients.propagation.unchanged import record
from approxgrad.gradients.stencils import Stencil

PAYS = 1.1
"""Ratio of dense to propagated operations from which ``auto`` chooses propagation."""

EPSILONS = 16
"""Roundings of short numbers by which trial differences may be off."""

_known: WeakKeyDictionary[BatchedGradient, tuple[object, Plan]] = WeakKeyDictionary()
"""The last plan of each source, with all that it follows from."""


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
    if not says_the_same(stream.model, stream.ready):
        raise UntraceableError("a function around it combines its outputs")
    module, row = unwrapped(stream.model), stream.inputs[0][:1]
    check_followed(module, row)
    with evaluation():
        seen = record(module, row)
        source.check_evaluations += 1
        origin = (seen, row.shape, row.dtype, row.device, patches, whole, arithmetic, unit)
        known = _known.get(source)
        if seen is not None and known is not None and known[0] == origin:
            return known[1]
        graph = Graph(module, row)

        def planned(dtype: torch.dtype, unit: float = 1.0) -> Plan:
            made = Plan(Network(graph, dtype, unit), patches)
            return made.on_whole_maps() if whole else made

        plan = planned(row.dtype)
        if plan.bound < least:
            return plan
        output = as_outputs(stream.ready(row.clone()))
    source.check_evaluations += check_agreement(plan, row, output, other)
    if arithmetic is not None and arithmetic != row.dtype:
        # The rules are right; their numbers may be too short for the network.
        plan = planned(arithmetic, unit)
        tolerance = max(TOLERANCE, EPSILONS * torch.finfo(arithmetic).eps)
        source.check_evaluations += check_agreement(plan, row, output, other, (unit,), tolerance)
    _known[source] = origin, plan
    return plan


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
            for wrapper in wrappers(stream.model):
                wrapper.advance(scheme.evaluations(len(features)))
            yield slice(row, row + 1), (total / steps[own])[back].unsqueeze(0)


class _Place:
    """Says in words which output this is: that of an input, or with one of some features moved."""

    def __init__(self, row: int, features: Tensor | None = None) -> None:
        self._row, self._features = row, features

    def __call__(self, item: int) -> str:
        moved = "" if self._features is None else f" with feature {int(self._features[item])} moved"
        return f"input {self._row}{moved}"
