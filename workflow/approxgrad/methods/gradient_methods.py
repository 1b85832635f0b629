"""Methods that are a function of input and gradient."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from approxgrad.methods.method import METHODS, Method

if TYPE_CHECKING:
    from torch import Tensor


@METHODS.add
@dataclass(frozen=True)
class Saliency(Method):
    """The absolute gradient (Simonyan et al., 2014, https://arxiv.org/abs/1312.6034)."""

    name: ClassVar[str] = "saliency"
    label: ClassVar[str] = "Saliency"
    signed: ClassVar[bool] = False

    @staticmethod
    def from_gradient(inputs: Any, gradient: Any) -> Any:
        """Return the absolute gradient."""
        return abs(gradient)

    def factor(self, inputs: Tensor, baselines: Tensor | None) -> Tensor:
        """Return ones."""
        return inputs.new_ones(inputs.shape)


@METHODS.add
@dataclass(frozen=True)
class InputXGradient(Method):
    """Input times gradient (Shrikumar et al., 2017, https://arxiv.org/abs/1704.02685)."""

    name: ClassVar[str] = "input_x_gradient"
    label: ClassVar[str] = "Gradient × Input"

    @staticmethod
    def from_gradient(inputs: Any, gradient: Any) -> Any:
        """Return the product."""
        return inputs * gradient

    def factor(self, inputs: Tensor, baselines: Tensor | None) -> Tensor:
        """Return the inputs."""
        return inputs
