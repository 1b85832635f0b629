"""Convolutions and pools on windows: what a sliding kernel reads of them, and which of its results they reach."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from approxgrad.gradients.propagation.form import Axes, Form
from approxgrad.gradients.propagation.linear import Linear
from approxgrad.gradients.propagation.pooling import MaxPool
from approxgrad.gradients.propagation.products import Convolution
from approxgrad.gradients.propagation.windows import Axis, Block, PaddedMap, Window, place

aten = torch.ops.aten


class ConvolutionForm(Form):
    """Convolutions: with stride 1, padded so that every output that a window reaches is computed."""

    needs_clean, overwrites = True, False

    @classmethod
    def covers(cls, rule: Convolution) -> bool:
        """Return whether the rule has this form."""
        return rule.weight.ndim == 4 and not rule.transposed

    def __init__(self, rule: Convolution) -> None:
        super().__init__(rule)
        self.strides = _pair(rule.settings[0])

    def axes(self, inputs: Sequence[Axes]) -> Axes:
        """Return the windows of the result."""
        shape = self.rule.graph.shapes[self.rule.node][2:]
        stride, padding, dilation = self.rule.settings[:3]
        kernel = self.rule.weight.shape[2:]
        slid = zip(inputs[0], shape, kernel, *(_pair(own) for own in (stride, padding, dilation)), strict=True)
        y, x = (own.through(*numbers) for own, *numbers in slid)
        return y, x

    def change(self, windows: Sequence[Window], maps: Any, axes: Axes, block: Block) -> Window:
        """Return the changes of the result."""
        (window,), rule = windows, self.rule
        stride, padding, dilation = (_pair(own) for own in rule.settings[:3])
        if stride == (1, 1):
            images, stride = window.images(), (1, 1)
            around = [gap * (size - 1) for gap, size in zip(dilation, rule.weight.shape[2:], strict=True)]
        else:
            kernel = (rule.weight.shape[2], rule.weight.shape[3])
            images, around = _read(window, axes, block, kernel, stride, padding, dilation).images(), [0, 0]
            # A kernel with one place does not move. Told to move, oneDNN 3.12 returns other numbers for one channel.
            down, across = (1 if own.width == 1 else step for own, step in zip(axes, stride, strict=True))
            stride = (down, across)
        groups = rule.settings[-1]
        made = aten.convolution.default(images, rule.weight, None, stride, around, dilation, False, [0, 0], groups)
        return window.like(made, *axes, clean=False)


class MaxPoolForm(Form):
    """Max-pooling: the largest of gap + change over what each window of the kernel reads.

    Changes outside the map are not read by what lies inside, where their gap is minus infinity.
    """

    overwrites = False

    @classmethod
    def covers(cls, rule: MaxPool) -> bool:
        """Return whether the rule has this form."""
        return not rule.adaptive and rule.axes == 2

    def __init__(self, rule: MaxPool) -> None:
        super().__init__(rule)
        self.strides = _pair(rule.stride)

    def axes(self, inputs: Sequence[Axes]) -> Axes:
        """Return the windows of the result."""
        rule = self.rule
        slid = zip(inputs[0], rule.outputs[-2:], rule.kernel, rule.stride, rule.padding, rule.dilation, strict=True)
        y, x = (own.through(*numbers) for own, *numbers in slid)
        return y, x

    @property
    def _apart(self) -> bool:
        """Whether no number of the map is read twice, and none is left out."""
        rule = self.rule
        return tuple(rule.kernel) == tuple(rule.stride) and set(rule.dilation) == {1}

    def maps(self, kept: Any, before: Axes, after: Axes) -> Any:
        """Return padded maps: one for each place of the kernel, or one of the size that all of them read."""
        (gaps,), rule = kept, self.rule
        if not self._apart:
            return [PaddedMap(gap, *after, 0.0) for gap in gaps]
        joined = gaps.unflatten(0, rule.kernel).movedim((0, 1), (-3, -1)).flatten(-4, -3).flatten(-2, -1)
        y, x = map(_read_by, after, rule.kernel)
        return PaddedMap(joined, y, x, 0.0)

    def change(self, windows: Sequence[Window], maps: Any, axes: Axes, block: Block) -> Window:
        """Return the changes of the result."""
        (window,), rule = windows, self.rule
        if self._apart:
            data = self._moved(window, maps, axes, block)
            for axis, size in zip((5, 6), rule.kernel, strict=True):
                data = _largest(data.unflatten(axis, (-1, size)).unbind(axis + 1))
            return Window(data, *axes, clean=False)
        data = _read(window, axes, block, rule.kernel, rule.stride, rule.padding, rule.dilation).data
        shape = (*data.shape[:3], len(block.rows), axes[1].positions, axes[0].width, axes[1].width, data.shape[7])
        best, other = data.new_empty(shape), data.new_empty(shape)
        for number, own in enumerate(maps):
            down, across = divmod(number, rule.kernel[1])
            read = data[
                ...,
                _every(down * rule.dilation[0], rule.stride[0], axes[0].width),
                _every(across * rule.dilation[1], rule.stride[1], axes[1].width),
                :,
            ]
            target = other if number else best
            for part, gap in own.views(block):
                torch.add(read[part], gap, out=target[part])
            if number:
                torch.maximum(best, other, out=best)
        return Window(best, *axes, clean=False)

    def _moved(self, window: Window, gaps: PaddedMap, axes: Axes, block: Block) -> Tensor:
        """Return gap + change of all that the windows of the result read; beside the window there is no change."""
        data, (y, x) = window.data, map(_read_by, axes, self.rule.kernel)
        moved = data.new_empty(*data.shape[:3], len(block.rows), x.positions, y.width, x.width, data.shape[7])
        for part, gap in gaps.views(block):
            moved[part] = gap
        # The map of the gaps begins with its padding.
        down, across = (
            replace(own, starts=tuple(start - padding for start in own.starts))
            for own, padding in zip((y, x), self.rule.padding, strict=True)
        )
        place(window, moved, down, across, block, share=1)
        return moved


class MeanPoolForm(Form):
    """Average pooling without padding: the mean of what each window of the kernel reads."""

    needs_clean, overwrites = True, False

    @classmethod
    def covers(cls, rule: Linear) -> bool:
        """Return whether the rule has this form."""
        if rule.node.target is not aten.avg_pool2d.default or rule.node.kwargs:
            return False
        args: dict[int, Any] = dict(enumerate(rule.node.args))
        return not any(_pair(args.get(3) or (0,))) and not args.get(4) and args.get(6) is None

    def __init__(self, rule: Linear) -> None:
        super().__init__(rule)
        self._kernel = _pair(rule.argument(1))
        self.strides = _pair(rule.argument(2) or self._kernel)

    def axes(self, inputs: Sequence[Axes]) -> Axes:
        """Return the windows of the result."""
        shape = self.rule.graph.shapes[self.rule.node][2:]
        slid = zip(inputs[0], shape, self._kernel, self.strides, strict=True)
        y, x = (own.through(size, kernel, stride, 0, 1) for own, size, kernel, stride in slid)
        return y, x

    def change(self, windows: Sequence[Window], maps: Any, axes: Axes, block: Block) -> Window:
        """Return the changes of the result."""
        read = _read(windows[0], axes, block, self._kernel, self.strides, (0, 0), (1, 1))
        made = aten.avg_pool2d.default(read.images(), self._kernel, self.strides)
        return windows[0].like(made, *axes, clean=False)


def _read(
    window: Window,
    axes: Axes,
    block: Block,
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
) -> Window:
    """Return the changes of all that a kernel reads for the windows of its result, with zeros beside those known."""
    read = [
        replace(
            before,
            starts=tuple(start * step - gap for start in after.starts),
            width=(after.width - 1) * step + far * (size - 1) + 1,
        )
        for before, after, size, step, gap, far in zip(
            (window.y, window.x), axes, kernel, stride, padding, dilation, strict=True
        )
    ]
    data = window.data.new_zeros(*window.data.shape[:5], read[0].width, read[1].width, window.data.shape[7])
    place(window, data, read[0], read[1], block)
    return Window(data, read[0], read[1], window.clean)


def _read_by(axis: Axis, kernel: int) -> Axis:
    """Return what windows read by a kernel that moves by its own size."""
    starts = tuple(start * kernel for start in axis.starts)
    return Axis(axis.size * kernel, starts, axis.width * kernel, axis.spacing * kernel, axis.positions)


def _largest(parts: Sequence[Tensor]) -> Tensor:
    best, *others = parts
    for number, own in enumerate(others):
        best = torch.maximum(best, own, **({"out": best} if number else {}))
    return best


def _every(first: int, step: int, count: int) -> slice:
    return slice(first, first + (count - 1) * step + 1, step)


def _pair(value: Sequence[int]) -> tuple[int, int]:
    return (value[0], value[-1])
