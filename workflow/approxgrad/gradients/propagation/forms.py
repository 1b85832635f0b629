"""Elementwise functions, sums and joins on windows, and the table of all forms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, fx

from approxgrad.gradients.propagation.form import Axes, Form
from approxgrad.gradients.propagation.linear import Item, Linear, Same, Sum
from approxgrad.gradients.propagation.network import Folded
from approxgrad.gradients.propagation.normalising import BatchNorm
from approxgrad.gradients.propagation.pooling import MaxPool
from approxgrad.gradients.propagation.products import Convolution, Product, Quotient
from approxgrad.gradients.propagation.rules import Pointwise, Rule
from approxgrad.gradients.propagation.sliding import ConvolutionForm, MaxPoolForm, MeanPoolForm
from approxgrad.gradients.propagation.windows import Block, PaddedMap, Window, place, widened

aten = torch.ops.aten


class PointwiseForm(Form):
    """Elementwise functions, with views of the maps that their formula needs.

    Outside the map most formulas take a as 1 and d as 0, because not all of them have a value at 0.
    """

    def __init__(self, rule: Pointwise) -> None:
        super().__init__(rule)
        self.needs_clean = not rule.entry.outside

    def maps(self, kept: Any, before: Axes, after: Axes) -> Any:
        """Return padded maps."""
        entry = self.rule.entry
        fills = entry.outside or (1.0,) * len(kept)
        return [PaddedMap(own, *after, fill) for own, fill in zip(kept, fills, strict=True)]

    def change(self, windows: Sequence[Window], maps: Any, axes: Axes, block: Block) -> Window:
        """Return the changes of the result."""
        (window,), entry = windows, self.rule.entry
        data = window.data
        shape = (*data.shape[:3], len(block.rows), axes[1].positions, *data.shape[5:])
        made = data if data.shape == shape else data.new_empty(shape)
        parts = [list(own.views(block)) for own in maps]
        for views in zip(*parts, strict=True):
            part = views[0][0]
            own = [view for _, view in views]
            if entry.into is not None:
                entry.into(data[part], *own, made[part])
            else:
                made[part] = entry.change(data[part], *own)
        return replace(window, data=made, clean=True)


class SumForm(Form):
    """Sums and differences of windows, and of windows and constants."""

    @classmethod
    def covers(cls, rule: Sum) -> bool:
        """Return whether the rule has this form."""
        shapes = {rule.graph.shapes[own] for own in (*rule.moving, rule.node)}
        names = (aten.add.Tensor, aten.sub.Tensor, aten.add.Scalar, aten.sub.Scalar)
        moved = [own for own in rule.node.args if isinstance(own, fx.Node) and own in rule.moving]
        plain = rule.node.target in names and len(rule.node.args) == 2 and not rule.node.kwargs
        # A difference from a constant, a tensor plus itself and what broadcasts are left to whole maps.
        return plain and len(shapes) == 1 and moved == rule.moving and rule.node.args[0] is moved[0]

    def axes(self, inputs: Sequence[Axes]) -> Axes:
        """Return the windows of the result."""
        return _joined(inputs)

    def change(self, windows: Sequence[Window], maps: Any, axes: Axes, block: Block) -> Window:
        """Return the changes of the result."""
        if len(windows) == 1:
            return windows[0]
        first, second = windows
        sign = -1 if self.rule.node.target is aten.sub.Tensor else 1
        clean = first.clean and second.clean
        for larger, smaller, share in ((first, second, sign), (second, first, sign)):
            if (larger.y, larger.x) == axes and larger.data.shape[3:5] >= smaller.data.shape[3:5]:
                place(smaller, larger.data, *axes, block, share)
                negated = larger is second and sign < 0
                return replace(larger, data=larger.data.neg_() if negated else larger.data, clean=clean)
        first, second = _widened(windows, axes, block)
        return replace(first, data=torch.add(first.data, second.data, alpha=sign), clean=clean)


class ScaledForm(Form):
    """Products with a constant, or one for each channel, quotients by them, and batch norms with fixed statistics."""

    overwrites = False

    @classmethod
    def covers(cls, rule: Rule) -> bool:
        """Return whether the rule has this form."""
        if isinstance(rule, BatchNorm):
            return rule.fixed is not None
        products = rule.node.target in (aten.mul.Tensor, aten.mul.Scalar) and rule.dearer == 1
        if not products and not (
            isinstance(rule, Quotient) and rule.moving == [rule.node.args[0]] != [rule.argument(1)]
        ):
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
        """Return the changes of the result."""
        factor = self._factor(self.rule)
        own = factor.flatten() if isinstance(factor, Tensor) else factor
        data = windows[0].data
        return replace(windows[0], data=data / own if isinstance(self.rule, Quotient) else data * own)


class JoinedForm(Form):
    """Concatenation of the channels of windows."""

    overwrites = False

    @classmethod
    def covers(cls, rule: Linear) -> bool:
        """Return whether the rule has this form."""
        axis = rule.argument(1, "dim", 0)
        return rule.node.target is aten.cat.default and axis in (1, -3) and list(rule.argument(0)) == rule.moving

    def axes(self, inputs: Sequence[Axes]) -> Axes:
        """Return the windows of the result."""
        return _joined(inputs)

    def change(self, windows: Sequence[Window], maps: Any, axes: Axes, block: Block) -> Window:
        """Return the changes of the result."""
        own = _widened(windows, axes, block)
        joined = torch.cat([window.data for window in own], dim=-1)
        return replace(own[0], data=joined, clean=all(window.clean for window in own))


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


FORMS: dict[type[Rule], tuple[type[Form], ...]] = {
    Convolution: (ConvolutionForm,),
    MaxPool: (MaxPoolForm,),
    Pointwise: (PointwiseForm,),
    Sum: (SumForm,),
    Product: (ScaledForm,),
    Quotient: (ScaledForm,),
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
