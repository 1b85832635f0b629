"""Gradients from model evaluations: the finite-difference engine."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from typing import Any, Literal

import torch
from torch import Tensor

from approxgrad.gradients.evaluating.batching import OUTPUT_SHARE, balanced_slices
from approxgrad.gradients.evaluating.captum_call import CaptumCall
from approxgrad.gradients.evaluating.checks import Model, check_resolved
from approxgrad.gradients.evaluating.evaluated import Stream
from approxgrad.gradients.evaluating.evaluation import evaluation
from approxgrad.gradients.evaluating.perturbations import Perturbations, Steps, checked_steps, steps_of_features
from approxgrad.gradients.evaluating.targets import Target
from approxgrad.gradients.path_steps import PATH_ONLY, path_sums
from approxgrad.gradients.propagation.following import Evaluation, Following, checked_evaluation
from approxgrad.gradients.source import PATH
from approxgrad.gradients.stencils import stencil

ARITHMETICS = ("float64", "bfloat16", "float16")
# Arrays of 8-byte numbers, one for each evaluation of the rows that are differentiated together, in memory at once.
OUTPUT_BUFFERS = 14


class FiniteDifference(Following, CaptumCall):
    """Gradient from model evaluations only: no weights, no autograd and no ``nn.Module`` needed.

    The derivative along feature i of the target output f_t at x is, for the forward scheme,
    ``(f_t(x + h e_i) - f_t(x)) / h``; :data:`approxgrad.gradients.stencils.SCHEMES` lists the schemes. An instance has
    the signature of captum's ``gradient_func``, so it works with every gradient method of captum::

        integrated_gradients = captum.attr.IntegratedGradients(model)
        integrated_gradients.gradient_func = FiniteDifference(step=0.01)

    Parameters
    ----------
    step : float, Tensor or "path"
        Step h, positive, in units of the features. A tensor that broadcasts to one input gives every feature its own
        step; several inputs may have a tuple with a step for each. For Integrated Gradients ``path`` makes the step
        the increment of each feature from one point of the path to the next, with its sign
        (:func:`approxgrad.gradients.path_steps.path_sums`).
    scheme : str
        ``forward``, ``backward`` or ``central``.
    batch_size, memory_budget, check_rows
        As in :class:`approxgrad.gradients.evaluating.evaluated.BatchedGradient`, which also describes attributes.
    nominal : bool
        Whether to divide by h as given, like the original study, instead of by the step that was really made.
    evaluation : str
        ``dense`` evaluates the model at every perturbed point. ``propagated`` follows the difference itself through the
        layers of a ``torch.nn.Module``, where nothing cancels, and only where the perturbation has an effect: see
        ``docs/propagation.md``. ``auto`` does so where it takes fewer operations. What was done and what it saved
        stands in the attributes of :class:`approxgrad.gradients.propagation.following.Following`.
    arithmetic : str, optional
        Precision in which propagated changes are computed: ``float64``, ``bfloat16`` or ``float16``; by default that of
        the inputs.

    Raises
    ------
    TypeError, ValueError
        If an argument is not valid.

    Notes
    -----
    Cost with d features: d + 1 evaluations per input for ``forward`` and ``backward``, 2 d for ``central``. The checks
    of a call take at most 31 evaluations, at most 15 without `check_rows`, and more only if outputs differ. The
    truncation error falls like h (central: h squared); the rounding error grows like eps ``|f_t|`` / h. Differences are
    taken in float64 and divided by ``(x + h e_i) - x`` as the dtype made it, so the only rounding is the model's own.
    A step that is lost in some features gives a warning, one that is lost in all is refused.
    """

    def __init__(
        self,
        step: Steps | Literal["path"],
        scheme: str = "forward",
        *,
        batch_size: int | None = None,
        memory_budget: int | None = None,
        check_rows: bool = True,
        nominal: bool = False,
        evaluation: Evaluation = "dense",
        arithmetic: Literal["float64", "bfloat16", "float16"] | None = None,
    ) -> None:
        super().__init__(batch_size, memory_budget=memory_budget, check_rows=check_rows)
        self.along_path = isinstance(step, str) and step == PATH
        if self.along_path and evaluation == "propagated":
            raise ValueError("evaluation: expected dense with the step path, which needs the evaluations themselves")
        if self.along_path and nominal:
            raise ValueError("nominal: expected False with the step path, whose increments are the steps that are made")
        self.step = checked_steps(1.0 if self.along_path else step)  # type: ignore[arg-type]  # no other text is left
        self.stencil = stencil(scheme)
        self.scheme = scheme
        self.nominal = nominal
        self.evaluation = checked_evaluation(evaluation)
        self.few_evaluations = evaluation == "propagated"
        if arithmetic not in (None, *ARITHMETICS):
            raise ValueError(f"arithmetic: got {arithmetic!r}, expected one of {', '.join(ARITHMETICS)}")
        if arithmetic is not None and evaluation != "propagated":
            raise ValueError("arithmetic: only propagated differences have it; expected evaluation='propagated'")
        self.arithmetic = arithmetic

    def __repr__(self) -> str:
        step = f"{self.step:g}" if isinstance(self.step, float) else "one for each feature"
        step = PATH if self.along_path else step
        how = "" if self.evaluation == "dense" else f", evaluation={self.evaluation!r}"
        how += "" if self.arithmetic is None else f", arithmetic={self.arithmetic!r}"
        return f"FiniteDifference(step={step}, scheme={self.scheme!r}{how})"

    def differentiated(self, stream: Stream) -> tuple[Tensor, ...]:
        """Return the approximated gradients."""
        widths = [point[0].numel() for point in stream.inputs]
        columns = torch.arange(sum(widths), device=stream.device)
        gradients = tuple(torch.empty_like(point, memory_format=torch.contiguous_format) for point in stream.inputs)
        for part, derivatives in self._groups(stream, columns, self.nominal):
            for gradient, own in zip(gradients, derivatives.split(widths, dim=1), strict=True):
                gradient[part] = own.to(gradient.dtype).reshape(gradient[part].shape)
        return gradients

    def partial_derivatives(
        self,
        forward_fn: Model,
        inputs: tuple[Tensor, ...],
        features: Tensor,
        target: Target = None,
        additional_forward_args: Any = None,
        *,
        nominal: bool | None = None,
    ) -> Tensor:
        """Return derivatives along chosen features only: float64 of shape (N, K).

        Parameters
        ----------
        forward_fn, inputs, target, additional_forward_args, nominal
            As in :meth:`__call__`; `nominal` replaces the instance's own.
        features : Tensor
            K feature numbers, counted through the flattened inputs of one row.
        """
        divide = self.nominal if nominal is None else nominal
        with evaluation():
            stream = self.stream(forward_fn, inputs, target, additional_forward_args)
            return torch.cat([derivatives for _, derivatives in self._groups(stream, features, divide)])

    def path_attributions(
        self, forward_fn: Model, inputs: Tensor, baselines: Tensor, target: Target, n_steps: int
    ) -> Tensor:
        """Return the Integrated Gradients attribution for the step ``path``, shaped like the inputs.

        Parameters
        ----------
        forward_fn, inputs, target
            As in :meth:`__call__`; the inputs are a single tensor.
        baselines : Tensor
            Where paths begin, shaped like the inputs.
        n_steps : int
            Steps of each path.
        """
        with evaluation():
            stream = self.stream(forward_fn, inputs, target)
            starts, budget = baselines.detach().to(stream.inputs[0]), self.budget(stream.device)
            sums = path_sums(stream, starts, self.stencil.shifts, n_steps, budget)
        return sums.to(inputs.dtype).reshape(inputs.shape)

    def _groups(self, stream: Stream, features: Tensor, nominal: bool) -> Iterator[tuple[slice, Tensor]]:
        """Yield the derivatives of groups of rows whose outputs fill a small share of the memory budget."""
        if self.along_path:
            raise ValueError(PATH_ONLY)
        steps = steps_of_features(self.step, stream.inputs)
        plan = self.plan(stream, self.evaluation, **self._arithmetic(steps[features]))
        if plan is not None:
            from approxgrad.gradients.propagation.engine import derivatives

            yield from derivatives(stream, plan, self.stencil, steps, features, self.budget(stream.device))
            return
        check_resolved(stream.inputs, steps, self.stencil.shifts)
        bytes_per_row = OUTPUT_BUFFERS * 8 * self.stencil.evaluations(len(features))
        largest = max(1, int(OUTPUT_SHARE * self.budget(stream.device)) // bytes_per_row)
        lost = 0
        for part in balanced_slices(stream.rows, largest):
            moved = Perturbations(self.stencil, steps, stream.inputs, features, part)
            outputs = stream.evaluate(moved).reshape(part.stop - part.start, -1)
            lost += int((moved.divisors == 0).sum())
            divisors = steps[features].expand_as(moved.divisors) if nominal else moved.divisors
            yield part, self._combine(outputs).div_(divisors).masked_fill_(moved.divisors == 0, 0)
        self.lost_steps += lost
        if lost:
            kind = str(stream.inputs[0].dtype).removeprefix("torch.")
            warnings.warn(
                f"step: lost in {kind} for {lost:,} of {stream.rows * len(features):,} derivatives, where x + h is x; "
                "they are taken as 0. A larger step, one step for each feature, or float64 helps",
                stacklevel=4,
            )

    def _arithmetic(self, steps: Tensor) -> dict[str, Any]:
        """Return the precision of the changes, and a power of two about as large as the largest step as their unit."""
        if self.arithmetic is None or not len(steps):
            return {}
        unit = 1.0 if self.arithmetic == "float64" else 2.0 ** round(math.log2(float(steps.max())))
        return {"arithmetic": getattr(torch, self.arithmetic), "unit": unit}

    def _combine(self, outputs: Tensor) -> Tensor:
        """Return the sums of the outputs of each row, weighted by the stencil."""
        weights, base = self.stencil.weights, int(self.stencil.uses_base)
        shifted = outputs[:, base:].reshape(len(outputs), -1, len(self.stencil.shifts))
        total = shifted[:, :, 0] * weights[self.stencil.shifts[0]]
        for position, offset in enumerate(self.stencil.shifts[1:], start=1):
            total += weights[offset] * shifted[:, :, position]
        if base:
            total += weights[0] * outputs[:, :1]
        return total
