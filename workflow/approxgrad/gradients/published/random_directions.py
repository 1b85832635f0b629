"""Gradients from independent random directions: what others have published, for comparison."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from approxgrad.gradients.budgets import path_points
from approxgrad.gradients.directional.moves import Directed
from approxgrad.gradients.evaluating.batching import balanced_slices
from approxgrad.gradients.evaluating.captum_call import CaptumCall, like_inputs
from approxgrad.gradients.evaluating.checks import Model, check_resolved
from approxgrad.gradients.evaluating.evaluated import Stream
from approxgrad.gradients.evaluating.evaluation import evaluation
from approxgrad.gradients.evaluating.perturbations import Steps, checked_steps, steps_of_features
from approxgrad.gradients.evaluating.targets import Target
from approxgrad.gradients.published.estimates import DRAW_BUFFERS, OUTPUT_BUFFERS, Draws, PublishedEstimate
from approxgrad.gradients.stencils import SCHEMES

PAIR = SCHEMES["central"]
WEIGHTS = torch.tensor([PAIR.weights[shift] for shift in PAIR.shifts], dtype=torch.float64)


class RandomDirections(PublishedEstimate, CaptumCall):
    """Mean of derivatives along random directions, each times its direction.

    With directions u_k whose features are independent, of mean 0 and variance 1, the gradient is estimated by
    ``1/K sum_k (f_t(x + h u_k) - f_t(x - h u_k)) / 2h * u_k``. That is without bias for functions of degree two.

    Parameters
    ----------
    budget, **options
        As in :class:`approxgrad.gradients.published.estimates.PublishedEstimate`; an odd budget leaves one over.
    step : float or Tensor
        The number h, positive, in units of the features, as of :class:`approxgrad.FiniteDifference`.

    Notes
    -----
    Cost: `budget` evaluations for each input, one fewer if it is odd, and the checks of
    :class:`approxgrad.FiniteDifference`. The relative error of the gradient of a linear function is about
    ``sqrt(2 d / budget)`` with d features: far above 1 for a small budget. Directions are made a few at a time. For
    Integrated Gradients gradients are taken in the middle of :func:`approxgrad.gradients.budgets.path_points` equal
    parts of the path, each along directions of its own.
    """

    def __init__(self, budget: int, step: Steps = 0.01, **options: Any) -> None:
        super().__init__(budget, **options)
        self.step: Steps = checked_steps(step)

    def __repr__(self) -> str:
        step = f"{self.step:g}" if isinstance(self.step, float) else "one for each feature"
        return f"{type(self).__name__}(budget={self.budget_per_input}, step={step}, seed={self.seed})"

    def drawn(self, generator: np.random.Generator, features: int) -> Draws:
        """Return the next direction, of shape (d,)."""
        raise NotImplementedError

    def differentiated(self, stream: Stream) -> tuple[Tensor, ...]:
        """Return the estimated gradients."""
        found = self._estimated(stream, self.budget_per_input // 2, np.random.default_rng(self.seed))
        return like_inputs(found, stream.inputs)

    def path_attributions(
        self, forward_fn: Model, inputs: Tensor, baselines: Tensor, target: Target, n_steps: int
    ) -> Tensor:
        """Return Integrated Gradients for the budget, shaped like the inputs."""
        count = path_points(self.budget_per_input, inputs[0].numel())
        pairs = self.budget_per_input // count // 2
        starts, ends = baselines.detach().double(), inputs.detach().double()
        total = torch.zeros(len(inputs), inputs[0].numel(), dtype=torch.float64, device=inputs.device)
        generator = np.random.default_rng(self.seed)
        with evaluation():
            for number in range(count):
                points = starts + (number + 0.5) / count * (ends - starts)
                total += self._estimated(self.stream(forward_fn, points.to(inputs.dtype), target), pairs, generator)
        return ((ends - starts) * (total / count).reshape(inputs.shape)).to(inputs.dtype)

    def _estimated(self, stream: Stream, pairs: int, generator: np.random.Generator) -> Tensor:
        """Return the gradient from so many pairs of evaluations for each input: float64 of shape (N, d)."""
        steps = steps_of_features(self.step, stream.inputs)
        check_resolved(stream.inputs, steps, PAIR.shifts)
        weights = WEIGHTS.to(stream.device)
        total = torch.zeros(stream.rows, len(steps), dtype=torch.float64, device=stream.device)
        share = self.share(stream)
        for first, directions in self._directions(generator, pairs, len(steps), share, stream.device):
            few = max(1, share // (8 * OUTPUT_BUFFERS * 2 * len(directions)))
            for part in balanced_slices(stream.rows, few):
                outputs = stream.evaluate(Directed(PAIR, stream.inputs, directions * steps, part, first))
                total[part] += outputs.reshape(-1, len(directions), 2) @ weights @ directions
        return total / (steps * pairs)

    def _directions(
        self, generator: np.random.Generator, pairs: int, features: int, share: int, device: torch.device
    ) -> Iterator[tuple[int, Tensor]]:
        """Yield the number of the first of some directions, and these as float64 of shape (K, d)."""
        for part in balanced_slices(pairs, max(1, share // (8 * DRAW_BUFFERS * features))):
            # One by one, so that they do not depend on how many are made at once.
            rows = np.stack([self.drawn(generator, features) for _ in range(part.start, part.stop)])
            yield part.start, torch.from_numpy(rows).to(device)


class SPSA(RandomDirections):
    """Simultaneous perturbation: all features move by the same step, with random signs.

    Spall (1992), https://doi.org/10.1109/9.119632. His division by the moves is here a product, as signs are their own
    inverses. Parameters and the rest as in :class:`RandomDirections`.
    """

    def drawn(self, generator: np.random.Generator, features: int) -> Draws:
        """Return random signs."""
        return 2.0 * generator.integers(2, size=features) - 1


class GaussianSmoothing(RandomDirections):
    """Gradient of the model smoothed by a Gaussian whose standard deviation is the step.

    Nesterov and Spokoiny (2017), https://doi.org/10.1007/s10208-015-9296-2, with mirrored draws. For that smoothed
    model it is without bias, whatever the model. Parameters and the rest as in :class:`RandomDirections`.
    """

    def drawn(self, generator: np.random.Generator, features: int) -> Draws:
        """Return standard normal numbers."""
        return generator.standard_normal(features)
