"""Attributions from random points between a baseline and the input: what others have published, for comparison."""

from __future__ import annotations

from collections.abc import Iterator
from math import isfinite
from typing import Any

import numpy as np
import torch
from torch import Tensor

from approxgrad.gradients.evaluating.batching import balanced_slices
from approxgrad.gradients.evaluating.checks import Model, is_number
from approxgrad.gradients.evaluating.evaluated import Stream
from approxgrad.gradients.evaluating.evaluation import evaluation
from approxgrad.gradients.evaluating.targets import Target
from approxgrad.gradients.path_steps import PATH_ONLY
from approxgrad.gradients.published.estimates import DRAW_BUFFERS, OUTPUT_BUFFERS, Draws, PublishedEstimate

# How near places on the path may be to its ends.
EDGE = 2**-52


class PathEstimate(PublishedEstimate):
    """Base of estimates of a whole attribution, which take the place of a gradient in Integrated Gradients.

    Parameters and errors are those of :class:`approxgrad.gradients.published.estimates.PublishedEstimate`.
    """

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        """Refuse to be called for a gradient, with a ValueError: there is none at a single point."""
        raise ValueError(PATH_ONLY.replace("step: path", f"gradient: {type(self).__name__}"))

    def path_attributions(
        self, forward_fn: Model, inputs: Tensor, baselines: Tensor, target: Target, n_steps: int = 1
    ) -> Tensor:
        """Return the estimated attribution, shaped like the inputs."""
        with evaluation():
            stream = self.stream(forward_fn, inputs, target)
            starts = baselines.detach().to(stream.inputs[0])
            return self.estimated(stream, starts).to(inputs.dtype).reshape(inputs.shape)

    def estimated(self, stream: Stream, starts: Tensor) -> Tensor:
        """Return the attribution of the stream's inputs from their baselines: float64 of shape (N, d)."""
        raise NotImplementedError


