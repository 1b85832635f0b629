"""How much of a gradient some directions have caught, predicted from a few random directions."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor

from approxgrad.gradients.directional.bases import Basis
from approxgrad.gradients.directional.spending import Spending
from approxgrad.gradients.evaluating.batching import balanced_slices
from approxgrad.gradients.evaluating.checks import checked_count

T = TypeVar("T")

LEVEL = 0.9
"""Share of the inputs whose real value a predicted interval is to hold."""

NORMAL = 1.6448536269514722  # quantile of the normal distribution at (1 + LEVEL) / 2
ELEMENTS = 2**22  # of directions, or of drawn vectors, that are in memory at a time


@dataclass(frozen=True)
class Estimate:
    """Estimated gradients of N inputs, in units of the steps, and their derivatives along some random directions.

    Attributes
    ----------
    gradient : Tensor
        Float64 of shape (N, d).
    scale : Tensor
        By which the estimate is to be multiplied to be the nearest to the whole gradient, of shape (N,).
    slopes : Tensor
        Derivatives along the random directions, of shape (N, m).
    directions : Tensor
        How many directions were taken, integers of shape (N,).
    whole : Tensor
        Whether these are all directions that there can be, truth values of shape (N,).
    """

    gradient: Tensor
    scale: Tensor
    slopes: Tensor
    directions: Tensor
    whole: Tensor

    @classmethod
    def joined(cls, parts: Sequence[Estimate]) -> Estimate:
        """Return the estimates of several batches of inputs."""
        return _joined(cls, parts)

    def cosines(self, probes: Basis) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Return captured and missed energy, and the predicted cosine with the bounds of its interval."""
        captured = self.scale.square() * self.gradient.square().sum(dim=1)
        count = self.slopes.shape[1]
        if count == 0:
            missed = torch.full_like(captured, math.nan)
        else:
            nearest = self.scale.unsqueeze(1) * self.gradient
            parts = balanced_slices(count, max(1, ELEMENTS // probes.features))
            explained = torch.cat([nearest @ probes.directions(part).T for part in parts], dim=1)
            missed = probes.features * (self.slopes - explained).square().mean(dim=1)
        missed = missed.masked_fill(self.whole, 0.0)
        # The missed energy is to its estimate as m is to chi squared of m degrees, if many features take part in it.
        few, many = _chi_squared(count) if count else (1.0, 1.0)
        cosine, lower, upper = ((captured / (captured + missed / share)).sqrt() for share in (1.0, few, many))
        return captured, missed, cosine, lower, upper


@dataclass(frozen=True)
class Prediction:
    """What is known of estimated gradients of N inputs, in float64.

    Directions that are orthonormal catch the energy ``captured``, the sum of their squared derivatives. The energy that
    they miss is estimated without bias from the derivatives along m random directions: from what the estimate does not
    explain of them. The cosine between estimated and whole gradient is the root of the captured share.

    Where steps differ between features, the gradient is meant in units of the steps.

    Attributes
    ----------
    evaluations : Tensor
        Model evaluations that were spent on each input, without those that check the model; integers of shape (N,).
    directions : Tensor
        Directions that were taken at each point, the random ones apart; integers of shape (N,).
    captured, missed : Tensor
        The energies, of shape (N,); NaN where nothing is known of them.
    cosine, lower, upper : Tensor
        The predicted cosine and the bounds of its interval of :data:`LEVEL`, of shape (N,); NaN where nothing is known,
        or both energies are zero.
    probes : int
        Number m of random directions; 0 if all directions of the basis were taken, or too few were paid for.
    """

    evaluations: Tensor
    directions: Tensor
    captured: Tensor
    missed: Tensor
    cosine: Tensor
    lower: Tensor
    upper: Tensor
    probes: int
    _gradient: Tensor = field(repr=False)
    _outside: Callable[[Tensor, Tensor], Tensor] = field(repr=False)
    _envelope: Callable[[Tensor], Tensor] = field(repr=False)

    @classmethod
    def of(cls, estimate: Estimate, basis: Basis, order: Tensor, probes: Basis, spent: Spending) -> Prediction:
        """Return what random directions say of an estimate from directions of a basis in an order."""
        nearest = estimate.scale.unsqueeze(1) * estimate.gradient
        energies, rest = estimate.cosines(probes), partial(outside, basis, order)
        evaluations = spent.evaluations(estimate.directions)
        return cls(evaluations, estimate.directions, *energies, spent.probes, nearest, rest, basis.envelope)

    @classmethod
    def joined(cls, parts: Sequence[Prediction]) -> Prediction:
        """Return the prediction for several batches of inputs that have the same directions."""
        return _joined(cls, parts)

    def of_map(
        self, function: Callable[[Tensor], Tensor], draws: int = 32, seed: int = 0
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the predicted agreement of a map with that of the whole gradient: median and interval, of shape (N,).

        The missing part is drawn at random, with the energy that was predicted for it, and added to the estimate: in
        pictures and series where the estimate is large as well (:meth:`.bases.Basis.envelope`). That is a guess, so the
        interval also holds what would be found if all features had an equal share. The agreement is Pearson's
        correlation, NaN where nothing is known.

        Where most of the missing part lies just behind the directions that were taken, as low frequencies first leave
        it, a product with the inputs mixes it with the estimate two to three times as much as the draws do. Few probes
        make the interval far wider than that; with many of them it is too narrow.

        Parameters
        ----------
        function : callable
            From gradients, float64 of shape (N, d), to maps of shape (N, ...), such as ``abs``. Where steps differ
            between features, gradients are in units of the steps here as well.
        draws, seed : int
            How often the missing part is drawn, and the seed of that. Fewer than 19 draws do not reach as far as the
            interval should.

        Raises
        ------
        ValueError
            If the function returns something else, or `draws` is not a positive integer.
        """
        draws, seed = checked_count("draws", draws, 1), checked_count("seed", seed, 0)

        def maps(gradient: Tensor) -> Tensor:
            found = function(gradient)
            if found.ndim < 2 or len(found) != len(gradient):
                expected = f"expected maps of shape ({len(gradient)}, ...)"
                raise ValueError(f"function: {expected}, got shape {tuple(found.shape)}")
            return found.flatten(1)

        likely = self._envelope(self._gradient)
        median, lower, upper = self._agreements(maps, likely, draws, seed)
        _, even_lower, even_upper = self._agreements(maps, torch.ones_like(likely), draws, seed)
        return median, torch.minimum(lower, even_lower), torch.maximum(upper, even_upper)

    def _agreements(
        self, function: Callable[[Tensor], Tensor], likely: Tensor, draws: int, seed: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return median and interval where the missing part is so large at each feature."""
        generator = torch.Generator().manual_seed(seed)
        (rows, features), device = self._gradient.shape, self._gradient.device
        own, found = function(self._gradient), []
        for part in balanced_slices(draws, max(1, ELEMENTS // (rows * features))):
            some = part.stop - part.start
            noise = torch.randn(some, 1, features, dtype=torch.float64, generator=generator).to(device) * likely
            # The energy is as uncertain as its estimate.
            normal = torch.randn(some, rows, max(1, self.probes), dtype=torch.float64, generator=generator).to(device)
            sizes = (self.missed / normal.square().mean(dim=2)).sqrt().unsqueeze(2)
            drawn = self._outside(noise.flatten(0, 1), self.directions.repeat(some)).reshape(some, rows, features)
            missing = sizes * drawn / drawn.norm(dim=2, keepdim=True).clamp(min=torch.finfo(drawn.dtype).tiny)
            found += [correlation(own, function(self._gradient + one)) for one in missing]
        shares = torch.tensor([0.5, (1 - LEVEL) / 2, (1 + LEVEL) / 2], dtype=torch.float64, device=device)
        # A value like the draws is below the k-th of n of them with probability k / (n + 1), not (k - 1) / (n - 1).
        shares = ((shares * (draws + 1) - 1) / max(1, draws - 1)).clamp(0, 1)
        median, lower, upper = torch.stack(found).quantile(shares, dim=0)
        return median, lower, upper


def outside(basis: Basis, order: Tensor, vectors: Tensor, counts: Tensor) -> Tensor:
    """Return what of some vectors, of shape (V, d), does not lie in the span of the first directions of a basis.

    `counts`, of shape (V,), says of how many directions for each vector. Nothing is taken away by directions that are
    not orthonormal.
    """
    most = int(counts.max()) if basis.orthonormal else 0
    for part in balanced_slices(most, max(1, ELEMENTS // basis.features)):
        directions = basis.directions(order[part])
        taken = torch.arange(part.start, part.stop, device=counts.device) < counts.unsqueeze(1)
        vectors = vectors - (vectors @ directions.T * taken) @ directions
    return vectors


def _joined(kind: type[T], parts: Sequence[T]) -> T:
    """Return an object whose tensors are those of several ones, one after the other."""
    every = [[getattr(part, own.name) for part in parts] for own in fields(kind)]  # type: ignore[arg-type]
    return kind(*(torch.cat(values) if isinstance(values[0], Tensor) else values[0] for values in every))


def correlation(one: Tensor, other: Tensor) -> Tensor:
    """Return Pearson's correlation of each row of two matrices."""
    one, other = (own - own.mean(dim=1, keepdim=True) for own in (one, other))
    return ((one * other).sum(dim=1) / (one.norm(dim=1) * other.norm(dim=1))).clamp(-1, 1)


def _chi_squared(degrees: int) -> tuple[float, float]:
    """Return the bounds of the interval of chi squared over its degrees of freedom.

    Wilson and Hilferty (1931), https://doi.org/10.1073/pnas.17.12.684.
    """
    middle, spread = 1 - 2 / (9 * degrees), math.sqrt(2 / (9 * degrees))
    return max(middle - NORMAL * spread, 1e-9) ** 3, (middle + NORMAL * spread) ** 3
