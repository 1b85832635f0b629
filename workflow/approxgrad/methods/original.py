"""The interface of the original study: three approximated attributions by forward differences."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from approxgrad.gradients.evaluating.arrays import Given
from approxgrad.gradients.evaluating.checks import Model, check_deterministic, check_inputs
from approxgrad.gradients.evaluating.evaluation import evaluation
from approxgrad.gradients.evaluating.targets import as_outputs
from approxgrad.gradients.finite_differences import FiniteDifference
from approxgrad.methods.attribution import attribute

Inputs = Any
"""A batch as :func:`approxgrad.attribute` takes it, or a list of tensors: an image as a batch of one, a table row as a
plain vector."""


class ApproxAttribution:
    """Approximated attributions of a model, called as in the original study but evaluated in batches.

    Parameters
    ----------
    model : callable
        A batch of inputs to a batch of outputs.

    Notes
    -----
    Every method returns one flat tensor (an array for arrays and data frames) over all features of all inputs, which
    callers reshape. The target is an
    output for all inputs or one for each; the default, 0, also stands for the only output of a regressor that returns
    shape (N,). Differences are divided by the step as it was given. Cost per input with d features: d + 1 evaluations,
    for :meth:`int_grad_approx` `riemann_step` times as many, and a few to look at the model.
    """

    def __init__(self, model: Model) -> None:
        self.model = model

    def grad_approx(self, h: float, X: Inputs, target: Any = 0) -> Tensor:  # noqa: N803 - the original's name
        """Return Saliency: the absolute forward difference with step `h`."""
        return self._attribute("saliency", h, X, target)

    def grad_x_i_approx(self, h: float, X: Inputs, target: Any = 0) -> Tensor:  # noqa: N803 - the original's name
        """Return Gradient x Input: the input times the forward difference with step `h`."""
        return self._attribute("input_x_gradient", h, X, target)

    def int_grad_approx(
        self,
        h: float,
        X: Inputs,  # noqa: N803 - the original's name
        baseline: Any = 0,
        riemann_step: int = 50,
        target: Any = 0,
    ) -> Any:
        """Return the published variant of Integrated Gradients (see :mod:`approxgrad.methods.path_average`).

        The baseline is a number, or a tensor or array shaped like one input.
        """
        return self._attribute("integrated_gradients_published", h, X, target, baselines=baseline, n_steps=riemann_step)

    def _attribute(self, method: str, step: float, inputs: Inputs, target: Any, **options: Any) -> Any:
        batch = _stacked(inputs) if isinstance(inputs, Sequence) else inputs
        source = FiniteDifference(step, nominal=True)
        target = self._only_output(batch, target)
        found = attribute(self.model, batch, target=target, method=method, gradient=source, **options)
        return (found.to_numpy() if hasattr(found, "to_numpy") else found).reshape(-1)

    def _only_output(self, batch: Any, target: Any) -> Any:
        """Return None in place of target 0 for a model with one output per input."""
        if not isinstance(target, int) or target != 0 or not callable(self.model):
            return target
        given = Given(self.model, batch)
        check_inputs(given.inputs)
        check_deterministic(self.model)
        try:
            with evaluation():
                outputs = as_outputs(given.model(given.inputs[:1].detach().clone()))
        except Exception:  # noqa: BLE001 - whoever looks at the model says what is wrong
            return target
        return None if outputs.ndim < 2 and outputs.numel() == 1 else target


def _stacked(inputs: Sequence[Tensor]) -> Tensor:
    """Join a list of images (each a batch of one) or of table rows (each a vector) into one batch."""
    if not inputs or not all(isinstance(item, Tensor) for item in inputs):
        raise TypeError("X: expected a batch, or a list of tensors")
    rows = [item.unsqueeze(0) if item.ndim == 1 else item for item in inputs]
    if any(len(row) != 1 for row in rows):
        raise ValueError(f"X: expected vectors or batches of one, got shapes {[tuple(item.shape) for item in inputs]}")
    if len({row.shape[1:] for row in rows}) > 1:
        raise ValueError(f"X: expected inputs of one shape, got {sorted({tuple(row.shape[1:]) for row in rows})}")
    return torch.cat(rows)
