"""Bases for pictures and series: products of functions along channels, rows and columns, coarse ones first."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

from approxgrad.gradients.directional.bases import Basis, Cosines, Numbers

OPPONENT = ((1.0, 1.0, 1.0), (1.0, -1.0, 0.0), (1.0, 1.0, -2.0))
"""Luma, red against green, and yellow against blue, as multiples of red, green and blue."""

CHROMA = 3.0
"""How much later a frequency of colours comes than the same one of luma, to which eyes and networks attend more."""

WINDOW = 8
"""Share of a side, to both sides of a place, in which the size of a gradient is taken for the same."""


class Axis(Protocol):
    """Functions of n values along one axis."""

    def rows(self, numbers: Tensor) -> Tensor:
        """Return functions by their numbers: float64 of shape (K, n)."""
        ...


class Fixed:
    """Functions that are the rows of a matrix."""

    def __init__(self, matrix: Tensor) -> None:
        self._matrix = matrix

    def rows(self, numbers: Tensor) -> Tensor:
        """Return functions by their numbers: float64 of shape (K, n)."""
        return self._matrix[numbers]


class Single:
    """Functions that are 1 for one of n values, and 0 for the others."""

    def __init__(self, length: int) -> None:
        self._length = length

    def rows(self, numbers: Tensor) -> Tensor:
        """Return functions by their numbers: float64 of shape (K, n)."""
        return nn.functional.one_hot(numbers, self._length).double()


class Steps:
    """Haar's functions of n values, for any n, which the cells of level after level halve.

    Attributes
    ----------
    levels : list of list of tuple of int
        Beginning, middle and end of each cell of a level; a cell of one value stays as it is.
    """

    def __init__(self, length: int, device: torch.device) -> None:
        self._values = torch.arange(length, device=device)
        self.levels = [[(0, length // 2, length)]]
        while any(end - start > 1 for start, _, end in self.levels[-1]):
            halves: list[tuple[int, int]] = []
            for start, middle, end in self.levels[-1]:
                halves += [(start, middle), (middle, end)] if end - start > 1 else [(start, end)]
            self.levels.append([(start, (start + end) // 2, end) for start, end in halves])
        self._edges = torch.tensor([cell for level in self.levels for cell in level], device=device)

    def rows(self, numbers: Tensor) -> Tensor:
        """Return functions: even numbers 2 c are constant in cell c, odd ones 2 c + 1 the difference of its halves."""
        start, middle, end = self._edges[numbers // 2].unsqueeze(2).unbind(1)
        left, right, varies = middle - start, end - middle, (numbers % 2 == 1).unsqueeze(1)
        sizes = (end - start).double()
        low = torch.where(varies, (right / (left * sizes)).sqrt(), sizes.rsqrt())
        high = torch.where(varies, -(left / (right * sizes)).sqrt(), sizes.rsqrt())
        inside = (self._values >= start) & (self._values < end)
        return torch.where(self._values < middle, low, high) * inside


class Products(Basis):
    """Directions that are products of one function along each axis of a picture.

    Parameters
    ----------
    axes : sequence of Axis
        Functions along channels, rows and columns.
    functions : Tensor
        Which three functions each direction is the product of, of shape (K, 3).
    frequencies : Tensor
        By which the directions are ordered, of shape (K,).
    shape : tuple of int
        Channels, rows and columns.
    """

    def __init__(
        self, axes: Sequence[Axis], functions: Tensor, frequencies: Tensor, shape: tuple[int, int, int]
    ) -> None:
        super().__init__(math.prod(shape), len(functions), functions.device)
        self._axes, self._functions, self._frequencies, self._shape = axes, functions, frequencies, shape

    def directions(self, part: Numbers) -> Tensor:
        """Return some of the directions: float64 of shape (K, d)."""
        wanted = self._functions[part].unbind(1)
        channels, rows, columns = (axis.rows(own) for axis, own in zip(self._axes, wanted, strict=True))
        pictures = rows.unsqueeze(2) * columns.unsqueeze(1)
        if self._shape[0] == 1:
            return pictures.mul_(channels.unsqueeze(2)).flatten(1)
        return (channels[:, :, None, None] * pictures.unsqueeze(1)).flatten(1)

    def order(self) -> Tensor:
        """Return the directions with the lowest frequencies first."""
        return self._frequencies.argsort(stable=True)

    def envelope(self, gradients: Tensor) -> Tensor:
        """Return the root mean square of gradients around each place: fine parts are missing where coarse ones are."""
        energies = gradients.square().reshape(-1, *self._shape).mean(dim=1, keepdim=True)
        reach = [side // WINDOW for side in self._shape[1:]]
        sizes = [2 * own + 1 for own in reach]
        mean = nn.functional.avg_pool2d(energies, sizes, stride=1, padding=reach, count_include_pad=False)
        return mean.sqrt().expand(-1, *self._shape).reshape(gradients.shape)


class CosinePictures(Products):
    """Products of cosines along rows and columns, for each channel or opponent colour."""

    def __init__(self, shape: tuple[int, int, int], channels: Axis, weight: Tensor) -> None:
        device = weight.device
        numbers = torch.cartesian_prod(*(torch.arange(size, device=device) for size in shape)).reshape(-1, 3)
        share = numbers[:, 1:] / torch.tensor(shape[1:], device=device)
        frequencies = share.double().norm(dim=1) * max(shape[1:])
        axes = [channels, *(Cosines(size, device) for size in shape[1:])]
        super().__init__(axes, numbers, _later(frequencies, weight[numbers[:, 0]]), shape)

    def smoothed(self, energies: Tensor) -> Tensor:
        """Return energies averaged over the frequencies beside each, which few inputs cannot tell apart."""
        pictures = energies.reshape(self._shape[0], 1, *self._shape[1:])
        averaged = nn.functional.avg_pool2d(pictures, 3, stride=1, padding=1, count_include_pad=False)
        return averaged.flatten()


def cosine_basis(shape: Sequence[int], device: torch.device) -> Basis:
    """Return the cosine basis of inputs of a shape, lowest frequencies first.

    The last two axes are a picture, all before them its channels; three channels are taken as red, green and blue. Two
    axes are a series with channels, one is a series or a table.
    """
    own = _picture(shape)
    return CosinePictures(own, *_channels(shape, own[0], device))


def haar_basis(shape: Sequence[int], device: torch.device) -> Basis:
    """Return Haar's basis of inputs of a shape, as of :func:`cosine_basis`, coarse functions first."""
    own = _picture(shape)
    channels, weight = _channels(shape, own[0], device)
    rows, columns = (Steps(size, device) for size in own[1:])
    pairs, frequencies = [torch.zeros(1, 2, dtype=torch.long)], [0.0]
    first = [0, 0]
    for level in range(max(len(rows.levels), len(columns.levels))):
        cells = [axis.levels[min(level, len(axis.levels) - 1)] for axis in (rows, columns)]
        if level:
            for place, axis in enumerate((rows, columns)):
                first[place] += len(axis.levels[level - 1]) if level < len(axis.levels) else 0
        numbers = [start + torch.arange(len(some)) for start, some in zip(first, cells, strict=True)]
        splits = [torch.tensor([end - start > 1 for start, _, end in some]) for some in cells]
        for varies in ((0, 1), (1, 0), (1, 1)):
            kept = [own[split] if v else own for own, split, v in zip(numbers, splits, varies, strict=True)]
            pairs.append(torch.cartesian_prod(*(2 * own + v for own, v in zip(kept, varies, strict=True))))
            frequencies += [2.0**level] * len(pairs[-1])
    pair, frequency = torch.cat(pairs).to(device), torch.tensor(frequencies, dtype=torch.float64, device=device)
    number = torch.arange(own[0], device=device).repeat_interleave(len(pair))
    functions = torch.cat([number.unsqueeze(1), pair.repeat(own[0], 1)], dim=1)
    return Products([channels, rows, columns], functions, _later(frequency.repeat(own[0]), weight[number]), own)


def _picture(shape: Sequence[int]) -> tuple[int, int, int]:
    """Return channels, rows and columns of an input."""
    rows, columns = (1, 1, *shape)[-2:] if len(shape) > 2 else (1, (1, *shape)[-1])
    return math.prod(shape) // (rows * columns), rows, columns


def _channels(shape: Sequence[int], count: int, device: torch.device) -> tuple[Axis, Tensor]:
    """Return functions along the channels, and by how much the frequencies of each come later."""
    if len(shape) == 3 and count == 3:
        colours = torch.tensor(OPPONENT, dtype=torch.float64, device=device)
        weight = torch.tensor([1.0, CHROMA, CHROMA], dtype=torch.float64, device=device)
        return Fixed(colours / colours.norm(dim=1, keepdim=True)), weight
    return Single(count), torch.ones(count, dtype=torch.float64, device=device)


def _later(frequencies: Tensor, weight: Tensor) -> Tensor:
    """Return frequencies that are raised where the weight is not 1, that of the mean as well."""
    return weight * (frequencies + 0.5)