class Sampled(PathEstimate):
    """Base of estimates that evaluate pairs of mirrored points; the parameters are those of :class:`PathEstimate`.

    Notes
    -----
    Cost: `budget` evaluations for each input, one fewer if it is odd, and the checks of
    :class:`approxgrad.FiniteDifference`.
    """

    def pairs(self, stream: Stream) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield places on the path, of shape (K, 1), and noise, of shape (K, d), for some of the pairs."""
        generator, features = np.random.default_rng(self.seed), stream.inputs[0][0].numel()
        each = 8 * (DRAW_BUFFERS * features + OUTPUT_BUFFERS * 2 * stream.rows)
        pairs = self.budget_per_input // 2
        for part in balanced_slices(pairs, max(1, self.share(stream) // each)):
            # One by one, so that they do not depend on how many are made at once.
            numbers = range(part.start, part.stop)
            drawn = [(self.place(generator, number, pairs), self.noise(generator, features)) for number in numbers]
            places, noise = (torch.from_numpy(np.stack(own)).to(stream.device) for own in zip(*drawn, strict=True))
            yield places.unsqueeze(1), noise

    def place(self, generator: np.random.Generator, number: int, pairs: int) -> float:
        """Return where on the path a pair lies: a share from 0 to 1."""
        raise NotImplementedError

    def noise(self, generator: np.random.Generator, features: int) -> Draws:
        """Return what is drawn for each feature, of shape (d,)."""
        raise NotImplementedError

    @staticmethod
    def outputs(stream: Stream, starts: Tensor, shares: Tensor, moves: Tensor | None = None) -> Tensor:
        """Return the outputs where each feature has gone a share of its way, and is then moved: (N, copies)."""
        (ends,) = stream.inputs
        way = ends - starts

        def points(row: Tensor, copy: Tensor) -> list[Tensor]:
            shape = (len(row), *ends.shape[1:])
            own = starts[row] + shares[copy].expand(-1, ends[0].numel()).reshape(shape).to(ends.dtype) * way[row]
            return [own if moves is None else own + moves[copy].reshape(shape).to(ends.dtype)]

        return stream.outputs(points, len(shares))


class GEEX(Sampled):
    """Integrated Gradients of the model smoothed by a Gaussian, from one random direction at each point of the path.

    Cai and Wunder (2024), https://arxiv.org/abs/2308.09381: points b + a (x - b) with a uniform from 0 to 1 are moved
    by Gaussian noise e, and ``(x - b) / K sum_k (f(p_k + e_k) - f(p_k - e_k)) / 2 * e_k / sigma^2`` is the attribution.
    Their smoothing of the noise of images is left out.

    Parameters
    ----------
    budget, **options
        As in :class:`PathEstimate`.
    sigma : float
        Standard deviation of the noise, in units of the features.

    Notes
    -----
    Cost as of :class:`Sampled`. It is without bias for Integrated Gradients of the smoothed model.
    """

    def __init__(self, budget: int, sigma: float = 0.1, **options: Any) -> None:
        super().__init__(budget, **options)
        if not (is_number(sigma) and isfinite(sigma) and sigma > 0):
            raise ValueError(f"sigma: expected a positive number, got {sigma!r}")
        self.sigma = float(sigma)

    def place(self, generator: np.random.Generator, number: int, pairs: int) -> float:
        """Return a uniform share."""
        return generator.random()

    def noise(self, generator: np.random.Generator, features: int) -> Draws:
        """Return standard normal numbers."""
        return generator.standard_normal(features)

    def estimated(self, stream: Stream, starts: Tensor) -> Tensor:
        """Return the attribution: mean slope times direction, times input minus baseline."""
        total = torch.zeros(stream.rows, stream.inputs[0][0].numel(), dtype=torch.float64, device=stream.device)
        for places, noise in self.pairs(stream):
            moves = self.sigma * noise
            found = self.outputs(stream, starts, torch.cat([places, places]), torch.cat([moves, -moves]))
            up, down = found.chunk(2, dim=1)
            total += (up - down) @ noise / (2 * self.sigma)
        way = (stream.inputs[0].double() - starts.double()).reshape(total.shape)
        return way * total / (self.budget_per_input // 2)


class GEFA(Sampled):
    """Shapley values against the baseline, from random sets of present features.

    Cai, Ardoin and Wunder (2025), https://proceedings.mlr.press/v267/cai25a.html. A feature is present (z = 1, the
    input's value) with probability a and else absent (the baseline's value); a goes from 0 to 1. The derivative by a,
    ``f(z) (z_i - a) / (a (1 - a))``, has the Shapley value as its mean. Sets are mirrored, and the share of present
    features is the control variate. Their smoothing of the sets of images is left out.

    Notes
    -----
    Cost as of :class:`Sampled`; parameters as in :class:`PathEstimate`. The places on the path are one in each of as
    many equal parts of it as there are pairs.
    """

    def place(self, generator: np.random.Generator, number: int, pairs: int) -> float:
        """Return a uniform share within a part of the path, not at its ends, where some sets are impossible."""
        return float(np.clip((number + generator.random()) / pairs, EDGE, 1 - EDGE))

    def noise(self, generator: np.random.Generator, features: int) -> Draws:
        """Return uniform numbers: a feature is there if its number is smaller than the share of the path."""
        return generator.random(features)

    def estimated(self, stream: Stream, starts: Tensor) -> Tensor:
        """Return the attribution, less what the control variate adds to it, plus what that adds in the mean."""
        features, pairs = stream.inputs[0][0].numel(), self.budget_per_input // 2
        total = torch.zeros(stream.rows, features, dtype=torch.float64, device=stream.device)
        control = torch.zeros_like(total[0])
        common, variance = torch.zeros_like(total[:, 0]), torch.zeros_like(control[0])
        for places, noise in self.pairs(stream):
            there = (noise < places).double()
            weights = (there - places) / (places * (1 - places))
            present = there.mean(dim=1) - 0.5
            with_set, without = self.outputs(stream, starts, torch.cat([there, 1 - there])).chunk(2, dim=1)
            halves = (with_set - without) / 2
            total += halves @ weights
            control += present @ weights
            common += halves @ present
            variance += present @ present
        slope = torch.where(variance > 0, common / variance, 0).unsqueeze(1)
        return (total - slope * control) / pairs + slope / features
