"""Torch networks as kinds of models: built by code, trained by a study or fitted with weights from elsewhere."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from approxgrad.datasets.faults import text_faults
from approxgrad.descriptions import option
from approxgrad.gradients.precisions import PRECISIONS
from approxgrad.models.kind import WEIGHTS_FILE, ModelKind, Shape
from approxgrad.models.origins import Training, Weights
from approxgrad.models.trainings import Repeats

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, kw_only=True)
class Network(ModelKind):
    """A torch network that is trained, or fitted with weights from elsewhere; its file of weights describes it.

    Attributes
    ----------
    smallest_side : int
        Pixels of the shorter side of the images that it takes; 0 if it takes inputs of any shape.
    """

    smallest_side: ClassVar[int] = 0
    precisions: ClassVar[tuple[str, ...]] = PRECISIONS

    training: Annotated[
        Training | None,
        option("How the model is trained (Adam; cross-entropy for classes, squared error for a regression)."),
    ] = None
    weights: Annotated[Weights | None, option("Weights that were trained elsewhere, instead of `training`.")] = None
    repeats: Repeats = 1  # type: ignore[misc]

    @property
    def trained(self) -> bool:
        """Whether `training` is given."""
        return self.training is not None

    @property
    def fitted(self) -> bool:
        """Whether `weights` are given."""
        return self.weights is not None

    def weight_file(self, model: str) -> str | None:
        """Return the user's own file, or the one that a rule downloads."""
        if self.weights is None:
            return None
        return self.weights.file if self.weights.repository is None else f"data/weights/{model}.weights"

    @property
    def own_files(self) -> dict[str, list[str]]:
        """The user's own module and weights."""
        own = super().own_files
        if self.weights is not None and self.weights.repository is None:
            own[WEIGHTS_FILE] = [self.weights.file]
        return own

    def shape_fault(self, shape: Shape) -> str | None:
        """Return why the network does not take inputs of a shape, or None if it does."""
        if not self.smallest_side or (len(shape) == 3 and min(shape[1:]) >= self.smallest_side):
            return None
        expected = f"images with sides of at least {self.smallest_side} pixels"
        return f"architecture {self.name}: expected {expected}, got shape {shape}"

    def faults(self) -> list[str]:
        """Return a line unless there is either `training` or `weights`, or if the path of the weights is not text."""
        if self.trained == self.fitted:
            how = "stands beside weights" if self.trained else "is missing"
            return [f"training: {how}, expected either training or weights"]
        if self.repeats > 1 and not self.trained:
            return ["repeats: is for a model with `training`; leave it out"]
        return text_faults(WEIGHTS_FILE, self.weights.file) if self.weights else []

    def build(self, input_shape: Shape, outputs: int) -> nn.Module:
        """Return an untrained network, initialised from torch's random state; arguments are those of :meth:`open`."""
        raise NotImplementedError

    def architecture(self) -> dict[str, Any]:
        """Return what the file of weights says about the network, besides the shapes of inputs and outputs."""
        own = {key: value for key, value in self._own_options().items() if key not in ("training", "weights")}
        return own if self.name in own else {"architecture": self.name} | own

    def opening(self) -> dict[str, Any]:
        """Return nothing: the file of weights says all."""
        return {}
