"""Windows: the parts of maps that a perturbation reaches, for many positions of the perturbed pixel at once.

Positions whose places along an axis differ by multiples of a period P, the product of all strides, have one phase. In a
map whose total stride is S their windows lie P / S apart, so for all of them together the windows of a map are one
strided view of it, and nothing is gathered. All windows of a map have the same size, the largest over the phases.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise

from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True)
class Axis:
    """The windows of a map along one axis.

    Attributes
    ----------
    size : int
        Of the map.
    starts : tuple of int
        For each phase, where the window of its first position starts; it may lie outside the map.
    width : int
        Of each window.
    spacing : int
        From the window of one position to that of the next one of the same phase.
    positions : int
        Number of positions of each phase.
    """

    size: int
    starts: tuple[int, ...]
    width: int
    spacing: int
    positions: int

    def through(self, outputs: int, kernel: int, stride: int, padding: int, dilation: int) -> Axis:
        """Return the windows of what a kernel that slides over the map makes."""
        reach = dilation * (kernel - 1)
        first = [-((reach - start - padding) // stride) for start in self.starts]
        last = [(start + self.width - 1 + padding) // stride for start in self.starts]
        width = max(1, *(stop - start + 1 for start, stop in zip(first, last, strict=True)))
        return replace(self, size=outputs, starts=tuple(first), width=width, spacing=self.spacing // stride)

    def joined(self, other: Axis) -> Axis:
        """Return windows that hold those of both, in maps of the same size."""
        starts = tuple(map(min, self.starts, other.starts))
        both = zip(self.starts, other.starts, starts, strict=True)
        width = max(max(a + self.width, b + other.width) - start for a, b, start in both)
        return replace(self, starts=starts, width=width)

    @property
    def margins(self) -> tuple[int, int]:
        """How far windows hang over both borders."""
        after = max(self.starts) + (self.positions - 1) * self.spacing + self.width - self.size
        return max(0, -min(self.starts)), max(0, after)

    def runs(self, phases: range) -> list[tuple[slice, int, int, int]]:
        """Return the phases in runs whose windows start at evenly spaced places.

        Each as a slice of `phases`, the first start, the difference to the next, and their number.
        """
        starts = [self.starts[phase] for phase in phases]
        period = self._period
        found = []
        for first in range(min(period, len(starts))):
            own = starts[first::period]
            step = own[1] - own[0] if len(own) > 1 else 0
            found.append((slice(first, None, period), own[0], step, len(own)))
        return found

    @cached_property
    def _period(self) -> int:
        """After how many phases the starts have grown by the same number, whatever the phase."""
        count = len(self.starts)
        for period in range(1, count):
            steps = {later - own for own, later in zip(self.starts, self.starts[period:], strict=False)}
            if len(steps) == 1:
                return period
        return count


@dataclass(frozen=True)
class Block:
    """Positions that are computed together: some phases along both axes, and some rows of positions."""

    down: range
    across: range
    rows: range


@dataclass
class Window:
    """Changes inside windows.

    Attributes
    ----------
    data : Tensor
        Of shape (phases down, phases across, perturbed channels, rows of positions, positions of a row, height, width,
        channels); the positions are of length 1 while the changes of all of them are the same.
    y, x : Axis
        Where the windows lie.
    clean : bool
        Whether changes outside the map are zero.
    """

    data: Tensor
    y: Axis
    x: Axis
    clean: bool

    def copied(self) -> Window:
        """Return the same with memory of its own."""
        return replace(self, data=self.data.clone())

    def images(self) -> Tensor:
        """Return the windows of all copies as a batch of images with channels last in memory."""
        return self.data.flatten(0, 4).permute(0, 3, 1, 2)

    def like(self, images: Tensor, y: Axis, x: Axis, clean: bool) -> Window:
        """Return windows from a batch of images."""
        data = images.permute(0, 2, 3, 1).contiguous()
        return Window(data.unflatten(0, self.data.shape[:5]), y, x, clean)


class PaddedMap:
    """A map of a base point, padded so that every window lies inside.

    Parameters
    ----------
    value : Tensor
        Shape (1, channels, height, width).
    y, x : Axis
        The windows.
    fill : float
        Value outside the map.
    """

    def __init__(self, value: Tensor, y: Axis, x: Axis, fill: float) -> None:
        (top, bottom), (left, right) = y.margins, x.margins
        rows = value.expand(1, -1, y.size, x.size).permute(0, 2, 3, 1)[0]
        self._map = functional.pad(rows, (0, 0, left, right, top, bottom), value=fill).contiguous()
        self._y, self._x, self._top, self._left = y, x, top, left

    def views(self, block: Block) -> Iterator[tuple[tuple[slice, slice], Tensor]]:
        """Yield the windows of a block, of the shape of :attr:`Window.data` with one perturbed channel, in parts.

        Each with its place along the first two axes.
        """
        y, x = self._y, self._x
        down, across, channel = self._map.stride()
        for own, top, step, count in y.runs(block.down):
            row = top + self._top + block.rows.start * y.spacing
            for other, left, hop, number in x.runs(block.across):
                yield (
                    (own, other),
                    self._map.as_strided(
                        (count, number, 1, len(block.rows), x.positions, y.width, x.width, self._map.shape[2]),
                        (step * down, hop * across, 0, y.spacing * down, x.spacing * across, down, across, channel),
                        row * down + (left + self._left) * across,
                    ),
                )


def widened(window: Window, y: Axis, x: Axis, block: Block) -> Window:
    """Return the same changes in larger windows."""
    if (y, x) == (window.y, window.x):
        return window
    data = window.data.new_zeros(*window.data.shape[:5], y.width, x.width, window.data.shape[7])
    place(window, data, y, x, block)
    return Window(data, y, x, window.clean)


def place(window: Window, data: Tensor, y: Axis, x: Axis, block: Block, share: float = 0) -> None:
    """Copy the changes of windows into larger ones, which start at other places, or add a multiple of them."""
    for own, down in _offsets(window.y, y, block.down):
        source, target = _overlap(down, window.y.width, data.shape[5])
        for other, across in _offsets(window.x, x, block.across):
            source_x, target_x = _overlap(across, window.x.width, data.shape[6])
            part = window.data[own, other, :, :, :, source, source_x]
            if share:
                data[own, other, :, :, :, target, target_x].add_(part, alpha=share)
            else:
                data[own, other, :, :, :, target, target_x] = part


def _overlap(offset: int, width: int, room: int) -> tuple[slice, slice]:
    """Return which part of a window lies in another one, and where, if it starts so far behind its start."""
    first, last = max(0, -offset), min(width, room - offset)
    return slice(first, max(first, last)), slice(first + offset, max(first, last) + offset)


def _offsets(inner: Axis, outer: Axis, phases: range) -> Iterator[tuple[slice, int]]:
    """Yield slices of phases with how far the inner window starts behind the outer one."""
    return alike([inner.starts[phase] - outer.starts[phase] for phase in phases])


def alike(values: Sequence[int]) -> Iterator[tuple[slice, int]]:
    """Yield slices of places at which a list has the same value, with this value."""
    found: dict[int, list[int]] = {}
    for number, value in enumerate(values):
        found.setdefault(value, []).append(number)
    for offset, own in found.items():
        step = own[1] - own[0] if len(own) > 1 else 1
        if all(second - before == step for before, second in pairwise(own)):
            yield slice(own[0], own[-1] + 1, step), offset
        else:
            for number in own:
                yield slice(number, number + 1), offset


def whole(window: Window, block: Block) -> Tensor:
    """Return the changes as whole maps, of shape (copies, 1, channels, height, width) with channels last in memory."""
    y, x, data = window.y, window.x, window.data
    maps = data.new_zeros(*data.shape[:5], y.size, x.size, data.shape[7])
    downs = [_overlap(y.starts[one] + y.spacing * row, y.width, y.size) for one in block.down for row in block.rows]
    acrosses = [
        _overlap(x.starts[one] + x.spacing * own, x.width, x.size) for one in block.across for own in range(x.positions)
    ]
    for number, (source, target) in enumerate(downs):
        phase, row = divmod(number, len(block.rows))
        for other, (source_x, target_x) in enumerate(acrosses):
            phase_x, column = divmod(other, x.positions)
            maps[phase, phase_x, :, row, column, target, target_x] = data[
                phase, phase_x, :, row, column, source, source_x
            ]
    return maps.flatten(0, 4).permute(0, 3, 1, 2).unsqueeze(1)
