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
from approxgrad.gradients.evaluating.arrays import TypedModel
from approxgrad.gradients.evaluating.targets import as_outputs
from approxgrad.gradients.evaluating.wrapping import unwrapped
from approxgrad.models.evaluating import TRIED_ROWS, evaluated, explained, own_function
from approxgrad.models.kind import MODELS, ModelError, Shape
from approxgrad.models.model_files import load_model
from approxgrad.models.network_kind import Network

AGREEMENT = 1e-3
"""Outputs for tensors and for arrays may differ by this fraction of the largest: rounding, but not another function."""


def open_model(
    kind_name: str,
    options: Mapping[str, Any],
    file: Path | str | None,
    shape: Shape,
    outputs: int,
    device: torch.device,
    dtype: torch.dtype = torch.float32,
) -> Callable[[Tensor], Tensor]:
    """Return a model in evaluation mode.

    Parameters
    ----------
    kind_name : str
        Name of its kind.
    options : mapping
        What :meth:`approxgrad.models.kind.ModelKind.opening` returns.
    file : path, optional
        What a study made of the model: a file of :func:`approxgrad.models.saved.save_model`, which says all of a
        network, or of :meth:`approxgrad.models.kind.ModelKind.make`.
    shape, outputs, device, dtype
        As for :meth:`approxgrad.models.kind.ModelKind.open`.

    Raises
    ------
    ModelError
        If the model cannot be opened.
    """
    kind = MODELS[kind_name]
    if file and issubclass(kind, Network):
        return load_model(file, device).to(dtype)
    made = {"file": Path(file)} if file else {}
    return read(kind, options).open(tuple(shape), outputs, device, dtype, **made)


def opened_function(
    name: str, shape: Shape, outputs: int, device: torch.device, dtype: torch.dtype
) -> Callable[[Tensor], Tensor]:
    """Return a user's own function as a callable from inputs (N, *shape) to outputs (N, outputs).

    A trial with two random rows tells what it takes: tensors on the device if it returns tensors for them, else arrays.

    Raises a ModelError if it fails for both, returns another number of outputs, or other outputs for tensors than for
    arrays.
    """
    function = own_function(name, "function")
    rows = _trial_rows(shape, device, dtype)
    found: dict[Callable[[Tensor], Tensor], Tensor] = {}
    reasons = []
    for form in (_tensors, _arrays):
        model = partial(form, function, outputs)
        try:
            with evaluated(model), explained(form.__name__.strip("_")):
                found[model] = model(rows).double()
        except ModelError as error:
            reasons.append(str(error))
    if not found:
        raise ModelError(f"function {name}: fails for inputs of shape {shape}, given as {' and as '.join(reasons)}")
    (chosen, first), *others = found.items()
    tolerance = AGREEMENT * float(first.abs().max())
    if any(not torch.allclose(first, other, rtol=0, atol=tolerance, equal_nan=True) for _, other in others):
        raise ModelError(
            f"function {name}: returns other outputs for tensors than for arrays of the same numbers, or random "
            "ones; convert the inputs in the function, such as with numpy.asarray or torch.as_tensor"
        )
    return chosen


def wanted_outputs(stated: int | None, outputs: int) -> int:
    """Return the number of outputs of a model: what its options state, or what the data need.

    Raises a ModelError if that does not suit the data, which need one for each class, or 1 for a regression.
    """
    given = stated or outputs
    if given < outputs or (outputs == 1 and given > 1):
        expected = f"at least {outputs}, one for each class" if outputs > 1 else "1 for a regression"
        raise ModelError(f"outputs: got {given}, expected {expected}")
    return given


def opened_black_box(
    model: TypedModel, name: str, shape: Shape, outputs: int, device: torch.device, dtype: torch.dtype
) -> Callable[[Tensor], Tensor]:
    """Return a model outside torch as a callable from inputs (N, *shape) to outputs (N, outputs), tried with two rows.

    Raises a ModelError if it fails, returns another number of outputs, or takes a narrower type than it is to be
    evaluated in.
    """
    if dtype == torch.float64 and model.dtype.kind == "f" and model.dtype != np.float64:
        raise ModelError(f"{name}: takes {model.dtype}, so it cannot be evaluated in float64; leave that out of dtypes")
    rows = _trial_rows(shape, device, dtype)
    found = partial(_tensors, model, outputs)
    with evaluated(found), explained(f"{name}: fails for inputs of shape {shape}"):
        found(rows)
    return found


def recorded(model: Callable[[Tensor], Tensor]) -> dict[str, Any]:
    """Return what the metadata of results say of a model that no file describes; errors are those of the model."""
    own = opened(model)
    return {} if own is None else own.record()


def opened(model: Callable[[Tensor], Tensor]) -> TypedModel | None:
    """Return the model outside torch that :func:`opened_black_box` made a callable of; None for another callable."""
    own = unwrapped(model)
    return next((part for part in own.args if isinstance(part, TypedModel)), None) if isinstance(own, partial) else None


def _trial_rows(shape: Shape, device: torch.device, dtype: torch.dtype) -> Tensor:
    return torch.randn(TRIED_ROWS, *shape, generator=torch.Generator().manual_seed(0)).to(device, dtype)


def _tensors(function: Callable[..., Any], outputs: int, inputs: Tensor) -> Tensor:
    found = function(inputs)
    if not isinstance(found, Tensor):
        raise TypeError(f"returned {type(found).__name__}, expected a tensor")
    return _shaped(found, outputs, inputs)


def _arrays(function: Callable[..., Any], outputs: int, inputs: Tensor) -> Tensor:
    # A copy, so that the function may change what it is given.
    return _shaped(function(inputs.detach().cpu().numpy().copy()), outputs, inputs)


def _shaped(found: Any, outputs: int, inputs: Tensor) -> Tensor:
    tensor = as_outputs(found)
    if tensor.shape == (len(inputs),) and outputs == 1:
        tensor = tensor.unsqueeze(1)
    expected = (len(inputs), outputs)
    if tensor.shape != expected:
        several = tensor.ndim == 2 and tensor.shape[1] > outputs > 1
        hint = "; if the model knows more classes than the data, name them as `classes` there" if several else ""
        raise ValueError(f"returned shape {tuple(tensor.shape)} for {len(inputs)} rows, expected {expected}{hint}")
    return tensor.to(inputs.device)
