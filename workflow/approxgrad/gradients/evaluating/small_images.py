"""Convolutions of images no larger than their kernel, as matrix products, which are faster on a CPU."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear

LARGEST_GROWTH = 2  # largest size of a convolution's matrix, in multiples of its kernel

# For each output position along an axis, the (tap of the kernel, pixel) pairs that it multiplies.
Reads = list[list[tuple[int, int]]]


@dataclass(frozen=True)
class Geometry:
    """Which pixels a two-dimensional convolution without groups, padded with zeros, reads along height and width."""

    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]

    @classmethod
    def of(cls, weight: Tensor, stride: Any, padding: Any, dilation: Any, groups: int) -> Geometry | None:
        """Return the geometry of a call of ``conv2d``, or None if it has groups or names its padding."""
        if groups != 1 or isinstance(padding, str) or weight.ndim != 4:
            return None
        return cls((weight.shape[2], weight.shape[3]), pair(stride), pair(padding), pair(dilation))

    def reads(self, height: int, width: int) -> tuple[Reads, Reads]:
        """Return what each output row and each output column reads of images of this size."""
        rows, columns = (self._axis(axis, size) for axis, size in enumerate((height, width)))
        return rows, columns

    def _axis(self, axis: int, size: int) -> Reads:
        kernel, stride, padding, dilation = (
            value[axis] for value in (self.kernel, self.stride, self.padding, self.dilation)
        )
        count = (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1
        taps = ([(tap, output * stride - padding + tap * dilation) for tap in range(kernel)] for output in range(count))
        return [[(tap, pixel) for tap, pixel in own if 0 <= pixel < size] for own in taps]

    def is_matrix_product(self, height: int, width: int) -> bool:
        """Return whether a convolution of images of this size is better computed as a product with the whole image.

        It is if each output reads every pixel: then the matrix holds the kernel's numbers, some of them repeated, and
        no zeros. An example is a 3 x 3 kernel on images of 2 x 2 or 1 x 1, most of which meets only padding.
        """
        pixels, taps = height * width, self.kernel[0] * self.kernel[1]
        if pixels > taps:
            return False
        axes = self.reads(height, width)
        whole = all(len(reads) == size for axis, size in zip(axes, (height, width), strict=True) for reads in axis)
        outputs = len(axes[0]) * len(axes[1])
        return whole and 0 < outputs * pixels <= LARGEST_GROWTH * taps


class Product:
    """A convolution of images of one size as a product, for a geometry with :meth:`Geometry.is_matrix_product`.

    The weight has shape (output channels, channels, kernel height, kernel width), the :attr:`matrix` shape
    (output height * output width * output channels, height * width * channels), the channel running fastest.
    """

    def __init__(self, weight: Tensor, geometry: Geometry, height: int, width: int) -> None:
        rows, columns = geometry.reads(height, width)
        outputs, channels = weight.shape[:2]
        self._shape = (len(rows), len(columns), outputs)
        matrix = weight.new_empty(len(rows), len(columns), outputs, height, width, channels)
        for i, down in enumerate(rows):
            for j, across in enumerate(columns):
                for tap_down, y in down:
                    for tap_across, x in across:
                        matrix[i, j, :, y, x, :] = weight[:, :, tap_down, tap_across]
        self.matrix = matrix.reshape(len(rows) * len(columns) * outputs, -1)

    def __call__(self, images: Tensor, bias: Tensor | None) -> Tensor:
        """Return the convolution of images: the same products, added in another order."""
        biases = None if bias is None else bias.repeat(self._shape[0] * self._shape[1])
        outputs = linear(images.permute(0, 2, 3, 1).flatten(1), self.matrix, biases)
        return outputs.reshape(len(images), *self._shape).permute(0, 3, 1, 2)


def product(weight: Tensor, geometry: Geometry | None, size: torch.Size) -> Product | None:
    """Return the product for images of a size, or None if the convolution is better computed as it is."""
    if geometry is None or not geometry.is_matrix_product(*size):
        return None
    return Product(weight.detach(), geometry, *size)


def pair(value: Any) -> tuple[int, int]:
    """Return two numbers, as torch reads one number or a sequence of one or two."""
    numbers = (value,) if isinstance(value, int) else tuple(value)
    return (numbers[0], numbers[-1])
