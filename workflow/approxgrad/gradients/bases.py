"""Orthonormal bases of directions, made row by row, so that the largest inputs have them too."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor


class RandomCosines:
    """A random orthonormal basis: the cosine transform (DCT-II) with features in random order and random signs.

    Each direction moves all features, most of them by about ``1 / sqrt(d)``. Rows are read from a table of cosines that
    is made on the CPU, so they are the same on every device, orthonormal to the rounding of float64, and cost no more
    memory than is asked for.

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
        generator = np.random.default_rng(seed)
        order = generator.permutation(features)
        # Signs of features make the directions random, signs of directions the errors that all differences share.
        signs, row_signs = generator.choice([-1.0, 1.0], (2, features))
        scales = row_signs * math.sqrt(2 / features)
        scales[0] /= math.sqrt(2)
        self.features = features
        self._period = 4 * features
        cosines = np.cos(2 * np.pi * np.arange(self._period) / self._period)
        self._cosines = torch.from_numpy(cosines).to(device)
        self._places = torch.from_numpy(2 * order + 1).to(device)
        self._signs, self._scales = (torch.from_numpy(values).to(device) for values in (signs, scales))

    def directions(self, part: slice | Tensor) -> Tensor:
        """Return some of the directions, of length 1, a slice or by their numbers: float64 of shape (K, d)."""
        number = torch.arange(self.features, device=self._places.device)[part]
        places = (number.unsqueeze(1) * self._places).remainder_(self._period)
        rows = self._cosines.index_select(0, places.flatten()).reshape(places.shape)
        return rows.mul_(self._signs).mul_(self._scales[part].unsqueeze(1))
