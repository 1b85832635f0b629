"""What others have published for few evaluations, as gradient sources of a study."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Annotated, Any, ClassVar, Literal

from approxgrad.descriptions import Number, option
from approxgrad.gradients.budgets import Budgeted, Budgets, path_points
from approxgrad.gradients.difference import Dtypes, Unit, in_units
from approxgrad.gradients.source import SOURCES, Setting


class Paired(Budgeted):
    """What evaluates pairs of mirrored points, so that an odd budget leaves one evaluation over."""

    def cost(self, setting: Setting, features: int) -> int:
        """Return the largest even number within the budget."""
        return 2 * (int(setting) // 2)  # type: ignore[arg-type]  # a number


@SOURCES.add
@dataclass(frozen=True)
class Smoothing(Paired):
    """Derivatives along independent random directions, as published."""

    name: ClassVar[str] = "smoothing"
    looks: ClassVar[dict[str, tuple[str, str, str]]] = {
        "spsa": ("SPSA", "#E69F00", "v"),
        "gaussian": ("Gaussian smoothing", "#CC6677", "^"),
    }
    implementation: ClassVar[str] = "approxgrad.gradients.published.random_directions"

    smoothing: Annotated[Literal["spsa", "gaussian"], option("Directions: random signs, or normal numbers.")]
    budgets: Budgets
    step: Annotated[Number, option("By how much each feature moves, in its unit.", ge=1e-30, le=1e30)] = 0.01
    step_unit: Unit = None
    dtypes: Dtypes = ("float32",)

    @property
    def needs_spread(self) -> bool:
        """Whether steps are multiples of each feature's spread."""
        return self.step_unit == "spread"

    def path_cost(self, setting: Setting, features: int, points: int) -> int:
        """Return the evaluations at all points of the path that the budget pays for, whatever the method's own."""
        count = path_points(int(setting), features)  # type: ignore[arg-type]
        return count * self.cost(int(setting) // count, features)  # type: ignore[arg-type]

    def gradient(self, setting: Setting, **limits: Any) -> Callable[..., Any]:
        """Return an ``SPSA`` or a ``GaussianSmoothing``."""
        made = {"spsa": "SPSA", "gaussian": "GaussianSmoothing"}[self.smoothing]
        step = in_units(self.step, self.step_unit, limits)
        return getattr(import_module(self.implementation), made)(int(setting), step, **self.shared(limits))  # type: ignore


class OfPath(Budgeted):
    """Whole attributions, in place of Integrated Gradients, with the same baseline."""

    @property
    def along_path(self) -> bool:
        """Whether it is for methods with a path only: always."""
        return True

    def path_cost(self, setting: Setting, features: int, points: int) -> int:
        """Return the cost, which does not depend on the points of the method."""
        return self.cost(setting, features)


@SOURCES.add
@dataclass(frozen=True)
class Sampling(OfPath, Paired):
    """Random points of the path (GEEX) or sets of features (GEFA), as published.

    GEEX estimates Integrated Gradients of a smoothed model, GEFA Shapley values; both are compared with the exact
    Integrated Gradients.
    """

    name: ClassVar[str] = "sampling"
    looks: ClassVar[dict[str, tuple[str, str, str]]] = {
        "geex": ("GEEX", "#88CCEE", "<"),
        "gefa": ("GEFA", "#6699CC", ">"),
    }
    implementation: ClassVar[str] = "approxgrad.gradients.published.path_estimates"

    sampling: Annotated[Literal["geex", "gefa"], option("Whose estimate.")]
    budgets: Budgets
    sigma: Annotated[
        Number | None,
        option("Standard deviation of the noise of geex in normalised features; without, 0.1.", gt=0),
    ] = None
    dtypes: Dtypes = ("float32",)

    def __post_init__(self) -> None:
        if self.sigma is not None and self.sampling != "geex":
            raise ValueError(f"sigma: is an option of geex, not of {self.sampling}; leave it out")

    def gradient(self, setting: Setting, **limits: Any) -> Callable[..., Any]:
        """Return a ``GEEX`` or a ``GEFA``."""
        made = getattr(import_module(self.implementation), self.sampling.upper())
        own = {} if self.sigma is None else {"sigma": self.sigma}
        return made(int(setting), **own, **self.shared(limits))  # type: ignore


@SOURCES.add
@dataclass(frozen=True)
class Surrogate(OfPath):
    """Linear models of outputs at random sets of features, captum's: :mod:`approxgrad.gradients.published.surrogates`.

    KernelShap estimates Shapley values, Lime has coefficients of its own; both are compared with the exact Integrated
    Gradients.
    """

    name: ClassVar[str] = "surrogate"
    looks: ClassVar[dict[str, tuple[str, str, str]]] = {
        "kernel_shap": ("KernelShap", "#AA4466", "X"),
        "lime": ("Lime", "#999933", "P"),
    }
    implementation: ClassVar[str] = "approxgrad.gradients.published.surrogates"

    surrogate: Annotated[Literal["kernel_shap", "lime"], option("Which linear model.")]
    budgets: Budgets
    dtypes: Dtypes = ("float32",)

    def cost(self, setting: Setting, features: int) -> int:
        """Return the budget."""
        return int(setting)  # type: ignore[arg-type]

    def gradient(self, setting: Setting, **limits: Any) -> Callable[..., Any]:
        """Return a ``KernelShap`` or a ``Lime``."""
        made = {"kernel_shap": "KernelShap", "lime": "Lime"}[self.surrogate]
        return getattr(import_module(self.implementation), made)(int(setting), **self.shared(limits))  # type: ignore
