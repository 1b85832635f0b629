"""Methods that are a function of input and gradient: they share one evaluation of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from approxgrad.descriptions import Flag, option
from approxgrad.methods.method import METHODS, Method


@METHODS.add
@dataclass(frozen=True)
class Saliency(Method):
    """The absolute gradient (Simonyan et al., 2014, https://arxiv.org/abs/1312.6034)."""

    name: ClassVar[str] = "saliency"
    label: ClassVar[str] = "Saliency"

    signed: Annotated[Flag, option("Whether the gradient keeps its sign.")] = False  # type: ignore[misc]

    @property
    def entry(self) -> dict[str, Any]:
        """The options as they differ from the usual method."""
        return super().entry if self.signed else {"attribution": self.name}

    @property
    def title(self) -> str:
        """The label, and whether there are signs."""
        return f"{self.label} (signed)" if self.signed else self.label

    def from_gradient(self, inputs: Any, gradient: Any) -> Any:
        """Return the gradient, absolute unless it keeps its sign."""
        return gradient if self.signed else abs(gradient)


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
