"""Max-pooling of windows that do not overlap, as maxima of whole images, which a CPU computes faster."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce

import torch
from torch import Tensor, nn


def fast_pooling(layer: nn.MaxPool2d) -> Callable[[Tensor], Tensor]:
    """Return a function that computes what a layer of max-pooling does, the very same numbers.

    Where its windows lie side by side, every k-th row from the first on, from the second on and so forth are compared,
    then the columns; the layer's own kernel looks for the places of the maxima too. Where autograd records, and for
    windows that overlap or are padded, the layer itself computes.
    """
    height, width = _pair(layer.kernel_size)
    apart = (
        _pair(layer.stride) == (height, width)
        and _pair(layer.padding) == (0, 0)
        and _pair(layer.dilation) == (1, 1)
        and not (layer.return_indices or layer.ceil_mode)
    )

    def forward(input: Tensor) -> Tensor:
        rows, columns = input.shape[-2] // height * height, input.shape[-1] // width * width
        fits = input.ndim == 4 and min(len(input), input.shape[1], rows, columns) > 0
        if torch.is_grad_enabled() or not (apart and fits):
            return type(layer).forward(layer, input)
        highest = reduce(torch.maximum, (input[:, :, first:rows:height] for first in range(height)))
        return reduce(torch.maximum, (highest[:, :, :, first:columns:width] for first in range(width)))

    return forward


def _pair(value: int | tuple[int, ...]) -> tuple[int, ...]:
    return (value, value) if isinstance(value, int) else tuple(value)
