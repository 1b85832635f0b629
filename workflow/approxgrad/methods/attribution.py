"""Attribution of an output of a model to its inputs, with any method over any gradient source."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch import Tensor

from approxgrad.gradients.evaluating.arrays import Given
from approxgrad.gradients.evaluating.batching import memory_budget
from approxgrad.gradients.evaluating.checks import Model, broadcast_baselines, check_inputs
from approxgrad.gradients.evaluating.evaluated import BatchedGradient, GradientSource
from approxgrad.gradients.evaluating.prepared import PreparedModel, prepared
from approxgrad.gradients.evaluating.targets import Target, target_indices
from approxgrad.gradients.source import Evaluated, Exact
from approxgrad.methods.bound import Bound
from approxgrad.methods.method import METHODS, Method
from approxgrad.methods.path_ends import path_ends

RESIDUAL_ROWS = 32
"""Inputs that are evaluated at once for a residual."""

STUDY_OPTIONS = ("baseline", "reference")
"""Options that only the configuration of a study has; here a path begins at `baselines`."""


def attribute(
    model: Model,
    inputs: Any,
    *,
    target: Any = None,
    method: str = "saliency",
    gradient: GradientSource | str = "exact",
    check_rows: bool = True,
    additional_forward_args: Any = None,
    return_residual: bool = False,
    **options: Any,
) -> Any:
    """Attribute an output of a model to its input features.

    Parameters
    ----------
    model : callable
        A batch of inputs to a batch of outputs. For finite differences any callable will do.
    inputs : Tensor, array or DataFrame
        Floating-point, shape (N, ...); integers of arrays and data frames are taken as float64. For arrays and data
        frames a module of torch, or a model that says which numbers it takes, is called with tensors of its own type;
        the inputs are rounded to it once, before the steps are made. A plain function is called with arrays, or with
        data frames that have the same columns (:class:`.arrays.Given`). For a model of several
        inputs, a tuple of tensors of one type and with the same N.
    target : Target, array or Series
        The output that is explained, in any form of :data:`approxgrad.gradients.evaluating.targets.Target`.
    method : str
        A name from :data:`approxgrad.methods.method.METHODS`: ``gradient``, ``smoothgrad``, ``saliency``,
        ``input_x_gradient``, ``integrated_gradients``, ``integrated_gradients_published``, ``occlusion``,
        ``feature_ablation`` or one of your own.
    gradient : GradientSource or "exact"
        ``"exact"`` for automatic differentiation, or a :class:`approxgrad.FiniteDifference`. Occlusion and feature
        ablation take none.
    check_rows : bool
        Whether to refuse a model whose output for a row depends on chance, on other rows or on their number
        (:func:`.rows.check_rows`). A source with ``batch_size=1`` suits models that depend on the
        batch.
    additional_forward_args : Any
        Further arguments of the model, a tuple if there are several, as captum takes them. A tensor whose first axis
        has length N is taken row by row, and each row is then attributed by itself.
    return_residual : bool
        For methods that are complete, whether to return also by how much the attributions miss the change of the output
        from the baseline to the input: their sum minus that change, one number for each input. It takes two evaluations
        for each.
    **options
        Those of the method. `signed=True` keeps the sign of Saliency. All but functions of the gradient take
        `baselines` (number, or tensor, array, series or data frame that broadcasts to the inputs, default 0; for
        several inputs also a tuple with one for each); the Integrated Gradients methods `n_steps` (number of path
        points, default 50), occlusion `window` and `stride`, feature ablation `mask`
        (:mod:`approxgrad.methods.ablation_methods`).

    Returns
    -------
    Tensor, array or DataFrame
        Attributions with the shape, dtype and device of `inputs`, or with index and columns. For integers and columns
        of several types they are float64. With `return_residual`, a pair of these and the residuals, float64 of shape
        (N,), as tensor or array.

    Raises
    ------
    TypeError
        If the inputs are not floating-point, the gradient is not a gradient source, the method lacks an option, or the
        outputs are not real floating-point numbers.
    ValueError
        If the method is unknown, a target is out of range, inputs, outputs or attributions are not finite, or the rows
        of the model are not independent and repeatable.

    Notes
    -----
    Cost in model evaluations per input: :meth:`approxgrad.methods.method.Method.evaluations`, and at most 31 to look at
    the model (:class:`approxgrad.FiniteDifference`). The caller's tensors and the model are left as they were.

    Examples
    --------
    >>> import torch
    >>> from approxgrad import FiniteDifference, attribute
    >>> model = lambda x: (x**2).sum(dim=1)
    >>> attribute(model, torch.tensor([[1.0, -2.0]]), gradient=FiniteDifference(0.5, "central"))
    tensor([[2., 4.]])
    """
    if not callable(model):
        raise TypeError(f"model: expected a callable, got {type(model).__name__}")
    bound, returned_as = None, inputs
    if isinstance(inputs, tuple) or additional_forward_args is not None:
        bound = Bound(model, inputs, additional_forward_args)
        inputs = bound.joined
    given = Given(model, inputs)
    check_inputs(given.inputs)
    if not isinstance(method, str) or method not in METHODS:
        raise ValueError(f"method: got {method!r}, expected one of {', '.join(METHODS)}")
    own = configured_method(method, options)
    source: Any = gradient
    if isinstance(gradient, str) and gradient == Exact.name:
        source = (Exact() if own.takes_gradients else Evaluated()).gradient(None)
    elif not own.takes_gradients:
        raise TypeError(f"gradient: {method} takes none; leave it out")
    if own.complete:
        check_points(options, source)
    if not callable(source) and own.takes_gradients:
        such = "FiniteDifference(0.01, 'central')"
        raise TypeError(f"gradient: expected 'exact' or a gradient source such as {such}, got {gradient!r}")
    if isinstance(returned_as, tuple) and not own.takes_gradients:
        raise TypeError(f"inputs: {method} takes one tensor, got {len(returned_as)}")
    if return_residual and not own.complete:
        raise TypeError(f"return_residual: the attributions of {method} need not sum to a change of the output")
    starts = None
    if hasattr(own, "baseline"):
        beginning = options.get("baselines", 0)
        starts = bound.packed(beginning) if bound else broadcast_baselines(given.baselines(beginning), given.inputs)
    indices = target_indices(given.target(target), len(given.inputs), given.inputs.device)
    groups = bound.groups() if bound else [(slice(None), given.model)]
    results, residuals = [], []
    for rows, function in groups:
        points, ends = given.inputs[rows], None if starts is None else starts[rows]
        explained = None if indices is None else indices[rows]
        results.append(attribute_with(own, function, points, explained, source, ends, check_rows=check_rows))
        if return_residual and ends is not None:
            residuals.append(_residual(function, points, ends, explained, results[-1]))
    found = torch.cat(results)
    returned = bound.returned(found) if bound else given.returned(found)
    if not return_residual:
        return returned
    missed = torch.cat(residuals)
    return returned, missed if isinstance(inputs, Tensor) else missed.numpy()


def _residual(model: Model, points: Tensor, starts: Tensor, target: Target, attributions: Tensor) -> Tensor:
    """Return the sum of the attributions of each input minus the change of the output, float64 of shape (N,)."""
    output, at_start = path_ends(model, points, starts, target, RESIDUAL_ROWS)
    return attributions.double().flatten(1).sum(dim=1).cpu() - torch.from_numpy(output - at_start)


def attribute_with(
    method: Method,
    model: Model,
    inputs: Tensor,
    target: Target,
    gradient: GradientSource,
    baselines: Tensor | None = None,
    *,
    check_rows: bool = True,
) -> Tensor:
    """Attribute with a method whose options are set; arguments, result and errors as of :func:`attribute`.

    `baselines` broadcast to the inputs.
    """
    indices = target_indices(target, len(inputs), inputs.device)
    per_input: Any = None
    if indices is not None:
        # The forms that captum repeats along a path: a vector for flat outputs, else a list of tuples.
        per_input = indices[:, 0] if indices.shape[1] == 1 else [tuple(row) for row in indices.tolist()]
    with torch.inference_mode(mode=False):
        points = inputs.detach().clone().requires_grad_()
        starts = None if baselines is None else baselines.to(points).expand(points.shape)
        ready = prepared_model(gradient, model, points, indices, check_rows=check_rows)
        result = method.attribute(ready, points, per_input, gradient, starts)
    result = result.detach().to(inputs.dtype)
    finite = torch.isfinite(result).reshape(len(result), -1).all(dim=1)
    if not finite.all():
        row = int((~finite).nonzero()[0])
        raise ValueError(f"gradient: NaN or beyond the range of {inputs.dtype} for input {row}")
    return result


def prepared_model(
    gradient: GradientSource, model: Model, inputs: Tensor, indices: Tensor | None, *, check_rows: bool
) -> PreparedModel:
    """Return a model as a gradient source evaluates it, looked at once for all gradients of an attribution."""
    ready = prepared(model)
    if ready is not None:
        return model  # type: ignore[return-value]
    if isinstance(gradient, BatchedGradient):
        return gradient.prepare(model, (inputs,), (), indices, check_rows=check_rows)
    budget = memory_budget(inputs.device)
    return PreparedModel(
        model, (inputs,), (), indices, check_rows=check_rows, batch_size=None, budget=budget, faster=False
    )


def check_points(options: dict[str, Any], gradient: Any) -> None:
    """Refuse, by a TypeError, points of a path beside a gradient that chooses them."""
    if "n_steps" in options and getattr(gradient, "chooses_points", False):
        raise TypeError("n_steps: the points of the path follow from the gradient's budget; leave it out")


def configured_method(method: str, options: dict[str, Any]) -> Method:
    """Return a method with options as :func:`attribute` takes them, without its `baselines`.

    Raises a TypeError if the method lacks an option.
    """
    described = METHODS[method]
    own = [field.name for field in dataclasses.fields(described) if field.name not in STUDY_OPTIONS]
    allowed = [*(["baselines"] if hasattr(described, "baseline") else []), *own]
    for name in options:
        if name not in allowed:
            raise TypeError(f"{name}: not an option of {method}, which takes {', '.join(allowed) or 'none'}")
    needed = {field.name for field in dataclasses.fields(described) if field.default is dataclasses.MISSING}
    for name in sorted(needed - options.keys()):
        raise TypeError(f"{name}: {method} needs it")
    return described(**{name: value for name, value in options.items() if name != "baselines"})
