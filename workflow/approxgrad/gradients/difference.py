"""Finite differences as a gradient source of a study."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Annotated, Any, ClassVar, Literal

from approxgrad.descriptions import Number, Once, option
from approxgrad.gradients.source import SOURCES, Setting, SourceKind
from approxgrad.gradients.stencils import stencil

Scheme = Literal["forward", "backward", "central"]

Dtypes = Annotated[
    tuple[Literal["float32", "float64"], ...],
    option("Precisions in which models are evaluated, by the exact gradient as well.", min_length=1),
    Once,
]

STEPS = (
    "Steps h in units of the normalised features, from 1e-30 to 1e30. The word auto stands for a step that is chosen at"
    " run time, once for each data set, model, scheme, precision and kind of points: the inputs or a path to them."
)


class Differences(SourceKind):
    """What kinds have in common whose gradients are differences, along features or other directions."""

    varied: ClassVar[str] = "steps"
    symbol: ClassVar[str] = "h"
    is_step: ClassVar[bool] = True

    @property
    def scheme(self) -> str:
        """The scheme: the field that has the kind's name."""
        return str(getattr(self, self.name))

    @property
    def choice(self) -> dict[str, Any]:
        """The scheme."""
        return {"scheme": self.scheme}

    def cost(self, setting: Setting, features: int) -> int:
        """Return d + 1, for the central scheme 2 d."""
        return stencil(self.scheme).evaluations(features)

    def shared_cost(self, setting: Setting) -> int:
        """Return 1 where the unperturbed output enters."""
        return int(stencil(self.scheme).uses_base)


@SOURCES.add
@dataclass(frozen=True)
class Difference(Differences):
    """Finite differences: :class:`approxgrad.FiniteDifference`."""

    name: ClassVar[str] = "difference"
    setting_name: ClassVar[str] = "step"
    setting_label: ClassVar[str] = "step size h (units of the model's inputs)"
    colours: ClassVar[dict[str, str]] = {"forward": "#0072B2", "backward": "#CC79A7", "central": "#009E73"}
    markers: ClassVar[dict[str, str]] = {"forward": "o", "backward": "v", "central": "s"}

    implementation: ClassVar[str] = "approxgrad.gradients.finite_differences"

    difference: Annotated[Scheme, option("Scheme of the differences.")]
    steps: Annotated[
        tuple[Annotated[Number, option("", ge=1e-30, le=1e30)] | Literal["auto"], ...],
        option(STEPS, min_length=1),
        Once,
    ]
    dtypes: Dtypes = ("float32",)

    @property
    def family(self) -> str:
        """The scheme."""
        return self.difference

    @property
    def label(self) -> str:
        """The scheme for readers."""
        return f"{self.difference} differences"

    def gradient(self, setting: Setting, **limits: Any) -> Callable[..., Any]:
        """Return a :class:`approxgrad.FiniteDifference`."""
        own = {name: limits.get(name) for name in ("batch_size", "memory_budget")}
        return import_module(self.implementation).FiniteDifference(setting, self.difference, **own)
