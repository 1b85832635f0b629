"""Convolutions of images no larger than their kernel: matrix products, which a CPU computes faster."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

LARGEST_GROWTH = 2
"""A convolution's matrix may have so many times the numbers that its kernel has."""


def is_matrix_product(layer: nn.Conv2d, height: int, width: int) -> bool:
    """Return whether a convolution is better computed as the product of a matrix and the whole image.

    It is where each output reads every pixel, so that the matrix is the kernel's numbers in another order, some of
    them repeated, and no zeros: a convolution of 3 x 3 on images of 2 x 2 or 1 x 1, say, of whose kernel most meets
    padding only.

    Parameters
    ----------
    layer : nn.Conv2d
        A layer; one of a derived class, with groups, or whose padding is not zeros in given numbers is left alone.
    height, width : int
        Of the images that it is given.
    """
    if type(layer) is not nn.Conv2d or layer.groups > 1 or layer.padding_mode != "zeros":
        return False
    pixels, taps = height * width, layer.kernel_size[0] * layer.kernel_size[1]
    if isinstance(layer.padding, str) or pixels > taps:
        return False
    axes = _reads(layer, height, width)
    whole = all(len(reads) == size for axis, size in zip(axes, (height, width), strict=True) for reads in axis)
    outputs = len(axes[0]) * len(axes[1])
    return whole and 0 < outputs * pixels <= LARGEST_GROWTH * taps


def as_matrix(layer: nn.Conv2d, height: int, width: int) -> Tensor:
    """Return the matrix by which a convolution multiplies an image of a size.

    Parameters
    ----------
    layer : nn.Conv2d
        A layer for which :func:`is_matrix_product` holds.
    height, width : int
        Of the images.

    Returns
    -------
    Tensor
        Shape (output height * output width * output channels, height * width * channels): rows and columns are
        numbered with the channel running fastest.
    """
    rows, columns = _reads(layer, height, width)
    weight = layer.weight.detach()
    matrix = weight.new_empty(len(rows), len(columns), layer.out_channels, height, width, layer.in_channels)
    for i, down in enumerate(rows):
        for j, across in enumerate(columns):
            for tap_down, y in down:
                for tap_across, x in across:
                    matrix[i, j, :, y, x, :] = weight[:, :, tap_down, tap_across]
    return matrix.reshape(len(rows) * len(columns) * layer.out_channels, -1)


def fast_convolution(layer: nn.Conv2d) -> Callable[[Tensor], Tensor]:
    """Return a function that computes what a convolution does, by its matrix where images are small enough.

    The same products are added in another order, so that results differ by rounding. A matrix is made at the first
    image of its size; the layer's weights must not change afterwards. Where autograd records, the layer itself
    computes.
    """
    products: dict[tuple[int, int], tuple[Tensor, Tensor | None, int, int] | None] = {}

    def forward(input: Tensor) -> Tensor:
        fits = input.ndim == 4 and input.shape[1] == layer.in_channels and input.dtype == layer.weight.dtype
        if torch.is_grad_enabled() or not fits:
            return type(layer).forward(layer, input)
        size = (input.shape[2], input.shape[3])
        if size not in products:
            products[size] = _product(layer, *size) if is_matrix_product(layer, *size) else None
        product = products[size]
        if product is None:
            return type(layer).forward(layer, input)
        matrix, bias, height, width = product
        outputs = linear(input.permute(0, 2, 3, 1).flatten(1), matrix, bias)
        return outputs.reshape(len(input), height, width, layer.out_channels).permute(0, 3, 1, 2)

    return forward


def _product(layer: nn.Conv2d, height: int, width: int) -> tuple[Tensor, Tensor | None, int, int]:
    """Return matrix, bias, output height and width of a convolution of small images."""
    rows, columns = _reads(layer, height, width)
    bias = None if layer.bias is None else layer.bias.detach().repeat(len(rows) * len(columns))
    return as_matrix(layer, height, width), bias, len(rows), len(columns)


def _reads(layer: nn.Conv2d, height: int, width: int) -> list[list[list[tuple[int, int]]]]:
    """Return for each axis and output position which (tap of the kernel, pixel) it multiplies."""
    axes = []
    for axis, size in enumerate((height, width)):
        kernel, stride = layer.kernel_size[axis], layer.stride[axis]
        padding, dilation = int(layer.padding[axis]), layer.dilation[axis]
        count = (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1
        reads = [
            [(tap, output * stride - padding + tap * dilation) for tap in range(kernel)] for output in range(count)
        ]
        axes.append([[(tap, pixel) for tap, pixel in own if 0 <= pixel < size] for own in reads])
    return axes
