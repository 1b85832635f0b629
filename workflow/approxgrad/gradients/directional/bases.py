"""Bases of directions, made row by row, so that the largest inputs have them too."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

Numbers = slice | Tensor
"""Which directions of a basis are wanted: a slice of them, or their numbers."""


class Basis:
    """Directions of length 1 that move the features of one input.

    Attributes
    ----------
    features, size : int
        Number d of features, and of directions.
    reach : float or Tensor
        How far a direction typically moves a feature, one number for all or of shape (d,).
    orthonormal : bool
        Whether the directions are orthogonal to each other.
    """

    orthonormal: ClassVar[bool] = True

    def __init__(self, features: int, size: int, device: torch.device, reach: float | Tensor | None = None) -> None:
        self.features, self.size, self.device = features, size, device
        self.reach = 1 / math.sqrt(features) if reach is None else reach

    def directions(self, part: Numbers) -> Tensor:
        """Return some of the directions: float64 of shape (K, d)."""
        raise NotImplementedError

    def order(self) -> Tensor:
        """Return the numbers of all directions, the most promising first."""
        return torch.arange(self.size, device=self.device)

    def smoothed(self, energies: Tensor) -> Tensor:
        """Return energies of the directions, of shape (size,), averaged over directions that are alike."""
        return energies

    def envelope(self, gradients: Tensor) -> Tensor:
        """Return how large missing parts of gradients are to be expected at each feature: both of shape (N, d).

        Only ratios within a row mean something.
        """
        return torch.ones_like(gradients)

    def numbers(self, part: Numbers) -> Tensor:
        """Return the numbers of some directions."""
        return torch.arange(self.size, device=self.device)[part]


class Cosines:
    """The cosine transform (DCT-II) of n values, orthonormal to the rounding of float64 and the same on every device.

    Its rows are read from a table of cosines that is made on the CPU.
    """

    def __init__(self, length: int, device: torch.device) -> None:
        self._period = 4 * length
        self._table = torch.from_numpy(np.cos(2 * np.pi * np.arange(self._period) / self._period)).to(device)
        self.places = torch.arange(length, device=device).mul_(2).add_(1)
        self.scales = torch.full((length,), math.sqrt(2 / length), dtype=torch.float64, device=device)
        self.scales[0] /= math.sqrt(2)

    def rows(self, numbers: Tensor) -> Tensor:
        """Return rows by their numbers: float64 of shape (K, n)."""
        places = (numbers.unsqueeze(1) * self.places).remainder_(self._period)
        rows = self._table.index_select(0, places.flatten()).reshape(places.shape)
        return rows.mul_(self.scales[numbers].unsqueeze(1))


class RandomCosines(Basis):
    """A random orthonormal basis: the cosine transform with features in random order and random signs.

    Each direction moves all features, most of them by about ``1 / sqrt(d)``.

    Parameters
    ----------
    features : int
        Number d of features, and of directions.
    seed : int
        Of order and signs.
    device : torch.device
        Where directions are wanted.
    """

    def __init__(self, features: int, seed: int, device: torch.device) -> None:
        super().__init__(features, features, device)
        generator = np.random.default_rng(seed)
        order = generator.permutation(features)
        # Signs of features make the directions random, signs of directions the errors that all differences share.
        signs, row_signs = (torch.from_numpy(own).to(device) for own in generator.choice([-1.0, 1.0], (2, features)))
        self._cosines = Cosines(features, device)
        self._cosines.places = self._cosines.places[torch.from_numpy(order).to(device)]
        self._cosines.scales *= row_signs
        self._signs = signs

    def directions(self, part: Numbers) -> Tensor:
        """Return some of the directions: float64 of shape (K, d)."""
        return self._cosines.rows(self.numbers(part)).mul_(self._signs)


class IndependentDirections(Basis):
    """Independent random directions, uniform on the sphere, of which there are as many as features.

    Each has a generator of its own, so that any of them can be made.
    """

    orthonormal = False

    def __init__(self, features: int, seed: int, device: torch.device) -> None:
        super().__init__(features, features, device)
        self._seed = seed

    def directions(self, part: Numbers) -> Tensor:
        """Return some of the directions: float64 of shape (K, d)."""
        generators = (np.random.default_rng((self._seed, number)) for number in self.numbers(part).tolist())
        rows = torch.from_numpy(np.array([own.standard_normal(self.features) for own in generators]))
        rows = rows.reshape(-1, self.features)
        return (rows / rows.norm(dim=1, keepdim=True)).to(self.device)


class Coordinates(Basis):
    """The features themselves, in random order."""

    def __init__(self, features: int, seed: int, device: torch.device) -> None:
        super().__init__(features, features, device, reach=1.0)
        self._seed = seed

    def directions(self, part: Numbers) -> Tensor:
        """Return some of the directions: float64 of shape (K, d)."""
        numbers = self.numbers(part).unsqueeze(1)
        rows = torch.zeros(len(numbers), self.features, dtype=torch.float64, device=self.device)
        return rows.scatter_(1, numbers, 1.0)

    def order(self) -> Tensor:
        """Return the features in random order."""
        return torch.from_numpy(np.random.default_rng(self._seed).permutation(self.features)).to(self.device)


class Groups(Basis):
    """Groups of features that move together, each by the same: one direction for each group.

    Parameters
    ----------
    group : Tensor
        Number of the group of each feature, from 0, of shape (d,).
    """

    def __init__(self, group: Tensor) -> None:
        sizes = torch.bincount(group)
        self._group, self._reach = group, sizes.double().rsqrt()
        super().__init__(len(group), len(sizes), group.device, self._reach[group])

    def directions(self, part: Numbers) -> Tensor:
        """Return some of the directions: float64 of shape (K, d)."""
        numbers = self.numbers(part).unsqueeze(1)
        return (self._group == numbers) * self._reach[numbers]


class Joined(Basis):
    """The bases of several input tensors, each of whose directions moves one of them."""

    def __init__(self, bases: Sequence[Basis]) -> None:
        self._bases = bases
        reach = [torch.full((own.features,), float(own.reach), device=own.device) for own in bases]
        features, size = sum(own.features for own in bases), sum(own.size for own in bases)
        super().__init__(features, size, bases[0].device, torch.cat(reach).double())

    def directions(self, part: Numbers) -> Tensor:
        """Return some of the directions: float64 of shape (K, d)."""
        numbers = self.numbers(part)
        rows = torch.zeros(len(numbers), self.features, dtype=torch.float64, device=self.device)
        first = start = 0
        for own in self._bases:
            mine = ((numbers >= first) & (numbers < first + own.size)).nonzero().squeeze(1)
            rows[mine, start : start + own.features] = own.directions(numbers[mine] - first)
            first, start = first + own.size, start + own.features
        return rows

    def order(self) -> Tensor:
        """Return the directions by their place in the order of their own basis, as a share of it."""
        places = [torch.empty(own.size, dtype=torch.float64, device=self.device) for own in self._bases]
        for own, place in zip(self._bases, places, strict=True):
            place[own.order()] = torch.arange(own.size, dtype=torch.float64, device=self.device) / own.size
        return torch.cat(places).argsort(stable=True)

    def envelope(self, gradients: Tensor) -> Tensor:
        """Return sizes that each basis expects, with the energy that its part of a gradient has."""
        parts = gradients.split([own.features for own in self._bases], dim=1)
        found = [own.envelope(part) for own, part in zip(self._bases, parts, strict=True)]
        energies = [part.square().mean(dim=1, keepdim=True) for part in parts]
        means = [own.square().mean(dim=1, keepdim=True).clamp(min=1e-300) for own in found]
        return torch.cat([own * (e / m).sqrt() for own, e, m in zip(found, energies, means, strict=True)], dim=1)

    def smoothed(self, energies: Tensor) -> Tensor:
        """Return energies that each basis has averaged over its own directions."""
        parts = energies.split([own.size for own in self._bases])
        return torch.cat([own.smoothed(part) for own, part in zip(self._bases, parts, strict=True)])
