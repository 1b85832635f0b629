"""Finite differences as a gradient source of a study."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Annotated, Any, ClassVar, Literal

from approxgrad.descriptions import Number, Once, option
from approxgrad.gradients.source import AUTO, SOURCES, Setting, SourceKind
from approxgrad.gradients.stencils import stencil

STEPS = (
    "Steps h in units of the normalised features, from 1e-30 to 1e30. The word auto stands for a step that is chosen at"
    " run time, once for each data set, model, scheme, precision and kind of points: the inputs or a path to them."
)
EVALUATION = (
    "How differences are evaluated: dense evaluates the model at every perturbed point; propagated follows the"
    " difference through the layers of a network, where nothing cancels."
)


@SOURCES.add
@dataclass(frozen=True)
class Difference(SourceKind):
    """Finite differences: :class:`approxgrad.FiniteDifference`."""

    name: ClassVar[str] = "difference"
    varied: ClassVar[str] = "steps"
    setting_name: ClassVar[str] = "step"
    setting_label: ClassVar[str] = "step size h (units of the model's inputs)"
    symbol: ClassVar[str] = "h"
    colours: ClassVar[dict[str, str]] = {
        "forward": "#0072B2",
        "backward": "#CC79A7",
        "central": "#009E73",
        "forward_propagated": "#56B4E9",
        "backward_propagated": "#882255",
        "central_propagated": "#999933",
    }
    markers: ClassVar[dict[str, str]] = {
        "forward": "o",
        "backward": "v",
        "central": "s",
        "forward_propagated": "^",
        "backward_propagated": "<",
        "central_propagated": "P",
    }

    implementation: ClassVar[str] = "approxgrad.gradients.finite_differences"

    difference: Annotated[Literal["forward", "backward", "central"], option("Scheme of the differences.")]
    steps: Annotated[
        tuple[Annotated[Number, option("", ge=1e-30, le=1e30)] | Literal["auto"], ...],
        option(STEPS, min_length=1),
        Once,
    ]
    dtypes: Annotated[
        tuple[Literal["float32", "float64"], ...],
        option("Precisions in which models are evaluated, by the exact gradient as well.", min_length=1),
        Once,
    ] = ("float32",)
    evaluation: Annotated[Literal["dense", "propagated"], option(EVALUATION)] = "dense"

    def __post_init__(self) -> None:
        if self.propagated and AUTO in self.steps:
            raise ValueError(
                "steps: auto balances the rounding of dense evaluations, which propagated ones do not have; "
                "expected numbers with evaluation: propagated"
            )

    @property
    def propagated(self) -> bool:
        """Whether differences are propagated through the layers of a network."""
        return self.evaluation == "propagated"

    @property
    def family(self) -> str:
        """The scheme, and that differences are propagated."""
        return f"{self.difference}_propagated" if self.propagated else self.difference

    @property
    def label(self) -> str:
        """The scheme for readers."""
        return f"{'propagated ' * self.propagated}{self.difference} differences"

    def cost(self, setting: Setting, features: int) -> int:
        """Return d + 1, for the central scheme 2 d: of dense evaluations, which propagated ones are counted as."""
        return stencil(self.difference).evaluations(features)

    def shared_cost(self, setting: Setting) -> int:
        """Return 1 where the unperturbed output enters."""
        return int(stencil(self.difference).uses_base)

    def gradient(self, setting: Setting, **limits: Any) -> Callable[..., Any]:
        """Return a :class:`approxgrad.FiniteDifference`."""
        own: dict[str, Any] = {name: limits.get(name) for name in ("batch_size", "memory_budget")}
        if self.propagated:
            own["evaluation"] = self.evaluation
        return import_module(self.implementation).FiniteDifference(setting, self.difference, **own)
