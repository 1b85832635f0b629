"""Gradients from differences along orthonormal directions, each of which moves all features at once."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from approxgrad.gradients.bases import RandomCosines
from approxgrad.gradients.batching import OUTPUT_SHARE, balanced_slices
from approxgrad.gradients.checks import Model
from approxgrad.gradients.evaluated import BatchedGradient, Stream
from approxgrad.gradients.evaluation import evaluation
from approxgrad.gradients.moves import Directed, rounded_share
from approxgrad.gradients.perturbations import Steps, checked_steps, steps_of_features
from approxgrad.gradients.stencils import Stencil, stencil
from approxgrad.gradients.targets import Target

# Arrays of 8-byte numbers that are in memory at once: of directions x features, and for each output.
DIRECTION_BUFFERS, OUTPUT_BUFFERS = 8, 8
# A feature whose moves lose more than this share to rounding is not moved: its derivative is lost.
LOST_SHARE = 0.5
# Share of the gradient that the rounding of the moves may take, and the most refinements until then.
STEP_ERROR, REFINEMENTS = 1e-7, 50


class DirectionalDifference(BatchedGradient):
    """Gradient from differences along a random orthonormal basis, where each step moves all features.

    With directions u_k and a step h the derivatives ``D_k = (f_t(x + h u_k) - f_t(x - h u_k)) / 2 h`` give the gradient
    ``sum_k D_k u_k``. The output of a quantised network is a staircase: a step along one feature crosses few stairs
    unless it leaves the data, one along all features crosses many, each feature moving by ``h / sqrt(d)`` only. An
    instance has the signature of captum's ``gradient_func``, as :class:`approxgrad.FiniteDifference`.

    Parameters
    ----------
    step : float or Tensor
        Length h of a step, positive, in units of the features. A tensor that broadcasts to one input gives every
        feature a unit of its own: feature i is moved by ``h_i u_ki``. Several inputs may have a tuple.
    scheme : str
        ``forward``, ``backward`` or ``central``.
    seed : int
        Of the directions, which are the same for all inputs and on every device.
    batch_size, memory_budget, check_rows
        As in :class:`approxgrad.gradients.evaluated.BatchedGradient`, which also describes the attributes.

    Raises
    ------
    TypeError, ValueError
        If an argument is not valid.

    Notes
    -----
    Cost with d features: d + 1 evaluations per input for ``forward`` and ``backward``, 2 d for ``central``, and the
    checks of :class:`approxgrad.FiniteDifference`; the directions add the work of a few matrix products of d x d. The
    dtype rounds every entry of x + h u. The gradient is that of the steps that were really made: it solves ``M g = y``
    with the made steps M and the differences y of the outputs, by refinement of the solution for exact steps. Where
    rounding takes most of a feature's moves, the derivative is taken as 0, with a warning; a step that is lost in all
    features is refused.
    """

    def __init__(
        self,
        step: Steps,
        scheme: str = "central",
        *,
        seed: int = 0,
        batch_size: int | None = None,
        memory_budget: int | None = None,
        check_rows: bool = True,
    ) -> None:
        super().__init__(batch_size, memory_budget=memory_budget, check_rows=check_rows)
        if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
            raise ValueError(f"seed: expected an integer of at least 0, got {seed!r}")
        self.step: Steps = checked_steps(step)
        self.stencil = stencil(scheme)
        self.scheme = scheme
        self.seed = seed

    def __repr__(self) -> str:
        step = f"{self.step:g}" if isinstance(self.step, float) else "one for each feature"
        return f"DirectionalDifference(step={step}, scheme={self.scheme!r}, seed={self.seed})"

    def __call__(
        self,
        forward_fn: Model,
        inputs: Tensor | tuple[Tensor, ...],
        target_ind: Target = None,
        additional_forward_args: Any = None,
    ) -> tuple[Tensor, ...]:
        """Return the approximated gradient; arguments and errors as in :class:`approxgrad.FiniteDifference`.

        Raises
        ------
        ValueError
            Also if the step is lost in every feature.
        """
        with evaluation():
            stream = self.stream(forward_fn, inputs, target_ind, additional_forward_args)
            widths = [point[0].numel() for point in stream.inputs]
            basis = RandomCosines(sum(widths), self.seed, stream.device)
            steps = steps_of_features(self.step, stream.inputs)
            gradients = tuple(torch.empty_like(point, memory_format=torch.contiguous_format) for point in stream.inputs)
            kept, error = self._kept(stream, steps)
            share = int(OUTPUT_SHARE * self.budget(stream.device)) // 2
            elements = share // (8 * DIRECTION_BUFFERS)
            per_row = 8 * OUTPUT_BUFFERS * basis.features * len(self.stencil.shifts)
            for part in balanced_slices(stream.rows, max(1, share // per_row)):
                found = _Rows(stream, part, basis, steps, self.stencil, elements, kept).gradient(error)
                for gradient, own in zip(gradients, found.split(widths, dim=1), strict=True):
                    gradient[part] = own.to(gradient.dtype).reshape(gradient[part].shape)
        return gradients

    def _kept(self, stream: Stream, steps: Tensor) -> tuple[Tensor | None, float]:
        """Return which features can be moved, of shape (N, d), and the largest share that rounding takes of them.

        None stands for all of them.
        """
        shares = torch.cat(
            [
                rounded_share(point.reshape(stream.rows, -1), own / math.sqrt(len(steps)))
                for point, own in zip(stream.inputs, steps.split([p[0].numel() for p in stream.inputs]), strict=True)
            ],
            dim=1,
        )
        kept = shares <= LOST_SHARE
        lost = int((~kept).sum())
        if lost == 0:
            return None, float(shares.max())
        kind = str(stream.inputs[0].dtype).removeprefix("torch.")
        if lost == kept.numel():
            least = 2 * float((steps * shares).min()) / LOST_SHARE
            raise ValueError(
                f"step: {float(steps.max()):g} is lost in {kind}, x + h u is x for every feature of the inputs; "
                f"expected at least {least:.1g}"
            )
        self.lost_steps += lost
        warnings.warn(
            f"step: lost in {kind} for {lost:,} of {kept.numel():,} derivatives, where rounding takes most of h u; "
            "they are taken as 0. A larger step, one step for each feature, or float64 helps",
            stacklevel=3,
        )
        return kept, float(shares[kept].max())


class _Rows:
    """Some rows of the inputs and what differences say about them; so many elements of directions are made at once."""

    def __init__(
        self,
        stream: Stream,
        rows: slice,
        basis: RandomCosines,
        steps: Tensor,
        scheme: Stencil,
        elements: int,
        kept: Tensor | None,
    ) -> None:
        self._stream, self._rows, self._basis, self._steps = stream, rows, basis, steps
        self._stencil, self._elements, self._kept = scheme, elements, kept
        weights = [scheme.weights[shift] for shift in scheme.shifts]
        self._weights = torch.tensor(weights, dtype=torch.float64, device=stream.device)
        self._slices = balanced_slices(basis.features, max(1, min(basis.features, elements // basis.features)))

    def gradient(self, share: float) -> Tensor:
        """Return the gradient, float64 of shape (rows, d), if rounding takes at most this share of each move.

        With directions U, moves S of each feature and the rounding E of the steps ``M = U S + E``, the solution for
        exact steps is off by ``S^-1 U^T E`` times the gradient, and each refinement multiplies the error by that. U and
        E are as good as independent, so its largest eigenvalue is the root mean square share over the features.
        """
        differences: list[Tensor] = []
        base: Any = 0
        total: Any = 0
        for part in self._slices:
            directions = self._basis.directions(part)
            # With the first ones, so that the output at the inputs comes from evaluations like the others.
            own_base = int(self._stencil.uses_base and part.start == 0)
            outputs = self._outputs(directions * self._steps, part, own_base)
            if own_base:
                base = self._stencil.weights[0] * outputs[:, :1]
            differences.append(outputs[:, own_base:].unflatten(1, (-1, len(self._weights))) @ self._weights + base)
            total = total + differences[-1] @ directions
        gradient: Tensor = total / self._steps
        error = share
        for _ in range(REFINEMENTS):
            if error <= STEP_ERROR:
                break
            correction = self._correction(differences, gradient)
            gradient += correction
            sizes = gradient.norm(dim=1).clamp(min=torch.finfo(gradient.dtype).tiny)
            error = share * float((correction.norm(dim=1) / sizes).max())
        return gradient if self._kept is None else gradient * self._kept[self._rows]

    def _outputs(self, moves: Tensor, part: slice, base: int) -> Tensor:
        """Return the outputs along some directions, of shape (rows, base + K times shifts)."""
        points = Directed(self._stencil, self._stream.inputs, moves, self._rows, part.start, base, self._kept)
        return self._stream.evaluate(points).reshape(self._rows.stop - self._rows.start, -1)

    def _correction(self, differences: list[Tensor], gradient: Tensor) -> Tensor:
        """Return what a gradient lacks to explain the differences along the steps that were really made."""
        total: Any = 0
        for part, own in zip(self._slices, differences, strict=True):
            directions = self._basis.directions(part)
            made = self._made(directions * self._steps, part)
            explained = [(steps @ gradient[rows].unsqueeze(2)).squeeze(2) for rows, steps in made]
            total = total + (own - torch.cat(explained)) @ directions
        correction: Tensor = total / self._steps
        return correction

    def _made(self, moves: Tensor, part: slice) -> Iterator[tuple[slice, Tensor]]:
        """Yield the steps that were made along some directions: (rows, K, d), for a few rows at a time."""
        first, few = self._rows.start, max(1, self._elements // (moves.numel() * len(self._weights)))
        for rows in balanced_slices(self._rows.stop - first, few):
            own = slice(first + rows.start, first + rows.stop)
            made = Directed(self._stencil, self._stream.inputs, moves, own, part.start, kept=self._kept)
            yield rows, made.made(self._weights)
