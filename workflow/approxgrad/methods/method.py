"""What an attribution method is: a function of model, inputs and gradient source, with options of its own."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from numbers import Integral
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from approxgrad.descriptions import Description, Integer, Number, Registry, Text, option, read, written

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from approxgrad.gradients.evaluating.evaluated import GradientSource
    from approxgrad.gradients.source import Source


@dataclass(frozen=True)
class TrueEffects:
    """The true effects of the features, and their slopes, at inputs (N, d), and the effects at the baseline (1, d)."""

    values: Any
    slopes: Any
    baseline: Any = None


@dataclass(frozen=True)
class Method(Description):
    """An attribution method with its options, the fields of a subclass.

    Attributes
    ----------
    name, label : str
        As `attribution` in a configuration, and for readers.
    signed : bool
        Whether a map has positive and negative values, so that zero is in the middle of its colour scale.
    path : bool
        Whether gradients are taken along a path from a baseline to the input.
    complete : bool
        Whether the attributions of an input should sum to the difference of the outputs at the ends of the path.
    """

    name: ClassVar[str]
    label: ClassVar[str]
    signed: ClassVar[bool] = True
    path: ClassVar[bool] = False
    complete: ClassVar[bool] = False

    takes_gradients: ClassVar[bool] = True
    """Whether it takes gradients; else it evaluates the model itself, and no gradient source varies it."""

    path_steps: ClassVar[bool] = False
    """Whether the steps of differences can be the increments of its path."""

    refers: ClassVar[bool] = False
    """Whether there is no exact attribution of its own, so that it is compared with that of another method."""

    @property
    def points(self) -> int:
        """Gradients for each input."""
        return 1

    def from_gradient(self, inputs: Any, gradient: Any) -> Any:
        """Return the attribution from inputs and gradient alone, both tensors or both arrays of shape (N, ...).

        To be defined where that is all there is to a method: such methods share gradients in a study.
        """
        raise NotImplementedError

    @property
    def derived(self) -> bool:
        """Whether the attribution follows from inputs and gradient alone."""
        return type(self).from_gradient is not Method.from_gradient

    def true_attribution(self, inputs: Any, effects: TrueEffects) -> Any:
        """Return the attribution of inputs (N, d) if the model were the sum of known effects; None if that is unknown.

        For a function of the gradient it is the same function of the true slopes.
        """
        return self.from_gradient(inputs, effects.slopes) if self.derived else None

    @property
    def entry(self) -> dict[str, Any]:
        """The name and the options on which the numbers depend, as plain values for the parameters of a job."""
        own = {"attribution": self.name, **written(self)}
        # No number depends on what a map is compared with.
        own.pop("reference", None)
        return own

    @property
    def reference_method(self) -> str | None:
        """Name, in a configuration, of the method whose exact attribution this one is compared with; None: its own.

        It is the option ``reference``, of methods that have it.
        """
        return getattr(self, "reference", None)

    def evaluations(self, source: Source, shape: tuple[int, ...], baseline_values: int = 1) -> int:
        """Return the model evaluations for the attribution of one input.

        Parameters
        ----------
        source : Source
            The gradient source; an evaluation for an exact one is a forward and a backward pass.
        shape : tuple of int
            Shape of one input.
        baseline_values : int
            Distinct values of the baseline.
        """
        return self.points * source.evaluations(prod(shape))

    def shape_fault(self, shape: tuple[int, ...]) -> str | None:
        """Return why the method does not fit inputs of a shape; None if it does."""
        return None

    def factor(self, inputs: Any, baselines: Any) -> Any:
        """Return what the gradient is multiplied with, shaped like the inputs: tensors or arrays; by default 1."""
        return 0 * inputs + 1

    @property
    def title(self) -> str:
        """The label with the options that tell methods of one kind apart."""
        return self.label

    def attribute(
        self, model: Any, inputs: Tensor, target: Any, gradient: GradientSource, baselines: Tensor | None = None
    ) -> Tensor:
        """Return the attribution, shaped like the inputs.

        Parameters
        ----------
        model : callable
            A batch of inputs to a batch of outputs.
        inputs : Tensor
            Shape (N, ...).
        target : Any
            One explained output for each input, or None, as captum takes it.
        gradient : GradientSource
            Called with model, points and targets, it returns a tuple with the gradient at the points. For a method that
            takes no gradients, a :class:`.following.Following` that evaluates the model.
        baselines : Tensor, optional
            Shaped like the inputs; there for methods with the option ``baseline``.
        """
        result: Tensor = self.from_gradient(inputs.detach(), gradient(model, (inputs,), target)[0])
        return result


METHODS: Registry[type[Method]] = Registry(
    "attribution method",
    __package__,
    {
        "gradient": "gradient",
        "smoothgrad": "smoothgrad",
        "saliency": "gradient_methods",
        "input_x_gradient": "gradient_methods",
        "integrated_gradients": "integrated_gradients",
        "integrated_gradients_published": "integrated_gradients_published",
        "occlusion": "ablation_methods",
        "feature_ablation": "ablation_methods",
    },
)


BaselineValues = Literal["zero", "mean", "test_mean"] | Number | tuple[Number, ...]
"""A baseline in normalised features: zero, the mean of training or test features, a number, or one for each feature."""


def baseline_words(baseline: Any) -> list[str]:
    """Return a baseline in words; none for zero."""
    if baseline == "zero":
        return []
    return ["own baseline" if isinstance(baseline, tuple) else f"{baseline} baseline".replace("_", " ")]


def check_integer(name: str, value: Any, least: int = 1) -> None:
    """Refuse an option that is not an integer (TypeError) or is too small (ValueError), where no configuration does."""
    expected = "a positive integer" if least == 1 else f"an integer of at least {least}"
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(f"{name}: expected {expected}, got {value!r}")
    if value < least:
        raise ValueError(f"{name}: expected {expected}, got {value}")


def titled(label: str, *words: str) -> str:
    """Return a label with words in brackets, after those that it has."""
    head, _, known = label.removesuffix(")").partition(" (")
    every = ", ".join(filter(None, [known, *words]))
    return f"{head} ({every})" if every else head


@dataclass(frozen=True)
class PathMethod(Method):
    """A method that takes gradients along the straight path from a baseline to the input."""

    path: ClassVar[bool] = True

    baseline: Annotated[
        BaselineValues,
        option(
            "Start of the path in normalised features: zero, mean (of the training features), test_mean (of the test "
            "features, as in the thesis), a number or a list."
        ),
    ] = "zero"
    n_steps: Annotated[Integer, option("Points on the path.", ge=1, le=100000)] = 50

    def __post_init__(self) -> None:
        check_integer("n_steps", self.n_steps)

    @property
    def points(self) -> int:
        """The points on the path."""
        return self.n_steps

    def true_attribution(self, inputs: Any, effects: TrueEffects) -> Any:
        """Return what every effect gains from the baseline to the input."""
        return None if effects.baseline is None else effects.values - effects.baseline

    def factor(self, inputs: Any, baselines: Any) -> Any:
        """Return input minus baseline."""
        return inputs - baselines

    @property
    def title(self) -> str:
        """The label, with a baseline that is not zero."""
        return titled(self.label, *baseline_words(self.baseline))


Reference = Annotated[
    Text | None, option("Method whose exact attribution this one is compared with; by default its own.")
]


def method_of(entry: Mapping[str, Any]) -> Method:
    """Return the method of an entry: ``attribution``, its name, and its options."""
    options = dict(entry)
    return read(METHODS[options.pop("attribution")], options)
