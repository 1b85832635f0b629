"""The variant of Integrated Gradients that the thesis published, kept only for comparison with it."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any, ClassVar

from approxgrad.methods.method import METHODS, PathMethod, Reference

if TYPE_CHECKING:
    from torch import Tensor

    from approxgrad.gradients.evaluating.evaluated import GradientSource
    from approxgrad.gradients.source import Source


@METHODS.add
@dataclass(frozen=True)
class PublishedIntegratedGradients(PathMethod):
    """Gradient x Input of the model averaged along the path: :mod:`approxgrad.methods.path_average`."""

    name: ClassVar[str] = "integrated_gradients_published"
    label: ClassVar[str] = "Integrated Gradients (published variant)"
    refers: ClassVar[bool] = True

    reference: Reference = None

    def evaluations(self, source: Source, shape: tuple[int, ...], baseline_values: int = 1) -> int:
        """Return the evaluations: each distinct value of the baseline has a path of its own."""
        each, shared = source.evaluations(prod(shape)), source.kind.shared_cost(source.setting)
        if shared is None:
            return self.n_steps * each * baseline_values
        return self.n_steps * (each + (baseline_values - 1) * shared)

    def attribute(
        self, model: Any, inputs: Tensor, target: Any, gradient: GradientSource, baselines: Tensor | None = None
    ) -> Tensor:
        """Return the attribution."""
        import torch

        from approxgrad.methods.path_average import path_average_attribution

        references = torch.zeros_like(inputs) if baselines is None else baselines
        return path_average_attribution(model, inputs, target, gradient, references, self.n_steps)
