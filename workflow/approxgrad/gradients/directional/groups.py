"""Groups of features, as masks say which features belong together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from approxgrad.gradients.evaluating.checks import as_tuple


def checked_groups(groups: Any) -> None:
    """Refuse, by a TypeError, masks that are not tensors of integers; None is no mask."""
    for mask in as_tuple(groups):
        if not isinstance(mask, Tensor) or mask.is_floating_point() or mask.is_complex() or mask.dtype == torch.bool:
            kind = mask.dtype if isinstance(mask, Tensor) else type(mask).__name__
            raise TypeError(f"groups: expected a tensor of integers, got {kind}")


def numbered_groups(groups: Tensor | tuple[Tensor, ...], shapes: Sequence[Sequence[int]], device: Any) -> Tensor:
    """Return the group of every feature of one input, counted from 0: integers of shape (d,).

    Parameters
    ----------
    groups : Tensor or tuple of Tensor
        For each input tensor integers that broadcast to one input, or to a batch of one as captum has it.
    shapes : sequence of tuple of int
        Shape of one input of each tensor.
    device : torch.device
        Where the numbers are wanted.

    Raises
    ------
    ValueError
        If the masks do not fit the shapes.
    """
    masks = as_tuple(groups)
    if len(masks) != len(shapes):
        raise ValueError(f"groups: got {len(masks)} masks for {len(shapes)} input tensors, expected one for each")
    found = []
    for mask, shape in zip(masks, shapes, strict=True):
        own = mask[0] if mask.ndim == len(shape) + 1 and len(mask) == 1 else mask
        try:
            found.append(own.to(device).expand(tuple(shape)).reshape(-1))
        except RuntimeError:
            raise ValueError(
                f"groups: shape {tuple(mask.shape)} does not broadcast to one input, of shape {tuple(shape)}"
            ) from None
    return torch.cat(found).unique(return_inverse=True)[1]
