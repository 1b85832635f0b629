"""Checks that every gradient source shares: what it is given and what the model returns."""

from __future__ import annotations

from collections.abc import Callable
from numbers import Real
from typing import Any

import torch
from torch import Tensor, nn

from approxgrad.messages import one_line

Model = Callable[..., Any]
"""Any callable from a batch of inputs to a batch of outputs."""


Baseline = float | Tensor
"""A number for all features, or a tensor that broadcasts to the inputs, such as one input."""


def check_deterministic(model: Model) -> None:
    """Refuse a model with a layer whose training mode makes outputs random or dependent on the batch.

    Raises
    ------
    ValueError
        If a dropout or batch-normalisation layer is in training mode.
    """
    if not isinstance(model, nn.Module):
        return
    for name, layer in model.named_modules():
        if layer.training and isinstance(layer, (nn.modules.dropout._DropoutNd, nn.modules.batchnorm._BatchNorm)):
            kind = type(layer).__name__
            raise ValueError(f"model: layer {name or kind!r} ({kind}) is in training mode; call model.eval() first")


def check_repeatable(model: Model, inputs: Tensor) -> None:
    """Refuse a model that fails, or says something else when it is asked the same again.

    Parameters
    ----------
    model : callable
        A batch of inputs to a batch of outputs; given copies, it may change its inputs.
    inputs : Tensor
        A few rows, shape (N, ...).

    Raises
    ------
    ValueError
        Naming the largest difference. Noise of that size would be taken for a gradient.
    """
    with torch.inference_mode():
        try:
            first, second = (torch.as_tensor(model(inputs.clone())).clone() for _ in range(2))
        except Exception as error:
            raise ValueError(
                f"model: fails for {inputs.dtype} inputs of shape {tuple(inputs.shape)} "
                f"({one_line(f'{type(error).__name__}: {error}')})"
            ) from error
    if first.shape != second.shape:
        raise ValueError(
            f"model: returned shape {tuple(first.shape)}, then {tuple(second.shape)} for the same inputs, expected one"
        )
    if not torch.allclose(first, second, rtol=0, atol=0, equal_nan=True):
        difference = (first - second).abs().max().item()
        raise ValueError(
            f"model: outputs differ by {difference:.2g} between two evaluations of the same inputs, "
            "expected a model without randomness"
        )


def check_resolved(inputs: tuple[Tensor, ...], step: float, shifts: tuple[int, ...]) -> None:
    """Refuse a step that is lost in every feature of all inputs: x + h is x there, so every difference is zero.

    Raises
    ------
    ValueError
        Naming the smallest distance between a feature and its neighbour among the floating-point numbers.
    """
    points = [point.detach() for point in inputs]
    for point in points:
        if any(((point + torch.tensor(shift * step, dtype=point.dtype)) != point).any() for shift in shifts):
            return
    sizes = [point.abs() for point in points]
    spacing = min(float((torch.nextafter(size, torch.full_like(size, torch.inf)) - size).min()) for size in sizes)
    kind = str(inputs[0].dtype).removeprefix("torch.")
    raise ValueError(
        f"step: {step:g} is lost in {kind}, x + h is x for every feature of the inputs; expected at least {spacing:.1g}"
    )


def checked_batch_size(size: int | None) -> int | None:
    """Return a batch size, or refuse it with a ValueError."""
    if size is not None and (isinstance(size, bool) or not isinstance(size, int) or size < 1):
        raise ValueError(f"batch_size: expected a positive integer, got {size!r}")
    return size


def checked_inputs(inputs: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Return the inputs as a tuple, each checked by :func:`check_inputs`, all with the same number of rows."""
    points = as_tuple(inputs)
    for point in points:
        check_inputs(point)
        if len(point) != len(points[0]):
            raise ValueError(f"inputs: expected as many rows in each tensor, got {[len(p) for p in points]}")
    return points


def check_inputs(inputs: Any) -> None:
    """Refuse inputs that no gradient exists for.

    Raises
    ------
    TypeError
        If `inputs` is not a tensor of floating-point numbers.
    ValueError
        If it is empty or holds NaN or infinite values.
    """
    if not isinstance(inputs, Tensor):
        raise TypeError(f"inputs: expected a tensor, got {type(inputs).__name__}")
    if not inputs.is_floating_point():
        raise TypeError(f"inputs: expected floating-point numbers, got {inputs.dtype}")
    if inputs.ndim == 0 or inputs.numel() == 0:
        raise ValueError(f"inputs: expected shape (N, ...) with at least one element, got {tuple(inputs.shape)}")
    finite = torch.isfinite(inputs).reshape(len(inputs), -1).all(dim=1)
    if not finite.all():
        raise ValueError(f"inputs: row {int((~finite).nonzero()[0])} holds NaN or infinite values")


def broadcast_baselines(baselines: Baseline, inputs: Tensor) -> Tensor:
    """Return the baseline of every input: the shape, dtype and device of the inputs.

    Raises
    ------
    TypeError
        If the baselines are neither a number nor a tensor.
    ValueError
        If they are not finite or do not broadcast to the inputs.
    """
    if not isinstance(baselines, (Real, Tensor)):
        raise TypeError(f"baselines: expected a number or a tensor, got {baselines!r}")
    values = torch.as_tensor(baselines, dtype=inputs.dtype, device=inputs.device).detach()
    if not torch.isfinite(values).all():
        raise ValueError("baselines: expected finite values")
    try:
        return values.expand(inputs.shape)
    except RuntimeError:
        raise ValueError(
            f"baselines: shape {tuple(values.shape)} does not broadcast to the inputs' {tuple(inputs.shape)}"
        ) from None


def as_tuple(value: Any) -> tuple[Any, ...]:
    """Return a tuple of arguments; None means no argument."""
    if value is None:
        return ()
    return value if isinstance(value, tuple) else (value,)


def rows_of(arguments: tuple[Any, ...], row: Tensor, rows: int) -> list[Any]:
    """Take from every per-input argument the rows that a batch belongs to."""
    return [
        argument.index_select(0, row.to(argument.device))
        if isinstance(argument, Tensor) and argument.ndim > 0 and len(argument) == rows
        else argument
        for argument in arguments
    ]


def halved(size: int) -> int:
    """Return the batch size to go on with after a GPU ran out of memory."""
    if size == 1:
        raise MemoryError("batch_size: the GPU has no memory for a single input") from None
    torch.cuda.empty_cache()
    return size // 2


def check_outputs(
    outputs: Tensor, base: int, shifts: tuple[int, ...], step: float, features: Tensor, first_row: int = 0
) -> None:
    """Refuse outputs, of shape (N, evaluations per input), that are not finite; say where they arose."""
    finite = torch.isfinite(outputs)
    if finite.all():
        return
    row, item = (~finite).nonzero()[0].tolist()
    where = ""
    if item >= base:
        feature = int(features[(item - base) // len(shifts)])
        where = f" with feature {feature} shifted by {shifts[(item - base) % len(shifts)] * step:+g}"
    raise ValueError(f"model: output is {outputs[row, item].item()} for input {first_row + row}{where}")
