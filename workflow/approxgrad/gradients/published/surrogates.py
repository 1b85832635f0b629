"""captum's surrogate models in place of a gradient: attributions from sets of features, for comparison."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from captum.attr import KernelShap as CaptumKernelShap
from captum.attr import Lime as CaptumLime
from torch import Tensor

from approxgrad.gradients.evaluating.evaluated import Stream
from approxgrad.gradients.published.path_estimates import PathEstimate


class Stored:
    """Points that are there already, all of them for one of the inputs."""

    def __init__(self, points: Tensor, row: int) -> None:
        self._points = points
        self.row = torch.full((len(points),), row, device=points.device)

    def __len__(self) -> int:
        return len(self._points)

    def copies(self, items: slice | Tensor) -> list[Tensor]:
        """Return some of the points."""
        return [self._points[items].clone()]

    def place(self, item: int) -> str:
        """Return in words which point this is."""
        return f"input {int(self.row[item])} with some features of the baseline"


class Surrogate(PathEstimate):
    """Base of coefficients of a linear model that is fitted to outputs at random sets of features.

    A feature that is not in a set has the baseline's value. Parameters as in :class:`PathEstimate`.

    Notes
    -----
    Cost: `budget` evaluations for each input, and the checks of :class:`approxgrad.FiniteDifference`. captum holds all
    sets in memory, and fits with scikit-learn in float32: not for hundreds of thousands of features.
    """

    captum: ClassVar[Any]

    def estimated(self, stream: Stream, starts: Tensor) -> Tensor:
        """Return the coefficients, one input after the other, all with the same sets."""
        (ends,) = stream.inputs
        devices = [ends.device] if ends.device.type == "cuda" else []
        found = []
        for row in range(stream.rows):
            method = self.captum(lambda points, row=row: stream.evaluate(Stored(points, row)))
            with torch.random.fork_rng(devices):
                torch.manual_seed(self.seed)
                found.append(
                    method.attribute(
                        ends[row : row + 1],
                        baselines=starts[row : row + 1],
                        n_samples=self.budget_per_input,
                        perturbations_per_eval=stream.size,
                    )
                )
        return torch.cat(found).double().reshape(stream.rows, -1)


class KernelShap(Surrogate):
    """Shapley values by weighted least squares: captum's ``KernelShap``.

    Lundberg and Lee (2017), https://arxiv.org/abs/1705.07874.
    """

    captum = CaptumKernelShap

    def estimated(self, stream: Stream, starts: Tensor) -> Tensor:
        """Return the coefficients."""
        if stream.inputs[0][0].numel() < 2:
            raise ValueError("inputs: KernelShap needs at least two features, got one")
        return super().estimated(stream, starts)


class Lime(Surrogate):
    """Coefficients of a LASSO near the input: captum's ``Lime`` with its kernel and regularisation.

    Ribeiro et al. (2016), https://arxiv.org/abs/1602.04938.
    """

    captum = CaptumLime
