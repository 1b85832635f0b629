"""A rule on windows: where the windows of its result lie, and the changes inside them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from approxgrad.gradients.propagation.windows import Axis, Block, Window

Axes = tuple[Axis, Axis]


class Form:
    """A rule on windows; subclasses say which operations and how."""

    strides = (1, 1)
    """By which factors windows of the result lie closer."""

    needs_clean = False
    """Whether changes outside the maps must be zero before."""

    overwrites = True
    """Whether the changes that are read may be overwritten or be the result."""

    def __init__(self, rule: Any) -> None:
        self.rule = rule

    @classmethod
    def covers(cls, rule: Any) -> bool:
        """Return whether a rule of the right class has this form."""
        return True

    def axes(self, inputs: Sequence[Axes]) -> Axes:
        """Return the windows of the result from those of what is read."""
        return inputs[0]

    def maps(self, kept: Any, before: Axes, after: Axes) -> Any:
        """Return what is needed of a base point, from what the rule keeps of it."""
        return None

    def change(self, windows: Sequence[Window], maps: Any, axes: Axes, block: Block) -> Window:
        """Return the changes of the result."""
        return windows[0]
