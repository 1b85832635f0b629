"""Inputs moved along directions that change all features, and what rounding makes of such moves."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from approxgrad.gradients.stencils import Stencil


def rounded_share(points: Tensor, moves: Tensor) -> Tensor:
    """Return the root mean square rounding of moved points, of shape (N, d), in units of the moves, of shape (d,).

    Points that can be moved out of the range of their dtype raise a ValueError.
    """
    moved = (points.abs().double() + math.sqrt(2) * moves).to(points.dtype)
    if not torch.isfinite(moved).all():
        row, feature = (~torch.isfinite(moved)).nonzero()[0].tolist()
        raise ValueError(
            f"step: moves feature {feature} of input {row} out of the range of {points.dtype}; a smaller step helps"
        )
    spacing = moved.double() - torch.nextafter(moved, torch.zeros_like(moved)).double()
    return spacing / (math.sqrt(12) * moves)


class Directed:
    """Copies of some rows of the inputs, each moved by a multiple of one of some steps that move all features.

    They are numbered row after row: first the row itself, if it is wanted, then the steps, each with all shifts of the
    stencil.

    Parameters
    ----------
    stencil, inputs, part
        The scheme; the inputs, each of shape (N, ...); and the rows.
    moves : Tensor
        The steps, float64 of shape (K, d).
    first : int
        Number of the first step among all of them, for messages.
    base : int
        1 if the rows themselves are wanted, else 0.
    kept : Tensor, optional
        Which features of all N inputs are moved, of shape (N, d).
    """

    def __init__(
        self,
        stencil: Stencil,
        inputs: tuple[Tensor, ...],
        moves: Tensor,
        part: slice,
        first: int,
        base: int = 0,
        kept: Tensor | None = None,
    ) -> None:
        self._stencil, self._first, self._base = stencil, first, base
        self._shapes = [tensor.shape[1:] for tensor in inputs]
        self._inputs = [tensor[part].reshape(part.stop - part.start, -1) for tensor in inputs]
        shifts = torch.tensor(stencil.shifts, dtype=torch.float64, device=moves.device)
        wanted = (moves.unsqueeze(1) * shifts.unsqueeze(1)).flatten(0, 1)
        if base:
            wanted = torch.cat([torch.zeros_like(wanted[:1]), wanted])
        widths = [tensor.shape[1] for tensor in self._inputs]
        self._offsets = [
            own.to(tensor.dtype) for own, tensor in zip(wanted.split(widths, dim=1), self._inputs, strict=True)
        ]
        self._kept = None if kept is None else kept[part].split(widths, dim=1)
        number = torch.arange((part.stop - part.start) * len(wanted), device=moves.device)
        self._row, self._move = number // len(wanted), number % len(wanted)
        self.row = self._row + part.start

    def __len__(self) -> int:
        return len(self.row)

    def copies(self, items: slice | Tensor) -> list[Tensor]:
        """Return some of the copies, a batch of each input tensor."""
        row, move = self._row[items], self._move[items]
        moves = [offset.index_select(0, move) for offset in self._offsets]
        if self._kept is not None:
            moves = [own * kept.index_select(0, row) for own, kept in zip(moves, self._kept, strict=True)]
        return [
            source.index_select(0, row).add_(own).reshape(-1, *shape)
            for source, own, shape in zip(self._inputs, moves, self._shapes, strict=True)
        ]

    def made(self, weights: Tensor) -> Tensor:
        """Return the steps that are made, weighted as the outputs are: float64 of shape (rows, K, d)."""
        rows = len(self._inputs[0])
        moved = torch.cat([own.reshape(len(self), -1).double() for own in self.copies(slice(None))], dim=1)
        before = torch.cat([own.double() for own in self._inputs], dim=1).unsqueeze(1)
        steps = (moved.reshape(rows, -1, moved.shape[1]) - before).unflatten(1, (-1, len(weights)))
        return torch.einsum("rksd,s->rkd", steps, weights)

    def place(self, item: int) -> str:
        """Return in words which copy this is."""
        where, moved = f"input {int(self.row[item])}", int(self._move[item]) - self._base
        if moved < 0:
            return where
        direction, shift = divmod(moved, len(self._stencil.shifts))
        return f"{where} shifted by {self._stencil.shifts[shift]:+d} step along direction {self._first + direction}"
