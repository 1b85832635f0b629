"""Models as jobs evaluate them: callables from tensors to tensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from approxgrad.descriptions import read
from approxgrad.gradients.targets import as_outputs
from approxgrad.models.evaluating import TRIED_ROWS, evaluated, explained, own_function
from approxgrad.models.kind import MODELS, ModelError, Shape
from approxgrad.models.model_files import load_model

AGREEMENT = 1e-3
"""Outputs for tensors and for arrays may differ by this fraction of the largest: rounding, but not another function."""


def open_model(
    kind_name: str,
    options: Mapping[str, Any],
    weights: Path | str | None,
    shape: Shape,
    outputs: int,
    device: torch.device,
    dtype: torch.dtype,
) -> Callable[[Tensor], Tensor]:
    """Return a model in evaluation mode.

    Parameters
    ----------
    kind_name : str
        Name of its kind.
    options : mapping
        What ``opening`` of its description returns.
    weights : path, optional
        File of :func:`approxgrad.models.model_files.save_model`, for kinds with weights.
    shape : tuple of int
        Shape of one input.
    outputs : int
        Number of classes, or 1 for a regression.
    device, dtype
        Where it runs and in which precision.

    Raises
    ------
    ModelError
        If the model cannot be opened.
    """
    if weights:
        return load_model(weights, device).to(dtype)
    return read(MODELS[kind_name], options).open(tuple(shape), outputs, device, dtype)


def opened_function(
    name: str, shape: Shape, outputs: int, device: torch.device, dtype: torch.dtype
) -> Callable[[Tensor], Tensor]:
    """Return a user's own function as a callable from inputs (N, *shape) to outputs (N, outputs).

    It is tried with a few random rows, as tensors on the device and as numpy arrays. It is given tensors if it returns
    tensors for them, and arrays otherwise.

    Raises
    ------
    ModelError
        If it fails for both, returns another number of outputs, or computes something else from tensors than from
        arrays.
    """
    function = own_function(name, "function")
    rows = torch.randn(TRIED_ROWS, *shape, generator=torch.Generator().manual_seed(0)).to(device, dtype)
    models: list[Callable[[Tensor], Tensor]] = [partial(form, function, outputs) for form in (_tensors, _arrays)]
    found: dict[Callable[[Tensor], Tensor], Tensor] = {}
    reasons = []
    for model, form in zip(models, ("tensors", "arrays"), strict=True):
        try:
            with evaluated(model), explained(form):
                found[model] = model(rows)
        except ModelError as error:
            reasons.append(str(error))
    if not found:
        raise ModelError(f"function {name}: fails for inputs of shape {shape}, given as {' and as '.join(reasons)}")
    first, *others = found
    for other in others:
        scale = float(found[first].abs().max())
        if not torch.allclose(found[first].double(), found[other].double(), AGREEMENT, AGREEMENT * scale, True):
            raise ModelError(
                f"function {name}: returns other outputs for tensors than for arrays of the same numbers, or random "
                "ones; convert the inputs in the function, such as with numpy.asarray or torch.as_tensor"
            )
    return first


def _tensors(function: Callable[..., Any], outputs: int, inputs: Tensor) -> Tensor:
    found = function(inputs)
    if not isinstance(found, Tensor):
        raise TypeError(f"returned {type(found).__name__}, expected a tensor")
    return _shaped(found, outputs, inputs)


def _arrays(function: Callable[..., Any], outputs: int, inputs: Tensor) -> Tensor:
    # A copy, so that the function may change what it is given.
    return _shaped(function(np.array(inputs.detach().cpu())), outputs, inputs)


def _shaped(found: Any, outputs: int, inputs: Tensor) -> Tensor:
    tensor = as_outputs(found)
    if tensor.shape == (len(inputs),) and outputs == 1:
        tensor = tensor.unsqueeze(1)
    expected = (len(inputs), outputs)
    if tensor.shape != expected:
        raise ValueError(f"returned shape {tuple(tensor.shape)} for {len(inputs)} rows, expected {expected}")
    return tensor.to(inputs.device)
