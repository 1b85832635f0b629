"""Methods that are a function of input and gradient: they share one evaluation of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from approxgrad.methods.method import METHODS, Method


@METHODS.add
@dataclass(frozen=True)
class Saliency(Method):
    """The absolute gradient (Simonyan et al., 2014, https://arxiv.org/abs/1312.6034)."""

    name: ClassVar[str] = "saliency"
    label: ClassVar[str] = "Saliency"
    signed: ClassVar[bool] = False

    def from_gradient(self, inputs: Any, gradient: Any) -> Any:
        """Return the absolute gradient."""
        return abs(gradient)


@METHODS.add
@dataclass(frozen=True)
class InputXGradient(Method):
    """Input times gradient (Shrikumar et al., 2017, https://arxiv.org/abs/1704.02685)."""

    name: ClassVar[str] = "input_x_gradient"
    label: ClassVar[str] = "Gradient × Input"

    def from_gradient(self, inputs: Any, gradient: Any) -> Any:
        """Return the product."""
        return inputs * gradient

    def factor(self, inputs: Any, baselines: Any) -> Any:
        """Return the inputs."""
        return inputs
