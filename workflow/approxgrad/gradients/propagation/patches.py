"""Boxes of an image that are perturbed, one at a time; without torch, so that their number is known anywhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod


@dataclass(frozen=True)
class Patches:
    """Which parts of the input are perturbed, one at a time: boxes of channels, height and width at regular places.

    Attributes
    ----------
    shape : tuple of int
        Channels, height and width of the input.
    window, stride : tuple of int
        Size of the boxes along these axes, and by how much they are moved. The last ones may hang over the border.
    """

    shape: tuple[int, ...]
    window: tuple[int, ...] = (1, 1, 1)
    stride: tuple[int, ...] = (1, 1, 1)

    @property
    def counts(self) -> tuple[int, ...]:
        """How many boxes there are along each axis."""
        each = zip(self.shape, self.window, self.stride, strict=True)
        return tuple(-(-max(0, size - own) // step) + 1 for size, own, step in each)

    @property
    def count(self) -> int:
        """How many boxes there are."""
        return prod(self.counts)

    def box(self, number: int) -> tuple[slice, ...]:
        """Return where a box lies; numbers run along the last axis first."""
        _, height, width = self.counts
        places = (number // (height * width), number // width % height, number % width)
        each = zip(places, self.stride, self.window, strict=True)
        return tuple(slice(place * step, place * step + size) for place, step, size in each)


def boxes(shape: tuple[int, ...], window: int | Sequence[int], stride: int | Sequence[int]) -> Patches:
    """Return the boxes of an image with so many channels, rows and columns; a ValueError says why they do not fit."""
    sizes, steps = _numbers("window", window, shape[0]), _numbers("stride", stride, shape[0])
    if any(size > room for size, room in zip(sizes, shape, strict=True)):
        raise ValueError(f"window: {sizes} is larger than one image, of shape {shape}")
    if any(step > size and room > size for step, size, room in zip(steps, sizes, shape, strict=True)):
        raise ValueError(f"stride: {steps} is larger than the window {sizes}, so that pixels would never be occluded")
    return Patches(shape, sizes, steps)


def _numbers(name: str, value: int | Sequence[int], channels: int) -> tuple[int, ...]:
    """Return three positive integers from one, two or three."""
    given = (value, value) if isinstance(value, int) else tuple(value) if isinstance(value, Sequence) else ()
    own = (channels, *given) if len(given) == 2 else given
    if len(own) != 3 or any(isinstance(one, bool) or not isinstance(one, int) or one < 1 for one in own):
        raise ValueError(f"{name}: expected one, two or three positive integers, got {value!r}")
    return own
