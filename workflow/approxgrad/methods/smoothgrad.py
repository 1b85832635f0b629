"""SmoothGrad: the mean gradient of noisy copies of the input."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from numbers import Real
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from approxgrad.descriptions import Integer, Number, option
from approxgrad.methods.method import METHODS, Method, check_integer, titled

if TYPE_CHECKING:
    from torch import Tensor

    from approxgrad.gradients.evaluating.evaluated import GradientSource


@METHODS.add
@dataclass(frozen=True, kw_only=True)
class SmoothGrad(Method):
    """Mean gradient at the input with Gaussian noise (Smilkov et al., 2017, https://arxiv.org/abs/1706.03825).

    The noise is the same for every input and source, so that sources differ by their gradients alone, and neither the
    order of the inputs nor how a job is cut changes a map.
    """

    name: ClassVar[str] = "smoothgrad"
    label: ClassVar[str] = "SmoothGrad"

    sigma: Annotated[Number, option("Standard deviation of the noise, in units of the model's inputs.", gt=0)] = 0.1
    n_samples: Annotated[Integer, option("Noisy copies of each input.", ge=1, le=100000)] = 50
    seed: Annotated[Integer, option("Seed of the noise.", ge=0)] = 0

    def __post_init__(self) -> None:
        check_integer("n_samples", self.n_samples)
        check_integer("seed", self.seed, 0)
        given: Any = self.sigma
        if isinstance(given, bool) or not isinstance(given, Real) or not 0 < float(given) < inf:
            raise ValueError(f"sigma: expected a positive number, got {given!r}")

    @property
    def points(self) -> int:
        """The noisy copies."""
        return self.n_samples

    @property
    def title(self) -> str:
        """The label with the noise."""
        return titled(self.label, f"noise {self.sigma:g}")

    def attribute(
        self, model: Any, inputs: Tensor, target: Any, gradient: GradientSource, baselines: Tensor | None = None
    ) -> Tensor:
        """Return the mean gradient."""
        import torch

        # Drawn in double precision, so that other precisions see the same noise.
        drawn = torch.Generator().manual_seed(self.seed)
        total = torch.zeros_like(inputs)
        for _ in range(self.n_samples):
            noise = torch.randn(inputs.shape[1:], generator=drawn, dtype=torch.float64)
            total += gradient(model, (inputs.detach() + (self.sigma * noise).to(inputs),), target)[0].detach()
        return total / self.n_samples
