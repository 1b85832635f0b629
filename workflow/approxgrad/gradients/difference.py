"""Finite differences as a gradient source of a study."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Annotated, Any, ClassVar, Literal

from approxgrad.descriptions import Number, Once, option
from approxgrad.gradients.precisions import HALVES, Precision
from approxgrad.gradients.source import AUTO, PATH, SOURCES, Setting, SourceKind, evaluation_limits
from approxgrad.gradients.stencils import stencil

Scheme = Literal["forward", "backward", "central"]

Dtypes = Annotated[
    tuple[Precision, ...],
    option(
        "Precisions in which models are evaluated, by the exact gradient as well. Networks of torch can be evaluated in"
        " bfloat16 and float16 too, where steps must be large.",
        min_length=1,
    ),
    Once,
]

STEPS = (
    "Steps h in units of the normalised features, from 1e-30 to 1e30. The word auto stands for a step that is chosen at"
    " run time, once for each data set, model, scheme, precision and kind of points: the inputs or a path to them. The"
    " word path stands for the increment of each feature from one point of a path to the next; only with methods of the"
    " kind integrated_gradients are attributions made with it."
)
EVALUATION = (
    "How differences are evaluated: dense evaluates the model at every perturbed point; propagated follows the"
    " difference through the layers of a network, where nothing cancels."
)

UNFIT = {
    AUTO: "balances the rounding of dense evaluations, which propagated ones do not have",
    PATH: "needs the evaluations themselves",
}
"""Words in place of steps that propagated differences do not take, and why."""

Unit = Annotated[
    Literal["spread"] | None,
    option(
        "With spread, steps are multiples of the standard deviation of each feature over the training rows, where a"
        " feature that is constant takes the median of the others. By default they are in units of normalised features."
    ),
]


ENDINGS = {"": "", "spread": ", steps in spreads", PATH: " between points of the path"}
"""What stands behind a label, by unit."""


def of_units(looks: dict[str, str]) -> dict[str, str]:
    """Return looks of schemes for their families with steps of all units, which figures show apart."""
    return {"-".join(filter(None, [scheme, unit])): look for unit in ENDINGS for scheme, look in looks.items()}


def in_units(step: Any, unit: str | None, limits: Mapping[str, Any]) -> Any:
    """Return a step, or with the unit ``spread`` that multiple of each feature's spread, float64."""
    return step * limits["spread"].double() if unit == "spread" else step


class Differences(SourceKind):
    """What kinds have in common whose gradients are differences, along features or other directions."""

    varied: ClassVar[str] = "steps"
    symbol: ClassVar[str] = "h"
    units: ClassVar[dict[str, tuple[str, str]]]
    """What steps are called in tables and on axes, by :attr:`unit`."""

    @property
    def unit(self) -> str:
        """What steps are multiples of: ``spread``, ``path`` or, empty, the units of the inputs."""
        return PATH if self.along_path else getattr(self, "step_unit", None) or ""

    @property
    def setting_name(self) -> str:  # type: ignore[override]  # differs between units
        """The name in tables."""
        return self.units[self.unit][0]

    @property
    def setting_label(self) -> str:  # type: ignore[override]
        """The title of an axis."""
        return self.units[self.unit][1]

    @property
    def family(self) -> str:
        """The scheme, and what steps are multiples of."""
        return "-".join(filter(None, [self.scheme, self.unit]))

    @property
    def scheme(self) -> str:
        """The scheme: the field that has the kind's name."""
        return str(getattr(self, self.name))

    @property
    def needs_spread(self) -> bool:
        """Whether steps are given as multiples of each feature's spread."""
        return self.unit == "spread"

    @property
    def is_step(self) -> bool:
        """Whether all features have the same step."""
        return not self.unit

    @property
    def choice(self) -> dict[str, Any]:
        """The scheme."""
        return {"scheme": self.scheme}

    def cost(self, setting: Setting, features: int) -> int:
        """Return d + 1, for the central scheme 2 d."""
        return stencil(self.scheme).evaluations(features)

    def step(self, setting: Setting, limits: Mapping[str, Any]) -> Any:
        """Return a step as gradients take it: a number, a tensor with one for each feature, or ``path``."""
        return in_units(setting, self.unit, limits)


