"""What evaluates a model at moved inputs, or follows the differences through its layers where it can."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from approxgrad.gradients.evaluating.checks import layers
from approxgrad.gradients.evaluating.evaluated import BatchedGradient, Stream
from approxgrad.gradients.evaluating.wrapping import unwrapped, wrappers

if TYPE_CHECKING:
    from approxgrad.gradients.propagation.plan import Plan

Evaluation = Literal["dense", "propagated", "auto"]
EVALUATIONS = ("dense", "propagated", "auto")


def checked_evaluation(evaluation: str) -> str:
    """Return how to evaluate; a ValueError if it is no way to."""
    if evaluation not in EVALUATIONS:
        raise ValueError(f"evaluation: got {evaluation!r}, expected one of {', '.join(EVALUATIONS)}")
    return evaluation


class Following(BatchedGradient):
    """Base class of what can follow differences through the layers of a network: ``docs/propagation.md``.

    Parameters
    ----------
    batch_size, memory_budget, check_rows
        As in :class:`approxgrad.gradients.evaluating.evaluated.BatchedGradient`.

    Attributes
    ----------
    used_evaluation : str or None
        How the last call evaluated: ``dense`` or ``propagated``.
    saved_operations : float or None
        Operations of dense evaluations over those of propagation, for the model of the last call; None if it cannot be
        followed, or was not asked for.
    without_rule : tuple of str
        Operations of that model that are subtracted in double precision, for want of a rule.
    """

    def __init__(
        self, batch_size: int | None = None, *, memory_budget: int | None = None, check_rows: bool = True
    ) -> None:
        super().__init__(batch_size, memory_budget=memory_budget, check_rows=check_rows)
        self.used_evaluation: str | None = None
        self.saved_operations: float | None = None
        self.without_rule: tuple[str, ...] = ()
        self._not_paid: tuple[object, float, tuple[str, ...]] | None = None

    def plan(self, stream: Stream, evaluation: str, **options: Any) -> Plan | None:
        """Return how differences are propagated through a model, or None if they are not, and note what is known.

        Parameters
        ----------
        stream : Stream
            The model with its inputs.
        evaluation : str
            ``dense``, ``propagated`` or ``auto``, which propagates where that takes fewer operations.
        **options
            Those of :func:`approxgrad.gradients.propagation.engine.plan_of`.

        Raises
        ------
        ValueError
            If the model cannot be followed though it is to be.
        """
        self.saved_operations, self.without_rule = None, ()
        plan = None if evaluation == "dense" else self._followed(stream, evaluation, options)
        self.used_evaluation = "dense" if plan is None else "propagated"
        return plan

    def _followed(self, stream: Stream, evaluation: str, options: dict[str, Any]) -> Plan | None:
        from approxgrad.gradients.propagation.double import UntraceableError
        from approxgrad.gradients.propagation.engine import PAYS, plan_of

        chooses = evaluation == "auto"
        # To look at a network costs as much as hundreds of its evaluations, and dense ones are right for any other too.
        looks = _looks(stream, options) if chooses else None
        if looks is not None and self._not_paid is not None and self._not_paid[0] == looks:
            _, self.saved_operations, self.without_rule = self._not_paid
            return None
        try:
            plan = plan_of(stream, self, least=PAYS if chooses else 0, **options)
        except UntraceableError as error:
            if not chooses:
                raise ValueError(f"evaluation: {error}; 'dense' takes any model") from error
            return None
        self.saved_operations, self.without_rule = plan.bound, tuple(plan.network.without_rule)
        if chooses and plan.bound < PAYS:
            self._not_paid = looks, plan.bound, self.without_rule
            return None
        return plan


def _looks(stream: Stream, options: dict[str, Any]) -> tuple[object, ...]:
    """Return what tells networks apart for which the count of operations differs: layers, shapes and ways to move."""
    model = unwrapped(stream.given)
    parts = [
        (
            name,
            type(layer).__qualname__,
            # Such as strides.
            *((key, value) for key, value in vars(layer).items() if isinstance(value, (int, float, str, tuple))),
            *((own.shape, own.dtype) for own in layer._parameters.values() if own is not None),
        )
        for name, layer in layers(model)
    ]
    around = [type(wrapper).__qualname__ for wrapper in wrappers(stream.given)]
    inputs = [(own.shape[1:], own.dtype, own.device) for own in stream.inputs]
    ways = [value for name, value in options.items() if name != "other"]
    return type(model).__qualname__, parts, around, inputs, len(stream.arguments), ways
