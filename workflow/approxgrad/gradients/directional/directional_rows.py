"""Derivatives of some rows of the inputs along directions, put together to gradients."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from approxgrad.gradients.directional.bases import Basis
from approxgrad.gradients.directional.moves import Directed
from approxgrad.gradients.directional.prediction import Estimate
from approxgrad.gradients.directional.spending import Spending
from approxgrad.gradients.evaluating.batching import balanced_slices
from approxgrad.gradients.evaluating.evaluated import Stream
from approxgrad.gradients.stencils import Stencil

# Share of the gradient that the rounding of the moves may take: of a whole one, and of one that directions are missing
# from, which take far more. And the most refinements until then.
STEP_ERROR, ROUGH_STEP_ERROR, REFINEMENTS = 1e-7, 1e-3, 50
# Directions after which it is asked whether they will do.
STAGE = 32


class DirectionalRows:
    """Some rows of the inputs and what differences along directions say about them.

    Parameters
    ----------
    stream, rows, scheme
        The evaluations, which rows of its inputs, and the scheme.
    steps : Tensor
        By which directions are multiplied, float64 of shape (d,).
    elements : int
        How many elements of directions are made at a time.
    kept : Tensor or None
        Which features of all inputs can be moved, of shape (N, d); None for all.
    """

    def __init__(
        self, stream: Stream, rows: slice, steps: Tensor, scheme: Stencil, elements: int, kept: Tensor | None
    ) -> None:
        self._stream, self._rows, self._steps = stream, rows, steps
        self._stencil, self._elements, self._kept = scheme, elements, kept
        weights = [scheme.weights[shift] for shift in scheme.shifts]
        self._weights = torch.tensor(weights, dtype=torch.float64, device=stream.device)
        self._base: Tensor | None = None

    def differences(self, directions: Tensor, first: int = 0) -> Tensor:
        """Return the weighted differences along some directions, of shape (K, d): float64 of shape (rows, K).

        They are the derivatives times the step. `first` is the number of the first direction, for messages.
        """
        # With the first ones, so that the output at the inputs comes from evaluations like the others.
        own_base = int(self._stencil.uses_base and self._base is None)
        moves = directions * self._steps
        points = Directed(self._stencil, self._stream.inputs, moves, self._rows, first, own_base, self._kept)
        outputs = self._stream.evaluate(points).reshape(self._rows.stop - self._rows.start, -1)
        if own_base:
            self._base = self._stencil.weights[0] * outputs[:, :1]
        found = outputs[:, own_base:].unflatten(1, (-1, len(self._weights))) @ self._weights
        return found if self._base is None else found + self._base

    def estimate(
        self, basis: Basis, order: Tensor, spent: Spending, probes: Basis, share: float, quality: float | None
    ) -> Estimate:
        """Return the mean gradient over the points of each input, with the derivatives along some probes.

        Parameters
        ----------
        basis, order, share
            As for :meth:`gradient`.
        spent : Spending
            How many points of each input follow each other in the rows, and how many of the probes are taken.
        probes : Basis
            Random directions.
        quality : float or None
            Predicted cosine that will do for all inputs.
        """
        unit = self._steps.max()

        def mean(values: Tensor) -> Tensor:
            return values.unflatten(0, (-1, spent.points)).mean(dim=1) / unit

        slopes = mean(self._slopes(probes, spent.probes))

        def so_far(total: Tensor, differences: list[Tensor]) -> Estimate:
            gradient, taken = mean(total), sum(own.shape[1] for own in differences)
            scale = torch.ones_like(gradient[:, 0])
            if not basis.orthonormal:
                gradient *= basis.features / taken
                along = basis.features / taken * mean(torch.cat(differences, dim=1)).square().sum(dim=1)
                scale = along / gradient.square().sum(dim=1)
            directions = torch.full_like(scale, taken, dtype=torch.long)
            return Estimate(gradient, scale, slopes, directions, (directions == basis.features) & basis.orthonormal)

        def enough(total: Tensor, differences: list[Tensor]) -> bool:
            return bool((so_far(total, differences).cosines(probes)[2] >= (quality or 0)).all())

        return so_far(*self.gradient(basis, order, share, None if quality is None else enough))

    def _slopes(self, probes: Basis, count: int) -> Tensor:
        """Return the differences along the first directions of a basis: float64 of shape (rows, count)."""
        found = [self.differences(probes.directions(part)) for part in self._parts(count, probes) if count]
        none = torch.empty(self._rows.stop - self._rows.start, 0, dtype=torch.float64, device=self._stream.device)
        return torch.cat([none, *found], dim=1)

    def gradient(
        self, basis: Basis, order: Tensor, share: float, enough: Callable[[Tensor, list[Tensor]], bool] | None = None
    ) -> tuple[Tensor, list[Tensor]]:
        """Return the gradient times the steps, from directions of a basis in an order.

        Parameters
        ----------
        basis, order : Basis, Tensor
            The directions, and the numbers of those that are taken.
        share : float
            Which part of each move rounding takes at most.
        enough : callable, optional
            Asked after some directions, with what is returned then, whether these will do.

        Returns
        -------
        gradient : Tensor
            ``sum_k y_k u_k`` with differences y and directions u, float64 of shape (rows, d).
        differences : list of Tensor
            The differences y along the directions that were taken, each of shape (rows, K).

        Notes
        -----
        With directions U, moves S of each feature and the rounding E of the steps ``M = U S + E``, the solution for
        exact steps is off by ``U^T E S^-1`` times the gradient, and each refinement multiplies the error by that. U and
        E are as good as independent, so its largest eigenvalue is the root mean square share over the features.
        """
        differences: list[Tensor] = []
        parts = self._parts(len(order), basis, STAGE if enough else None)
        total: Any = 0
        for part in parts:
            directions = basis.directions(order[part])
            differences.append(self.differences(directions, part.start))
            total = total + differences[-1] @ directions
            if enough is not None and enough(total, differences):
                break
        error, goal = share, STEP_ERROR if len(order) == basis.features else ROUGH_STEP_ERROR
        for _ in range(REFINEMENTS if basis.orthonormal else 0):
            if error <= goal:
                break
            correction: Any = 0
            for part, own in zip(parts, differences, strict=False):
                directions = basis.directions(order[part])
                made = self._made(directions, part)
                explained = [(steps @ (total[rows] / self._steps).unsqueeze(2)).squeeze(2) for rows, steps in made]
                correction = correction + (own - torch.cat(explained)) @ directions
            total = total + correction
            sizes = total.norm(dim=1).clamp(min=torch.finfo(total.dtype).tiny)
            error = share * float((correction.norm(dim=1) / sizes).max())
        return total if self._kept is None else total * self._kept[self._rows], differences

    def _parts(self, count: int, basis: Basis, most: int | None = None) -> list[slice]:
        """Return parts of so many directions that are made at a time."""
        return balanced_slices(count, max(1, min(most or count, self._elements // basis.features)))

    def _made(self, directions: Tensor, part: slice) -> Iterator[tuple[slice, Tensor]]:
        """Yield the steps that were made along some directions: (rows, K, d), for a few rows at a time."""
        first, few = self._rows.start, max(1, self._elements // (directions.numel() * len(self._weights)))
        for rows in balanced_slices(self._rows.stop - first, few):
            own = slice(first + rows.start, first + rows.stop)
            moves = directions * self._steps
            made = Directed(self._stencil, self._stream.inputs, moves, own, part.start, kept=self._kept)
            yield rows, made.made(self._weights)
