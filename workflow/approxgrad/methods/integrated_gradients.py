"""Integrated Gradients: the gradient averaged along the straight path from a baseline, times the way."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any, ClassVar

from approxgrad.methods.method import METHODS, PathMethod

if TYPE_CHECKING:
    from torch import Tensor

    from approxgrad.gradients.evaluating.evaluated import GradientSource
    from approxgrad.gradients.source import Source

PATH_BUFFERS = 6
"""Tensors of inputs x path points that are in memory at once, two of them in double precision."""


@METHODS.add
@dataclass(frozen=True)
class IntegratedGradients(PathMethod):
    """Integrated Gradients (Sundararajan et al., 2017, https://arxiv.org/abs/1703.01365).

    The path integral is the Gauss-Legendre quadrature that captum uses too, with weights and sums in double precision.
    captum itself is not imported: that takes half a second. The exact and the approximated attribution have the same
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
        import numpy as np
        import torch

        from approxgrad.gradients.evaluating.batching import PATH_SHARE, memory_budget
        from approxgrad.gradients.evaluating.evaluated import BatchedGradient

        starts = torch.zeros_like(inputs) if baselines is None else baselines
        # Not isinstance: with an import of that class all attributions would depend on its code.
        if getattr(gradient, "along_path", False):
            along: Any = gradient
            return along.path_attributions(model, inputs, starts, target, self.n_steps)
        budget = gradient.memory_budget if isinstance(gradient, BatchedGradient) else None
        budget = budget or memory_budget(inputs.device)
        most = max(1, int(PATH_SHARE * budget) // (PATH_BUFFERS * inputs[0].numel() * inputs.element_size()))
        nodes, weights = np.polynomial.legendre.leggauss(self.n_steps)
        shares, weights = (1 + nodes) / 2, weights / 2
        group, points = max(1, most // self.n_steps), min(most, self.n_steps)
        results = []
        for first in range(0, len(inputs), group):
            part = slice(first, first + group)
            origin, way = starts[part].detach(), inputs[part].detach() - starts[part].detach()
            own = None if target is None else target[part]
            total: Any = 0
            for begin in range(0, self.n_steps, points):
                some = slice(begin, begin + points)
                path = torch.cat([origin + float(share) * way for share in shares[some]]).requires_grad_()
                # Called as captum does, for sources of a user's own.
                (found,) = gradient(
                    forward_fn=model,
                    inputs=(path,),
                    target_ind=_repeated(own, len(shares[some])),
                    additional_forward_args=None,
                )
                factors = torch.from_numpy(weights[some]).to(found.device)
                total = total + torch.tensordot(factors, found.double().unflatten(0, (len(factors), -1)), 1)
            results.append((total * way.double()).to(inputs.dtype))
        return torch.cat(results)


def _repeated(target: Any, times: int) -> Any:
    """Return the targets of all inputs again for each point of the path."""
    if target is None or isinstance(target, list):
        return None if target is None else target * times
    return target.repeat(times)
