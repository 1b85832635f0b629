"""Attribution methods over any gradient source: captum's, and the published variant of Integrated Gradients."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from numbers import Integral
from typing import Any

import torch
from captum.attr import InputXGradient, IntegratedGradients, Saliency
from torch import Tensor

from approxgrad.gradients.batching import PATH_SHARE, memory_budget
from approxgrad.gradients.checks import Baseline, Model, broadcast_baselines, check_deterministic, check_inputs
from approxgrad.gradients.exact import ExactGradient, GradientSource
from approxgrad.gradients.targets import Target, target_indices
from approxgrad.methods.published import integrated_gradients_published

PATH_BUFFERS = 4
"""Tensors of inputs x path points that captum's Integrated Gradients holds at once."""


def saliency(model: Model, inputs: Tensor, target: Any, gradient: GradientSource) -> Tensor:
    """Return the absolute gradient (Simonyan et al., 2014, https://arxiv.org/abs/1312.6034)."""
    method = Saliency(model)
    method.gradient_func = gradient
    return method.attribute(inputs, target=target)


def input_x_gradient(model: Model, inputs: Tensor, target: Any, gradient: GradientSource) -> Tensor:
    """Return input times gradient (Shrikumar et al., 2017, https://arxiv.org/abs/1704.02685)."""
    method = InputXGradient(model)
    method.gradient_func = gradient
    return method.attribute(inputs, target=target)


def integrated_gradients(
    model: Model, inputs: Tensor, target: Any, gradient: GradientSource, *, baselines: Baseline = 0, n_steps: int = 50
) -> Tensor:
    """Return Integrated Gradients (Sundararajan et al., 2017, https://arxiv.org/abs/1703.01365).

    The path integral is captum's Gauss-Legendre quadrature with `n_steps` points, so the exact and the approximated
    attribution use the same points and weights. Inputs are taken in groups, and the path of a large input in parts,
    that bound the memory of the path points.
    """
    method = IntegratedGradients(model)
    method.gradient_func = gradient
    references = broadcast_baselines(baselines, inputs)
    budget = getattr(gradient, "memory_budget", None) or memory_budget(inputs.device)
    points = max(1, int(PATH_SHARE * budget) // (PATH_BUFFERS * inputs[0].numel() * inputs.element_size()))
    group = max(1, points // n_steps)
    results = [
        method.attribute(
            inputs[start : start + group].detach().requires_grad_(),
            baselines=references[start : start + group],
            target=None if target is None else target[start : start + group],
            n_steps=n_steps,
            internal_batch_size=None if points >= n_steps else points,
        )
        for start in range(0, len(inputs), group)
    ]
    return torch.cat(results)


def _published(
    model: Model, inputs: Tensor, target: Any, gradient: GradientSource, *, baselines: Baseline = 0, n_steps: int = 50
) -> Tensor:
    return integrated_gradients_published(
        model, inputs, target, gradient, broadcast_baselines(baselines, inputs), n_steps
    )


METHODS: dict[str, Callable[..., Tensor]] = {
    "saliency": saliency,
    "input_x_gradient": input_x_gradient,
    "integrated_gradients": integrated_gradients,
    "integrated_gradients_published": _published,
}


def attribute(
    model: Model,
    inputs: Tensor,
    *,
    target: Target = None,
    method: str = "saliency",
    gradient: GradientSource | str = "exact",
    check_rows: bool = True,
    **options: Any,
) -> Tensor:
    """Attribute an output of a model to its input features.

    Parameters
    ----------
    model : callable
        A batch of inputs to a batch of outputs. For finite differences any callable will do.
    inputs : Tensor
        Floating-point, shape (N, ...).
    target : Target
        The output that is explained, in any form of :data:`approxgrad.gradients.targets.Target`.
    method : str
        ``saliency``, ``input_x_gradient``, ``integrated_gradients`` or ``integrated_gradients_published``.
    gradient : GradientSource or "exact"
        ``"exact"`` for automatic differentiation, or a :class:`approxgrad.FiniteDifference`.
    **options
        Of the Integrated Gradients methods: `baselines` (number or tensor that broadcasts to the inputs, default
        0) and `n_steps` (number of path points, default 50).

    Returns
    -------
    Tensor
        Attributions with the shape, dtype and device of `inputs`.

    Raises
    ------
    TypeError
        If the inputs are not floating-point, the gradient is no gradient source, or the method lacks an option.
    ValueError
        If the method is unknown, a target is out of range, or inputs, outputs or attributions are not finite.

    Notes
    -----
    Cost in model evaluations per input: :func:`approxgrad.methods.cost.evaluations`. The caller's tensors and the model
    are left as they were.

    Examples
    --------
    >>> import torch
    >>> from approxgrad import FiniteDifference, attribute
    >>> model = lambda x: (x**2).sum(dim=1)
    >>> attribute(model, torch.tensor([[1.0, -2.0]]), gradient=FiniteDifference(0.5, "central"))
    tensor([[2., 4.]])
    """
    check_inputs(inputs)
    if not callable(model):
        raise TypeError(f"model: expected a callable, got {type(model).__name__}")
    check_deterministic(model)
    if not isinstance(method, str) or method not in METHODS:
        raise ValueError(f"method: got {method!r}, expected one of {', '.join(METHODS)}")
    function = METHODS[method]
    _check_options(method, function, options)
    source = ExactGradient() if isinstance(gradient, str) and gradient == "exact" else gradient
    if not callable(source):
        raise TypeError(f"gradient: expected 'exact' or a gradient source such as FiniteDifference, got {gradient!r}")
    indices = target_indices(target, len(inputs))
    per_input: Any = None
    if indices is not None:
        # The forms that captum repeats along a path: a vector for flat outputs, else a list of tuples.
        per_input = indices[:, 0] if indices.shape[1] == 1 else [tuple(row) for row in indices.tolist()]
    result = function(model, inputs.detach().requires_grad_(), per_input, source, **options)
    result = result.detach().to(inputs.dtype)
    finite = torch.isfinite(result).reshape(len(result), -1).all(dim=1)
    if not finite.all():
        row = int((~finite).nonzero()[0])
        raise ValueError(f"gradient: NaN or beyond the range of {inputs.dtype} for input {row}")
    return result


def _check_options(method: str, function: Callable[..., Tensor], options: dict[str, Any]) -> None:
    parameters = inspect.signature(function).parameters.values()
    allowed = [parameter.name for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY]
    for name in options:
        if name not in allowed:
            raise TypeError(f"{name}: no option of {method}, which takes {', '.join(allowed) or 'none'}")
    n_steps = options.get("n_steps", 1)
    if isinstance(n_steps, bool) or not isinstance(n_steps, Integral):
        raise TypeError(f"n_steps: expected a positive integer, got {n_steps!r}")
    if n_steps < 1:
        raise ValueError(f"n_steps: expected a positive integer, got {n_steps}")
