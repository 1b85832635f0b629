"""Checks that gradient sources share: of models, inputs, steps and outputs."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from numbers import Integral, Real
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedBuffer, UninitializedParameter
from torch.nn.utils.parametrizations import _SpectralNorm
from torch.nn.utils.spectral_norm import SpectralNorm

from approxgrad.messages import one_line

Model = Callable[..., Any]
"""Any callable from a batch of inputs to a batch of outputs."""

Baseline = float | Tensor
"""A number for all features, or a tensor that broadcasts to the inputs, such as one input."""

FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)  # torch has no arithmetic for shorter ones

CHANGES = (
    "changes the gradient inside the model, which differences of outputs do not see; Saliency, InputXGradient, "
    "IntegratedGradients, GradientShap and NoiseTunnel over these take a gradient source"
)


def check_deterministic(model: Model) -> None:
    """Refuse, by a ValueError, a model with a layer that evaluations would change, or that makes outputs random.

    Such are lazy layers without weights, and in training mode dropout, running statistics and spectral norms.
    """
    for name, layer in layers(model):
        kind = type(layer).__name__
        own = (*layer._parameters.values(), *layer._buffers.values())
        if any(isinstance(tensor, (UninitializedParameter, UninitializedBuffer)) for tensor in own):
            raise ValueError(
                f"model: layer {name or kind!r} ({kind}) is lazy and has no weights yet; evaluate the model once first"
            )
        # A frozen script has no mode.
        if getattr(layer, "training", False) and _needs_evaluation_mode(layer):
            raise ValueError(f"model: layer {name or kind!r} ({kind}) is in training mode; call model.eval() first")


def layers(model: Any, name: str = "") -> Iterator[tuple[str, nn.Module]]:
    """Yield names and layers of a module, itself first, and nothing for another model.

    Unlike ``named_modules`` it does not need methods of the module, which may give torch's names another meaning.
    """
    if isinstance(model, nn.Module):
        yield name, model
        for part, layer in model._modules.items():
            yield from layers(layer, f"{name}.{part}" if name else part)


def _needs_evaluation_mode(layer: nn.Module) -> bool:
    if isinstance(layer, (nn.modules.batchnorm._NormBase, nn.RReLU)):
        return isinstance(layer, (nn.modules.batchnorm._BatchNorm, nn.RReLU)) or layer.track_running_stats
    if isinstance(layer, (nn.RNNBase, nn.MultiheadAttention)):
        return layer.dropout > 0
    spectral = any(isinstance(hook, SpectralNorm) for hook in layer._forward_pre_hooks.values())
    return spectral or isinstance(layer, (nn.modules.dropout._DropoutNd, _SpectralNorm))


def check_plain_gradient(model: Model) -> None:
    """Refuse, by a ValueError, a call of captum's GuidedBackprop, Deconvolution, DeepLift, DeepLiftShap or LRP.

    They change the gradient in the backward pass, which differences of outputs do not see.
    """
    if (inspect.isfunction(model) or inspect.ismethod(model)) and _from_captum(model):
        raise ValueError(f"gradient: captum's {model.__qualname__.partition('.')[0]} {CHANGES}")
    for _, layer in layers(model):
        if any(map(_from_captum, (*layer._forward_pre_hooks.values(), *layer._forward_hooks.values()))):
            raise ValueError(f"gradient: a method of captum, such as GuidedBackprop, {CHANGES}")


def _from_captum(function: Any) -> bool:
    return str(getattr(function, "__module__", "")).startswith(("captum.attr.", "captum._utils."))


def check_resolved(inputs: tuple[Tensor, ...], steps: Tensor, shifts: tuple[int, ...]) -> None:
    """Refuse, by a ValueError, steps that are lost in every feature: if x + h is x, every difference is zero."""
    widths = [point[0].numel() for point in inputs]
    for point, own in zip(inputs, steps.split(widths), strict=True):
        values = point.reshape(len(point), -1)
        if any(((values + (shift * own).to(point.dtype)) != values).any() for shift in shifts):
            return
    sizes = [point.abs() for point in inputs]
    spacing = min(float((torch.nextafter(size, torch.full_like(size, torch.inf)) - size).min()) for size in sizes)
    kind = str(inputs[0].dtype).removeprefix("torch.")
    raise ValueError(
        f"step: {float(steps.max()):g} is lost in {kind}, x + h is x for every feature of the inputs; expected at "
        f"least {spacing:.1g}"
    )


def checked_batch_size(size: int | None) -> int | None:
    """Return a batch size, or refuse it with a ValueError."""
    if size is not None and (isinstance(size, bool) or not isinstance(size, int) or size < 1):
        raise ValueError(f"batch_size: expected a positive integer, got {size!r}")
    return size


def checked_count(name: str, value: object, least: int) -> int:
    """Return an integer, or refuse it with a ValueError that names the argument."""
    if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
        raise ValueError(f"{name}: expected an integer of at least {least}, got {value!r}")
    return int(value)


def checked_inputs(inputs: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Return the inputs as a tuple, each checked by :func:`check_inputs`, all with the same number of rows."""
    points = as_tuple(inputs)
    for point in points:
        check_inputs(point)
        if len(point) != len(points[0]):
            raise ValueError(f"inputs: expected as many rows in each tensor, got {[len(p) for p in points]}")
    return points


def check_inputs(inputs: Any) -> None:
    """Refuse inputs that are not a dense tensor of floats (TypeError), or that are empty or not finite (ValueError)."""
    if not isinstance(inputs, Tensor):
        raise TypeError(f"inputs: expected a tensor, got {type(inputs).__name__}")
    if inputs.dtype not in FLOATS:
        raise TypeError(f"inputs: expected floating-point numbers, got {inputs.dtype}")
    if inputs.layout != torch.strided or inputs.is_nested or inputs.is_meta:
        kind = "meta" if inputs.is_meta else "nested" if inputs.is_nested else "sparse"
        raise TypeError(f"inputs: expected a dense tensor, got a {kind} one")
    if inputs.ndim == 0 or inputs.numel() == 0:
        raise ValueError(f"inputs: expected shape (N, ...) with at least one element, got {tuple(inputs.shape)}")
    finite = torch.isfinite(inputs).reshape(len(inputs), -1).all(dim=1)
    if not finite.all():
        raise ValueError(f"inputs: row {int((~finite).nonzero()[0])} holds NaN or infinite values")


def check_finite(outputs: Tensor, place: Callable[[int], str]) -> None:
    """Refuse, by a ValueError, outputs (a flat tensor) that are not finite; `place` says in words what one is for."""
    finite = torch.isfinite(outputs)
    if not finite.all():
        item = int((~finite).nonzero()[0])
        raise ValueError(f"model: output is {outputs[item].item()} for {place(item)}")


def broadcast_baselines(baselines: Baseline, inputs: Tensor) -> Tensor:
    """Return the baseline of every input, with the shape, dtype and device of the inputs.

    Baselines that are not finite or do not broadcast raise a ValueError, other objects a TypeError.
    """
    if not isinstance(baselines, (Real, Tensor)):
        raise TypeError(f"baselines: expected a number or a tensor, got {one_line(repr(baselines), 60)}")
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
    """Return the arguments of a batch: of tensors with as many rows as there are inputs, the rows of the batch."""
    return [
        argument.index_select(0, row.to(argument.device))
        if isinstance(argument, Tensor) and argument.ndim > 0 and len(argument) == rows
        else argument
        for argument in arguments
    ]


def is_number(value: object) -> bool:
    """Return whether a value is a real number, which True is not."""
    return isinstance(value, Real) and not isinstance(value, bool)
