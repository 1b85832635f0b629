"""Differences along orthonormal directions as a gradient source of a study."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Annotated, Any, ClassVar, Literal

from approxgrad.descriptions import Number, Once, option
from approxgrad.gradients.difference import ENDINGS, Differences, Dtypes, Scheme, Unit, of_units
from approxgrad.gradients.source import SOURCES, Setting, evaluation_limits

STEPS = (
    "Lengths h of the steps in units of the normalised features, from 1e-30 to 1e30. A step moves all d features, each"
    " by about h over the root of d. The word auto stands for a step that is chosen at run time,"
    " as for `difference`."
)


@SOURCES.add
@dataclass(frozen=True)
class Orthogonal(Differences):
    """Differences along a random orthonormal basis: :class:`approxgrad.DirectionalDifference`."""

    name: ClassVar[str] = "orthogonal"
    units: ClassVar[dict[str, tuple[str, str]]] = {
        "": ("directional_step", "step h along random unit directions (units of the model's inputs)"),
        "spread": ("directional_step_per_spread", "step h along random unit directions (units of standard deviations)"),
    }
    colours: ClassVar[dict[str, str]] = {
        f"orthogonal-{family}": colour
        for family, colour in of_units({"forward": "#332288", "backward": "#882255", "central": "#999933"}).items()
    }
    markers: ClassVar[dict[str, str]] = {
        f"orthogonal-{family}": marker
        for family, marker in of_units({"forward": "p", "backward": "<", "central": "h"}).items()
    }
    implementation: ClassVar[str] = "approxgrad.gradients.directional.directions"

    orthogonal: Annotated[Scheme, option("Scheme of the differences.")]
    steps: Annotated[
        tuple[Annotated[Number, option("", ge=1e-30, le=1e30)] | Literal["auto"], ...],
        option(STEPS, min_length=1),
        Once,
    ]
    dtypes: Dtypes = ("float32",)
    step_unit: Unit = None

    @property
    def family(self) -> str:
        """The name, the scheme and what steps are multiples of."""
        return f"{self.name}-{super().family}"

    @property
    def label(self) -> str:
        """The scheme for readers, and what steps are multiples of."""
        return f"{self.orthogonal} differences along random directions{ENDINGS[self.unit]}"

    @property
    def choice(self) -> dict[str, Any]:
        """The scheme and the directions."""
        return {"scheme": self.scheme, "directions": self.name}

    def gradient(self, setting: Setting, **limits: Any) -> Callable[..., Any]:
        """Return a :class:`approxgrad.DirectionalDifference`."""
        made = import_module(self.implementation).DirectionalDifference
        own = evaluation_limits(limits) | {"seed": limits.get("seed", 0)}
        return made(self.step(setting, limits), self.orthogonal, **own)