@SOURCES.add
@dataclass(frozen=True)
class Difference(Differences):
    """Finite differences: :class:`approxgrad.FiniteDifference`."""

    name: ClassVar[str] = "difference"
    units: ClassVar[dict[str, tuple[str, str]]] = {
        "": ("step", "step size h (units of the model's inputs)"),
        "spread": ("step_per_spread", "step size h (units of each feature's standard deviation)"),
        PATH: ("step_per_path", "step (share of the path)"),
    }
    colours: ClassVar[dict[str, str]] = of_units(
        {
            "forward": "#0072B2",
            "backward": "#CC79A7",
            "central": "#009E73",
            "forward_propagated": "#56B4E9",
            "backward_propagated": "#882255",
            "central_propagated": "#999933",
        }
    )
    markers: ClassVar[dict[str, str]] = of_units(
        {
            "forward": "o",
            "backward": "v",
            "central": "s",
            "forward_propagated": "^",
            "backward_propagated": "<",
            "central_propagated": "P",
        }
    )
    implementation: ClassVar[str] = "approxgrad.gradients.finite_differences"

    difference: Annotated[Scheme, option("Scheme of the differences.")]
    steps: Annotated[
        tuple[Annotated[Number, option("", ge=1e-30, le=1e30)] | Literal["auto", "path"], ...],
        option(STEPS, min_length=1),
        Once,
    ]
    dtypes: Dtypes = ("float32",)
    step_unit: Unit = None
    evaluation: Annotated[Literal["dense", "propagated"], option(EVALUATION)] = "dense"
    arithmetic: Annotated[
        Literal["float64", "bfloat16", "float16"] | None,
        option("Precision in which propagated changes are computed; by default that of the model."),
    ] = None

    def __post_init__(self) -> None:
        for word, why in UNFIT.items():
            if self.propagated and word in self.steps:
                raise ValueError(f"steps: {word} {why}; expected numbers with evaluation: propagated")
        halves = [dtype for dtype in self.dtypes if dtype in HALVES]
        if halves and self.propagated:
            raise ValueError(
                f"dtypes: got {halves[0]}, but propagated differences start from whole precision; leave it out, and "
                f"write arithmetic: {halves[0]} to compute the changes in it"
            )
        if self.arithmetic is not None and not self.propagated:
            raise ValueError("arithmetic: only propagated differences have it; expected evaluation: propagated")

    @property
    def propagated(self) -> bool:
        """Whether differences are propagated through the layers of a network."""
        return self.evaluation == "propagated"

    @property
    def unrounded(self) -> SourceKind | None:
        """Propagated differences with the same options, in the precision of the model."""
        words = [*self.steps, *self.dtypes]
        if self.arithmetic == "float64" or any(word in words for word in (*UNFIT, *HALVES)):
            return None
        other = dataclasses.replace(self, evaluation="propagated", arithmetic=None)
        return None if other == self else other

    @property
    def along_path(self) -> bool:
        """Whether the step is the increment of a path."""
        return self.steps == (PATH,)

    @property
    def family(self) -> str:
        """The scheme, that differences are propagated, and what steps are multiples of."""
        words = [self.scheme, *(["propagated"] if self.propagated else []), *filter(None, [self.arithmetic])]
        return "-".join(filter(None, ["_".join(words), self.unit]))

    @property
    def label(self) -> str:
        """The scheme for readers, and what steps are multiples of."""
        digits = "" if self.arithmetic is None else f" in {self.arithmetic}"
        return f"{'propagated ' * self.propagated}{self.difference} differences{digits}{ENDINGS[self.unit]}"

    def cost(self, setting: Setting, features: int) -> int:
        """Return d + 1, for the central scheme 2 d, or 2 d + 2 along a path; propagated ones are counted as dense."""
        shifts = stencil(self.scheme).shifts
        return len(shifts) * (features + 1) if self.along_path else super().cost(setting, features)

    def shared_cost(self, setting: Setting) -> int | None:
        """Return 1 where the unperturbed output enters."""
        return int(stencil(self.scheme).uses_base)

    def gradient(self, setting: Setting, **limits: Any) -> Callable[..., Any]:
        """Return a :class:`approxgrad.FiniteDifference`."""
        own = evaluation_limits(limits)
        if self.propagated:
            own |= {"evaluation": self.evaluation, "arithmetic": self.arithmetic}
        step = self.step(setting, limits)
        return import_module(self.implementation).FiniteDifference(step, self.difference, **own)
