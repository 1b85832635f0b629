"""Which output of a model is explained: targets in all of captum's forms, checked against the model's outputs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Real
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

Target: TypeAlias = int | Sequence[int] | Sequence[Sequence[int]] | Tensor | None
"""``None`` for a model with one output per input; an integer for the same output of every input; a tensor or list of
N integers for one output per input; a tuple of integers, or a list of N such tuples, for outputs with several axes."""


def target_indices(target: Target, inputs: int, device: torch.device | str = "cpu") -> Tensor | None:
    """Return the output index of all N `inputs`: integers of shape (N, axes of one output), or None for target None.

    Raises
    ------
    TypeError
        If the target is not made of integers.
    ValueError
        If the number of targets is not one or N.
    """
    if target is None:
        return None
    try:
        indices = torch.as_tensor(target, device=device)
    except (TypeError, ValueError, RuntimeError):
        raise TypeError(f"target: expected integers, got {target!r}") from None
    if indices.is_floating_point() or indices.is_complex() or indices.dtype == torch.bool:
        raise TypeError(f"target: expected integers, got {indices.dtype}")
    indices = indices.long()
    if isinstance(target, tuple) and indices.ndim == 1:
        return indices.expand(inputs, len(target))
    if indices.numel() == 1:
        return indices.reshape(1, 1).expand(inputs, 1)
    if indices.shape[0] != inputs or indices.ndim > 2:
        raise ValueError(f"target: expected one target or {inputs}, got shape {tuple(indices.shape)}")
    return indices.reshape(inputs, -1)


def as_outputs(outputs: Any) -> Tensor:
    """Return a model's outputs as a tensor; a TypeError if they are not real floating-point numbers, and dense."""
    try:
        found = _as_tensor(outputs)
    except (TypeError, ValueError, RuntimeError):
        raise TypeError(
            f"model: expected a tensor of outputs, got {type(outputs).__name__}; wrap the model in a function that "
            "returns one tensor of numbers"
        ) from None
    if found.is_complex():
        raise TypeError(
            f"model: returned complex numbers ({found.dtype}), which have no attribution; return real ones, such as "
            "outputs.abs() or outputs.real"
        )
    if not found.is_floating_point():
        raise TypeError(
            f"model: returned {found.dtype} outputs, expected floating-point numbers; return scores or probabilities "
            "instead of labels, or outputs.float() if these are counts"
        )
    if found.layout != torch.strided or found.is_quantized or found.is_nested:
        raise TypeError("model: expected a dense tensor of outputs; return outputs.to_dense() or outputs.dequantize()")
    return found


def _as_tensor(outputs: Any) -> Tensor:
    if isinstance(outputs, Tensor):
        return outputs
    if isinstance(outputs, np.ndarray):
        # Copied in this machine's byte order: torch takes neither another one nor read-only arrays.
        return torch.from_numpy(np.array(outputs, outputs.dtype.newbyteorder("=")))
    # A list of numbers, but not a tuple that has other outputs beside the wanted ones.
    if type(outputs) is not list or not all(isinstance(row, (list, Real)) or _is_number(row) for row in outputs):
        raise TypeError
    return torch.tensor(outputs, device="cpu")


def _is_number(value: Any) -> bool:
    return isinstance(value, Tensor) and value.numel() == 1


class OutputSelector:
    """Takes the outputs that `indices` (:func:`target_indices`) explain from those of a model, batch after batch.

    Targets are checked against the shape of one output when it is first seen.
    """

    def __init__(self, indices: Tensor | None) -> None:
        self._indices = indices
        self._axes: torch.Size | None = None
        self._columns: Tensor | None = None

    def __call__(self, outputs: Any, rows: Tensor) -> Tensor:
        """Return the explained outputs, of shape (B,), of a batch; `rows` are the numbers of its inputs.

        Outputs that are not numbers raise a TypeError, a shape that does not fit batch or target a ValueError.
        """
        batch = len(rows)
        outputs = as_outputs(outputs)
        if self._indices is None:
            if outputs.numel() != batch:
                raise ValueError(
                    f"target: the model returned shape {tuple(outputs.shape)} for {batch} inputs, so a target is "
                    "needed; None is for a model with one output per input"
                )
            return outputs.reshape(batch)
        if outputs.ndim == 0 or outputs.shape[0] != batch:
            raise ValueError(f"model: returned shape {tuple(outputs.shape)} for a batch of {batch} inputs")
        if self._columns is None or outputs.shape[1:] != self._axes:
            self._axes = outputs.shape[1:]
            self._columns = _flat_columns(self._indices, self._axes).unsqueeze(1)
        columns = self._columns.index_select(0, rows).to(outputs.device)
        return outputs.reshape(batch, -1).gather(1, columns).squeeze(1)


def _flat_columns(indices: Tensor, axes: torch.Size) -> Tensor:
    """Return the position of each input's target in a flattened output of shape `axes`."""
    if len(axes) != indices.shape[1]:
        raise ValueError(
            f"target: has {indices.shape[1]} index(es) per input, but one output of the model has shape {tuple(axes)}"
        )
    sizes = torch.tensor(axes, device=indices.device)
    outside = ((indices < 0) | (indices >= sizes)).any(dim=1)
    if outside.any():
        row = int(outside.nonzero()[0])
        raise ValueError(
            f"target: {indices[row].tolist()} is out of range, one output of the model has shape {tuple(axes)}"
        )
    strides = [math.prod(axes[position + 1 :]) for position in range(len(axes))]
    return (indices * torch.tensor(strides, device=indices.device)).sum(dim=1)


def select_outputs(outputs: Any, indices: Tensor | None, batch: int) -> Tensor:
    """Return the explained outputs of one batch, whose targets are `indices`: see :class:`OutputSelector`."""
    rows = torch.arange(batch, device=None if indices is None else indices.device)
    return OutputSelector(indices)(outputs, rows)
