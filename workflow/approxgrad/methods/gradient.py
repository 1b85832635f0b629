"""The gradient itself as an attribution: what methods that are a function of it share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from approxgrad.methods.method import METHODS, Method, Reference


@METHODS.add
@dataclass(frozen=True)
class Gradient(Method):
    """The gradient itself, with its sign."""

    name: ClassVar[str] = "gradient"
    label: ClassVar[str] = "Gradient"

    reference: Reference = None

    def from_gradient(self, inputs: Any, gradient: Any) -> Any:
        """Return the gradient."""
        return gradient
