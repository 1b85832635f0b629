"""How rules work on windows: where the windows of the result lie, and the changes inside them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, fx

from approxgrad.gradients.propagation.linear import Item, Linear, Same, Sum
from approxgrad.gradients.propagation.network import Folded
from approxgrad.gradients.propagation.normalising import BatchNorm
from approxgrad.gradients.propagation.pooling import MaxPool
from approxgrad.gradients.propagation.products import Convolution, Product
from approxgrad.gradients.propagation.rules import Pointwise, Rule
from approxgrad.gradients.propagation.windows import Axis, Block, PaddedMap, Window, place, widened

aten = torch.ops.aten
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


class ConvolutionForm(Form):
    """Convolutions: with stride 1, padded so that every output that a window reaches is computed."""

    needs_clean, overwrites = True, False

    @classmethod
    def covers(cls, rule: Convolution) -> bool:
        return rule.weight.ndim == 4 and not rule.transposed

    def __init__(self, rule: Convolution) -> None:
        super().__init__(rule)
        self.strides = _pair(rule.settings[0])

    def axes(self, inputs: Sequence[Axes]) -> Axes:
        shape = self.rule.graph.shapes[self.rule.node][2:]
        stride, padding, dilation = self.rule.settings[:3]
        kernel = self.rule.weight.shape[2:]
        slid = zip(inputs[0], shape, kernel, *(_pair(own) for own in (stride, padding, dilation)), strict=True)
        y, x = (own.through(*numbers) for own, *numbers in slid)
        return y, x

    def change(self, windows: Sequence[Window], maps: Any, axes: Axes, block: Block) -> Window:
        (window,), rule = windows, self.rule
        stride, padding, dilation = (_pair(own) for own in rule.settings[:3])
        if stride == (1, 1):
            images, stride = window.images(), (1, 1)
            around = [gap * (size - 1) for gap, size in zip(dilation, rule.weight.shape[2:], strict=True)]
        else:
            kernel = (rule.weight.shape[2], rule.weight.shape[3])
            images, around = _read(window, axes, block, kernel, stride, padding, dilation).images(), [0, 0]
        groups = rule.settings[-1]
        made = aten.convolution.default(images, rule.weight, None, stride, around, dilation, False, [0, 0], groups)
        return window.like(made, *axes, clean=False)


class MaxPoolForm(Form):
    """Max-pooling: the largest of gap + change over what each window of the kernel reads."""

    needs_clean, overwrites = True, False

    @classmethod
    def covers(cls, rule: MaxPool) -> bool:
        return not rule.adaptive and rule.axes == 2

    def __init__(self, rule: MaxPool) -> None:
        super().__init__(rule)
        self.strides = _pair(rule.stride)

    def axes(self, inputs: Sequence[Axes]) -> Axes:
        rule = self.rule
        slid = zip(inputs[0], rule.outputs[-2:], rule.kernel, rule.stride, rule.padding, rule.dilation, strict=True)
        y, x = (own.through(*numbers) for own, *numbers in slid)
        return y, x

    def maps(self, kept: Any, before: Axes, after: Axes) -> Any:
        return [PaddedMap(gap, *after, 0.0) for gap in kept[0]]

    def change(self, windows: Sequence[Window], maps: Any, axes: Axes, block: Block) -> Window:
        (window,), rule = windows, self.rule
        data = _read(window, axes, block, rule.kernel, rule.stride, rule.padding, rule.dilation).data
        best: Tensor | None = None
        views = [list(own.views(block)) for own in maps]
        number = 0
        for down in range(rule.kernel[0]):
            for across in range(rule.kernel[1]):
                own = data[
                    ...,
                    _every(down * rule.dilation[0], rule.stride[0], axes[0].width),
                    _every(across * rule.dilation[1], rule.stride[1], axes[1].width),
                    :,
                ]
                if best is None:
                    best = own.new_empty(*own.shape[:3], len(block.rows), axes[1].positions, *own.shape[5:])
                    for part, gap in views[number]:
                        torch.add(own[part], gap, out=best[part])
                else:
                    for part, gap in views[number]:
                        torch.maximum(best[part], own[part] + gap, out=best[part])
                number += 1
        assert best is not None
        return Window(best, *axes, clean=False)


class PointwiseForm(Form):
    """Elementwise functions, with views of the maps that their formula needs."""

    def maps(self, kept: Any, before: Axes, after: Axes) -> Any:
        entry = self.rule.entry
        fills = entry.outside or (0.0,) * len(kept)
        return [PaddedMap(own, *after, fill) for own, fill in zip(kept, fills, strict=True)]

    def change(self, windows: Sequence[Window], maps: Any, axes: Axes, block: Block) -> Window:
        (window,), entry = windows, self.rule.entry
        data = window.data
        shape = (*data.shape[:3], len(block.rows), axes[1].positions, *data.shape[5:])
        made = data if data.shape == shape else data.new_empty(shape)
        parts = [list(own.views(block)) for own in maps]
        for views in zip(*parts, strict=True):
            place = views[0][0]
            own = [view for _, view in views]
            if entry.into is not None:
                entry.into(data[place], *own, made[place])
            else:
                made[place] = entry.change(data[place], *own)
        return replace(window, data=made, clean=bool(entry.outside) or False)


class SumForm(Form):
    """Sums and differences of windows, and of windows and constants."""

    @classmethod
    def covers(cls, rule: Sum) -> bool:
        shapes = {rule.graph.shapes[own] for own in (*rule.moving, rule.node)}
        names = (aten.add.Tensor, aten.sub.Tensor, aten.add.Scalar, aten.sub.Scalar)
        moved = [own for own in rule.node.args if isinstance(own, fx.Node) and own in rule.moving]
        plain = rule.node.target in names and len(rule.node.args) == 2 and not rule.node.kwargs
        # A difference from a constant, a tensor plus itself and what broadcasts are left to whole maps.
        return plain and len(shapes) == 1 and moved == rule.moving and rule.node.args[0] is moved[0]

    def __init__(self, rule: Sum) -> None:
        super().__init__(rule)
        self.overwrites = len(rule.moving) == 1

    def axes(self, inputs: Sequence[Axes]) -> Axes:
        return _joined(inputs)

    def change(self, windows: Sequence[Window], maps: Any, axes: Axes, block: Block) -> Window:
        if len(windows) == 1:
            return windows[0]
        first, second = _widened(windows, axes, block)
        sign = -1 if self.rule.node.target is aten.sub.Tensor else 1
        return replace(first, data=torch.add(first.data, second.data, alpha=sign), clean=first.clean and second.clean)


class ScaledForm(Form):
    """Products with a constant number or a constant for each channel, and batch norms with fixed statistics."""

    overwrites = False

    @classmethod
    def covers(cls, rule: Rule) -> bool:
        if isinstance(rule, BatchNorm):
            return rule.fixed is not None
        if rule.node.target not in (aten.mul.Tensor, aten.mul.Scalar) or rule.dearer != 1:
            return False
        if rule.graph.shapes[rule.node] != rule.graph.shapes[rule.moving[0]]:
            return False
        factor = cls._factor(rule)
        return not isinstance(factor, Tensor) or factor.numel() == 1 or factor.shape[-2:] == (1, 1)

    @staticmethod
    def _factor(rule: Rule) -> Any:
        if isinstance(rule, BatchNorm):
            return rule.constant(rule.fixed)
        return rule.constant(rule.argument(1 if rule.node.args[0] is rule.moving[0] else 0))

    def change(self, windows: Sequence[Window], maps: Any, axes: Axes, block: Block) -> Window:
        factor = self._factor(self.rule)
        return replace(windows[0], data=windows[0].data * (factor.flatten() if isinstance(factor, Tensor) else factor))


class JoinedForm(Form):
    """Concatenation of the channels of windows."""

    overwrites = False

    @classmethod
    def covers(cls, rule: Linear) -> bool:
        axis = rule.argument(1, "dim", 0)
        return rule.node.target is aten.cat.default and axis in (1, -3) and list(rule.node.args[0]) == rule.moving

    def axes(self, inputs: Sequence[Axes]) -> Axes:
        return _joined(inputs)

    def change(self, windows: Sequence[Window], maps: Any, axes: Axes, block: Block) -> Window:
        own = _widened(windows, axes, block)
        joined = torch.cat([window.data for window in own], dim=-1)
        return replace(own[0], data=joined, clean=all(window.clean for window in own))


class MeanPoolForm(Form):
    """Average pooling without padding: the mean of what each window of the kernel reads."""

    needs_clean, overwrites = True, False

    @classmethod
    def covers(cls, rule: Linear) -> bool:
        args = dict(enumerate(rule.node.args))
        plain = not any(_pair(args.get(3) or (0,))) and not args.get(4) and args.get(6) is None
        return rule.node.target is aten.avg_pool2d.default and plain and not rule.node.kwargs

    def __init__(self, rule: Linear) -> None:
        super().__init__(rule)
        self._kernel = _pair(rule.argument(1))
        self.strides = _pair(rule.argument(2) or self._kernel)

    def axes(self, inputs: Sequence[Axes]) -> Axes:
        shape = self.rule.graph.shapes[self.rule.node][2:]
        slid = zip(inputs[0], shape, self._kernel, self.strides, strict=True)
        y, x = (own.through(size, kernel, stride, 0, 1) for own, size, kernel, stride in slid)
        return y, x

    def change(self, windows: Sequence[Window], maps: Any, axes: Axes, block: Block) -> Window:
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
    """Return the changes of all that a kernel reads for the windows of its result, zeros beside those that are known."""
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


def _joined(inputs: Sequence[Axes]) -> Axes:
    (y, x), *others = inputs
    for down, across in others:
        y, x = y.joined(down), x.joined(across)
    return y, x


def _widened(windows: Sequence[Window], axes: Axes, block: Block) -> list[Window]:
    """Return windows of the same size and, if those of one depend on the position, with all positions."""
    own = [widened(window, *axes, block) for window in windows]
    positions = [max(window.data.shape[axis] for window in own) for axis in (3, 4)]
    return [replace(window, data=_expanded(window.data, *positions)) for window in own]


def with_positions(window: Window, block: Block) -> Window:
    """Return windows with all positions of a block, even if the changes of all of them are the same."""
    return replace(window, data=_expanded(window.data, len(block.rows), window.x.positions))


def _expanded(data: Tensor, rows: int, positions: int) -> Tensor:
    return data.expand(*data.shape[:3], rows, positions, *data.shape[5:])


def _every(first: int, step: int, count: int) -> slice:
    return slice(first, first + (count - 1) * step + 1, step)


def _pair(value: Sequence[int]) -> tuple[int, int]:
    return (value[0], value[-1])


FORMS: dict[type[Rule], tuple[type[Form], ...]] = {
    Convolution: (ConvolutionForm,),
    MaxPool: (MaxPoolForm,),
    Pointwise: (PointwiseForm,),
    Sum: (SumForm,),
    Product: (ScaledForm,),
    BatchNorm: (ScaledForm,),
    Linear: (JoinedForm, MeanPoolForm),
    Same: (Form,),
    Item: (Form,),
    Folded: (Form,),
}


def form_of(rule: Rule) -> Form | None:
    """Return the form of a rule on windows, or None if it has none."""
    if isinstance(rule, Item) and rule.argument(1) != 0:
        return None
    return next((kind(rule) for kind in FORMS.get(type(rule), ()) if kind.covers(rule)), None)


def cleaned(window: Window, block: Block, inside: PaddedMap, overwrite: bool) -> Window:
    """Return windows whose changes outside the map are zero; `inside` is one inside the map and zero outside."""
    data = window.data
    shape = (*data.shape[:3], len(block.rows), window.x.positions, *data.shape[5:])
    made = data if overwrite and data.shape == shape else data.new_empty(shape)
    for part, view in inside.views(block):
        torch.mul(data[part], view, out=made[part])
    return replace(window, data=made, clean=True)
