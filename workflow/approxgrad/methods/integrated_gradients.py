"""Integrated Gradients, captum's."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any, ClassVar

from approxgrad.methods.method import METHODS, PathMethod

if TYPE_CHECKING:
    from torch import Tensor

    from approxgrad.gradients.evaluated import GradientSource
    from approxgrad.gradients.source import Source

PATH_BUFFERS = 4
"""Tensors of inputs x path points that captum's Integrated Gradients holds at once."""


@METHODS.add
@dataclass(frozen=True)
class IntegratedGradients(PathMethod):
    """Integrated Gradients (Sundararajan et al., 2017, https://arxiv.org/abs/1703.01365).

    The path integral is captum's Gauss-Legendre quadrature, so the exact and the approximated attribution use the same
    points and weights.
    """

    name: ClassVar[str] = "integrated_gradients"
    label: ClassVar[str] = "Integrated Gradients"
    complete: ClassVar[bool] = True
    path_steps: ClassVar[bool] = True

    def evaluations(self, source: Source, shape: tuple[int, ...], baseline_values: int = 1) -> int:
        """Return the evaluations, which some sources count for the whole path."""
        return source.kind.path_cost(source.setting, prod(shape), self.n_steps)

    def attribute(
        self, model: Any, inputs: Tensor, target: Any, gradient: GradientSource, baselines: Tensor | None = None
    ) -> Tensor:
        """Return the attribution; inputs and long paths are taken in parts that bound the memory of the points."""
        import torch
        from captum.attr import IntegratedGradients as CaptumIntegratedGradients

        from approxgrad.gradients.batching import PATH_SHARE, memory_budget
        from approxgrad.gradients.evaluated import BatchedGradient

        references = torch.zeros_like(inputs) if baselines is None else baselines
        # Asked for without its class, on whose code other sources' attributions would depend then.
        if getattr(gradient, "along_path", False):
            along: Any = gradient
            return along.path_attributions(model, inputs, references, target, self.n_steps)
        method = CaptumIntegratedGradients(model)
        method.gradient_func = gradient
        budget = gradient.memory_budget if isinstance(gradient, BatchedGradient) else None
        budget = budget or memory_budget(inputs.device)
        points = max(1, int(PATH_SHARE * budget) // (PATH_BUFFERS * inputs[0].numel() * inputs.element_size()))
        group = max(1, points // self.n_steps)
        results = [
            method.attribute(
                inputs[start : start + group].detach().requires_grad_(),
                baselines=references[start : start + group],
                target=None if target is None else target[start : start + group],
                n_steps=self.n_steps,
                internal_batch_size=None if points >= self.n_steps else points,
            )
            for start in range(0, len(inputs), group)
        ]
        return torch.cat(results)
