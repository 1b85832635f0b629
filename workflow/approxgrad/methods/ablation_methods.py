"""Occlusion and feature ablation, which need no gradient: parts of the input are replaced by a baseline."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from approxgrad.descriptions import Integer, option
from approxgrad.methods.method import METHODS, BaselineValues, Method, Reference, TrueEffects, baseline_words, titled

if TYPE_CHECKING:
    from torch import Tensor

    from approxgrad.gradients.propagation.patches import Patches
    from approxgrad.gradients.source import Source

BASELINE = "What is put in place of a part, in normalised features: zero, mean (of the training features), a number or "
EVALUATION = (
    "How a part is replaced: dense evaluates the model; propagated follows the difference through the layers of a"
    " network; auto does so where it takes fewer operations. Maps are the same up to rounding."
)
Size = (
    Annotated[Integer, option("", ge=1)]
    | Annotated[tuple[Annotated[Integer, option("", ge=1)], ...], option("", min_length=2, max_length=3)]
)


@dataclass(frozen=True)
class Ablation(Method):
    """A method that replaces parts of the input, one at a time."""

    takes_gradients: ClassVar[bool] = False

    baseline: Annotated[BaselineValues, option(BASELINE + "a list.")] = "zero"
    evaluation: Annotated[Literal["dense", "propagated", "auto"], option(EVALUATION)] = "auto"
    reference: Reference = None

    def parts(self, shape: tuple[int, ...]) -> int:
        """Return how many parts an input has; a ValueError says why it cannot have them."""
        raise NotImplementedError

    def evaluations(self, source: Source, shape: tuple[int, ...], baseline_values: int = 1) -> int:
        """Return one evaluation for each part, and one."""
        return self.parts(shape) + 1

    def shape_fault(self, shape: tuple[int, ...]) -> str | None:
        """Return why inputs do not have such parts."""
        try:
            self.parts(shape)
        except ValueError as error:
            return str(error)
        return None


@METHODS.add
@dataclass(frozen=True, kw_only=True)
class Occlusion(Ablation):
    """Fall of the output if boxes of an image are replaced (Zeiler and Fergus, 2014, https://arxiv.org/abs/1311.2901).

    A pixel's value is the mean over the boxes that hold it, as in captum.
    """

    name: ClassVar[str] = "occlusion"
    label: ClassVar[str] = "Occlusion"

    window: Annotated[Size, option("Side of a box, or its height and width, or channels, height and width.")]
    stride: Annotated[Size, option("By how much boxes are moved: one number, or several as for `window`.")] = 1

    @property
    def title(self) -> str:
        """The label with window and stride, and a baseline that is not zero."""
        window, stride = (own if isinstance(own, tuple) else (own, own) for own in self._sizes)
        sides = stride[:1] if len(set(stride)) == 1 else stride
        words = " × ".join(map(str, window)), f"stride {' × '.join(map(str, sides))}"
        return titled(self.label, *words, *baseline_words(self.baseline))

    @property
    def _sizes(self) -> tuple[Any, Any]:
        return self.window, self.stride

    def boxes(self, shape: tuple[int, ...]) -> Patches:
        """Return the boxes; a ValueError says why they do not fit."""
        from approxgrad.gradients.propagation.patches import boxes

        if len(shape) != 3:
            raise ValueError(f"window: expected inputs of channels, height and width, got {len(shape)} axes")
        return boxes(shape, *self._sizes)

    def parts(self, shape: tuple[int, ...]) -> int:
        """Return the number of boxes."""
        return self.boxes(shape).count

    def attribute(
        self, model: Any, inputs: Tensor, target: Any, gradient: Any, baselines: Tensor | None = None
    ) -> Tensor:
        """Return the attribution; `gradient` evaluates the model."""
        from approxgrad.methods.occlusion import occlusion

        starts = 0 if baselines is None else baselines
        options: dict[str, Any] = {"evaluation": self.evaluation, "source": gradient}
        return occlusion(model, inputs, *self._sizes, starts, target, **options)


@METHODS.add
@dataclass(frozen=True)
class FeatureAblation(Ablation):
    """Fall of the output if a feature, or a group of features, is replaced, as in captum."""

    name: ClassVar[str] = "feature_ablation"
    label: ClassVar[str] = "Feature Ablation"

    mask: Annotated[
        Literal["features", "pixels"] | tuple[Integer, ...],
        option(
            "What is replaced together: features (each alone), pixels (all channels of each), or a list with a number"
            " for each feature, where those with the same number form a group."
        ),
    ] = "features"

    @property
    def title(self) -> str:
        """The label, with a mask of groups and a baseline that is not zero."""
        mask = "own mask" if isinstance(self.mask, tuple) else self.mask
        return titled(self.label, *([] if mask == "features" else [mask]), *baseline_words(self.baseline))

    def __post_init__(self) -> None:
        given: Any = self.mask
        if isinstance(given, (tuple, list)) and all(isinstance(own, int) for own in given):
            object.__setattr__(self, "mask", tuple(given))
        elif not isinstance(given, str) or given not in ("features", "pixels"):
            shown = repr(given) if isinstance(given, str) else f"a {type(given).__name__}"
            raise ValueError(f"mask: expected features, pixels or a list of integers, got {shown}")

    def groups(self, shape: tuple[int, ...]) -> tuple[tuple[int, ...], list[int]]:
        """Return a shape that broadcasts to an input, and the number of the group of each of its features."""
        if isinstance(self.mask, tuple):
            if len(self.mask) != math.prod(shape):
                raise ValueError(
                    f"mask: got {len(self.mask)} numbers, expected {math.prod(shape)}, one for each feature"
                )
            return shape, list(self.mask)
        own = shape
        if self.mask == "pixels":
            if len(shape) != 3:
                raise ValueError(f"mask: pixels needs inputs of channels, height and width, got {len(shape)} axes")
            own = (1, *shape[1:])
        return own, list(range(math.prod(own)))

    def parts(self, shape: tuple[int, ...]) -> int:
        """Return the number of groups."""
        return len(set(self.groups(shape)[1]))

    def true_attribution(self, inputs: Any, effects: TrueEffects) -> Any:
        """Return what every effect gains from the baseline to the input, where features are replaced one by one."""
        known = self.mask == "features" and effects.baseline is not None
        return effects.values - effects.baseline if known else None

    def attribute(
        self, model: Any, inputs: Tensor, target: Any, gradient: Any, baselines: Tensor | None = None
    ) -> Tensor:
        """Return the attribution; `gradient` evaluates the model."""
        import torch

        from approxgrad.methods.occlusion import feature_ablation

        shape, numbers = self.groups(tuple(inputs.shape[1:]))
        mask = None if self.mask == "features" else torch.tensor(numbers).reshape(shape)
        starts = 0 if baselines is None else baselines
        options: dict[str, Any] = {"evaluation": self.evaluation, "source": gradient}
        return feature_ablation(model, inputs, mask, starts, target, **options)
