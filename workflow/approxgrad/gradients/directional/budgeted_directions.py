"""Directions within a budget of evaluations as a gradient source of a study."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Annotated, Any, ClassVar, Literal

from approxgrad.descriptions import Integer, Number, option
from approxgrad.gradients.budgets import Budgeted, Budgets
from approxgrad.gradients.difference import Dtypes, Scheme, Unit, in_units
from approxgrad.gradients.directional.spending import path_points, spending
from approxgrad.gradients.source import SOURCES, Setting
from approxgrad.gradients.stencils import stencil

ORDERED = ("cosine", "haar", "pixels")

PILOTS = (
    "Training rows whose gradients are measured once for all budgets, by forward differences: directions come first"
    " that most of them lie in. With 0, low frequencies come first, those of brightness before those of colours."
)


@SOURCES.add
@dataclass(frozen=True)
class Directions(Budgeted):
    """As many directions as a budget pays for: :class:`approxgrad.DirectionalDifference`."""

    name: ClassVar[str] = "directions"
    looks: ClassVar[dict[str, tuple[str, str, str]]] = {
        "cosine": ("cosine directions", "#117733", "o"),
        "haar": ("Haar wavelets", "#44AA99", "s"),
        "orthogonal": ("random orthogonal directions", "#332288", "p"),
        "pixels": ("random features", "#AA4499", "D"),
        "random": ("random directions", "#882255", "h"),
    }
    implementation: ClassVar[str] = "approxgrad.methods.predicted_difference"
    predicts: ClassVar[bool] = True

    directions: Annotated[Literal["cosine", "haar", "orthogonal", "pixels", "random"], option("Which directions.")]
    budgets: Budgets
    pilots: Annotated[Integer, option(PILOTS, ge=0, le=1000)] = 0
    scheme: Annotated[Scheme, option("Scheme of the differences.")] = "forward"
    step: Annotated[Number, option("Length of a step, which moves all features, in their unit.", ge=1e-30, le=1e30)] = (
        0.1
    )
    step_unit: Unit = None
    dtypes: Dtypes = ("float32",)

    def __post_init__(self) -> None:
        if self.pilots and self.directions not in ORDERED:
            raise ValueError(
                f"pilots: only directions of {', '.join(ORDERED)} have them, not {self.directions}; leave it out"
            )

    @property
    def needs_spread(self) -> bool:
        """Whether steps are multiples of each feature's spread."""
        return self.step_unit == "spread"

    @property
    def pilot_rows(self) -> int:
        """The pilots."""
        return self.pilots

    def cost(self, setting: Setting, features: int) -> int:
        """Return what one gradient spends: at most the budget, and at most the cost of all directions."""
        return self._spent(setting, features, 1)

    def path_cost(self, setting: Setting, features: int, points: int) -> int:
        """Return what the gradients along a path spend together; their points follow from the budget."""
        return self._spent(setting, features, path_points(int(setting), stencil(self.scheme), features))  # type: ignore[arg-type]

    def _spent(self, setting: Setting, features: int, points: int) -> int:
        own = spending(int(setting), stencil(self.scheme), features, None, points)  # type: ignore[arg-type]
        each: Any = own.directions  # the same for all inputs, so a number in place of a tensor
        return int(own.evaluations(each))

    def gradient(self, setting: Setting, **limits: Any) -> Callable[..., Any]:
        """Return a :class:`approxgrad.DirectionalDifference`, ordered by a spectrum if there are pilots."""
        module = import_module(self.implementation)
        own = {"order": module.read_spectrum(limits["spectrum"])} if self.pilots else {}
        own |= {"budget": int(setting), "basis": self.directions, **self.shared(limits)}  # type: ignore[arg-type]
        made: Callable[..., Any] = module.PredictedDifference
        difference: Callable[..., Any] = made(in_units(self.step, self.step_unit, limits), self.scheme, **own)
        return difference
