"""What a gradient source is to a study: a kind with options, a setting that the study varies, and a precision."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np

from approxgrad.descriptions import Description, Registry, option, read, written
from approxgrad.gradients.precisions import DEFAULT, PRECISIONS, Precision

AUTO: Literal["auto"] = "auto"
"""In place of a number: the setting is chosen at run time, for the model and the precision that it is evaluated in."""

PATH: Literal["path"] = "path"
"""In place of a step: the increment of each feature from one point of a path to the next."""

Setting = float | Literal["auto", "path"] | None

Dtypes = Annotated[tuple[Precision, ...], option("Precisions of the model.")]


@dataclass(frozen=True)
class SourceKind(Description):
    """One kind of gradient source with its options.

    Attributes
    ----------
    name : str
        The key of the kind in `gradients`; the field of this name selects the variant.
    varied : str
        The field that holds the settings, which are numbers.
    setting_name, setting_label, symbol : str
        What a study varies: the name in tables, the title of an axis, and the letters in the names of sources.
    exact : bool
        Whether it is the exact gradient, which the other sources are compared with.
    is_budget : bool
        Whether the setting is the number of model evaluations.
    predicts : bool
        Whether it says how good the attributions are expected to be.
    colours, markers : dict
        How each family is drawn; others take what is left of the palette.
    implementation : str
        The module that computes it, where it is another one than describes it: jobs that use the source depend on it.
    needs : str
        What a model must offer (:attr:`approxgrad.models.kind.ModelKind.offers`); empty for evaluations alone.
    """

    name: ClassVar[str]
    varied: ClassVar[str] = ""
    setting_name: ClassVar[str] = ""
    setting_label: ClassVar[str] = ""
    symbol: ClassVar[str] = ""
    exact: ClassVar[bool] = False
    is_budget: ClassVar[bool] = False
    predicts: ClassVar[bool] = False
    colours: ClassVar[dict[str, str]] = {}
    markers: ClassVar[dict[str, str]] = {}
    implementation: ClassVar[str] = ""
    needs: ClassVar[str] = ""

    @property
    def family(self) -> str:
        """What sources that differ in their setting only have in common: a curve of the figures."""
        return self.name

    @property
    def label(self) -> str:
        """The family for readers."""
        return self.family.replace("_", " ")

    @property
    def settings(self) -> tuple[Setting, ...]:
        """The settings that are studied: the field :attr:`varied`."""
        return getattr(self, self.varied) if self.varied else (None,)

    @property
    def precisions(self) -> tuple[str, ...]:
        """The precisions that are studied: the field ``dtypes``, where a kind has it."""
        return getattr(self, "dtypes", (DEFAULT,))

    def only(self, setting: Setting, dtype: str) -> Self:
        """Return the kind with a single setting and precision."""
        own: dict[str, Any] = {self.varied: (setting,)} if self.varied else {}
        return dataclasses.replace(self, **own, **({"dtypes": (dtype,)} if hasattr(self, "dtypes") else {}))

    @property
    def unrounded(self) -> SourceKind | None:
        """The kind that differs from this one by rounding alone, and has next to none, if there is one."""
        return None

    def cost(self, setting: Setting, features: int) -> int:
        """Return the model evaluations for the gradient at one point; for an exact one, forward and backward passes."""
        raise NotImplementedError

    def path_cost(self, setting: Setting, features: int, points: int) -> int:
        """Return the model evaluations for Integrated Gradients with so many points on the path."""
        return points * self.cost(setting, features)

    def shared_cost(self, setting: Setting) -> int | None:
        """Return how many of these are at the point itself; None if no feature can be differentiated alone."""
        return None

    @property
    def is_step(self) -> bool:
        """Whether the setting is what all differences of outputs are divided by."""
        return False

    @property
    def along_path(self) -> bool:
        """Whether it computes whole path integrals itself, for methods that leave the path to their source."""
        return False

    @property
    def needs_spread(self) -> bool:
        """Whether jobs need the standard deviation of each feature over the training rows."""
        return False

    @property
    def pilot_rows(self) -> int:
        """At how many training rows gradients are measured beforehand, whose spectrum jobs need."""
        return 0

    @property
    def choice(self) -> dict[str, Any]:
        """Options of :func:`approxgrad.choose_step` for a setting that is chosen at run time."""
        raise NotImplementedError

    def gradient(self, setting: Setting, **limits: Any) -> Callable[..., Any]:
        """Return a callable with captum's ``gradient_func`` signature.

        Parameters
        ----------
        setting : float, "path" or None
            What the study varies, a number if it was chosen at run time.
        **limits
            ``batch_size`` and ``memory_budget`` of an evaluation, each perhaps None, ``seed`` for what is drawn, and
            ``spread``, a tensor shaped like one input, or ``spectrum``, the path of a table, if the source needs it.
        """
        raise NotImplementedError


def evaluation_limits(limits: Mapping[str, Any]) -> dict[str, Any]:
    """Return those of the limits of :meth:`SourceKind.gradient` that bound an evaluation."""
    return {name: limits.get(name) for name in ("batch_size", "memory_budget")}


SOURCES: Registry[type[SourceKind]] = Registry(
    "gradient source",
    __package__,
    {
        "exact": "source",
        "evaluated": "source",
        "difference": "difference",
        "orthogonal": "directional.orthogonal",
        "directions": "directional.budgeted_directions",
        "smoothing": "published.sources",
        "sampling": "published.sources",
        "surrogate": "published.sources",
        "shapley": "shapley",
    },
)


@SOURCES.add
@dataclass(frozen=True)
class Exact(SourceKind):
    """The exact gradient, by automatic differentiation."""

    name: ClassVar[str] = "exact"
    exact: ClassVar[bool] = True
    colours: ClassVar[dict[str, str]] = {"exact": "#D55E00"}
    markers: ClassVar[dict[str, str]] = {"exact": "D"}
    implementation: ClassVar[str] = "approxgrad.gradients.exact"

    dtypes: Dtypes = ("float32",)

    def cost(self, setting: Setting, features: int) -> int:
        """Return 1: a forward pass that a backward pass follows."""
        return 1

    def gradient(self, setting: Setting, **limits: Any) -> Callable[..., Any]:
        """Return an :class:`approxgrad.ExactGradient`."""
        return import_module(self.implementation).ExactGradient(limits.get("batch_size"))


@SOURCES.add
@dataclass(frozen=True)
class Evaluated(SourceKind):
    """The model itself, for methods that take no gradients."""

    name: ClassVar[str] = "evaluated"
    label: ClassVar[str] = "evaluations"
    colours: ClassVar[dict[str, str]] = {"evaluated": "#661100"}
    markers: ClassVar[dict[str, str]] = {"evaluated": "h"}
    implementation: ClassVar[str] = "approxgrad.gradients.propagation.following"

    dtypes: Dtypes = ("float32",)

    def cost(self, setting: Setting, features: int) -> int:
        """Return 1; how often a method evaluates the model is its own."""
        return 1

    def gradient(self, setting: Setting, **limits: Any) -> Callable[..., Any]:
        """Return what evaluates the model, which is not a gradient."""
        return import_module(self.implementation).Following(**evaluation_limits(limits))


@dataclass(frozen=True)
class Source:
    """A gradient source of a study."""

    kind: SourceKind  # with its options
    setting: Setting = None  # what the study varies; None for the exact gradient
    dtype: str = DEFAULT  # precision in which the model is evaluated

    @property
    def name(self) -> str:
        """The name in paths and tables; the setting is written in full, so that the name tells its value exactly."""
        words = [self.family]
        if self.number is not None:
            words.append(f"{self.kind.symbol}{np.format_float_positional(self.number, trim='-')}")
        elif self.chosen:
            words.append(AUTO)
        if self.dtype != DEFAULT:
            words.append(self.dtype)
        return "-".join(words)

    @property
    def words(self) -> str:
        """The name for readers: the label, and what is known of the setting."""
        if self.chosen:
            return f"{self.kind.label}, {self.kind.symbol} chosen at run time"
        if self.number is None:
            return self.kind.label
        return f"{self.kind.label}, {self.kind.symbol} = {np.format_float_positional(self.number, trim='-')}"

    @property
    def family(self) -> str:
        """What sources that differ in their setting only have in common."""
        return self.kind.family

    @property
    def is_exact(self) -> bool:
        """Whether this is the exact gradient, of whatever precision."""
        return self.kind.exact

    @property
    def chosen(self) -> bool:
        """Whether the setting is chosen at run time."""
        return self.setting == AUTO

    @property
    def number(self) -> float | None:
        """The setting as a number; None if it is chosen at run time or follows from a path, or there is none."""
        return None if self.setting is None or isinstance(self.setting, str) else float(self.setting)

    @property
    def rank(self) -> tuple[int, str, float]:
        """Place in an ordered list: by precision, family and setting; a setting that is chosen comes last."""
        return PRECISIONS.index(self.dtype), self.family, math.inf if self.number is None else self.number

    def distance(self, setting: float) -> float:
        """Return the distance from a setting on a logarithmic scale; infinite if this one is chosen or none."""
        return math.inf if self.number is None else abs(math.log(self.number / setting))

    @property
    def entry(self) -> dict[str, Any]:
        """What makes this source and no other one, as plain values for the parameters of a job."""
        return {"kind": self.kind.name, **written(self.kind)}

    def evaluations(self, features: int) -> int:
        """Return the model evaluations for the gradient at one point."""
        return self.kind.cost(self.setting, features)


def exact_source(dtype: str = DEFAULT) -> Source:
    """Return the exact gradient in a precision."""
    return Source(Exact((dtype,)), None, dtype)  # type: ignore[arg-type]


def evaluated_source(dtype: str = DEFAULT) -> Source:
    """Return the model itself in a precision."""
    return Source(Evaluated((dtype,)), None, dtype)  # type: ignore[arg-type]


def sources(kind: SourceKind) -> list[Source]:
    """Return the gradient sources of a kind: every precision of every setting."""
    return [Source(kind.only(setting, dtype), setting, dtype) for setting in kind.settings for dtype in kind.precisions]


def source_of(entry: Mapping[str, Any]) -> Source:
    """Return the source of :attr:`Source.entry`."""
    options = dict(entry)
    (source,) = sources(read(SOURCES[options.pop("kind")], options))
    return source
