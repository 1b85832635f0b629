"""Where windows end: in whole maps, in means over a map, and in linear layers over a flattened map."""

from __future__ import annotations

import torch
from torch import Tensor, fx
from torch.nn import functional

from approxgrad.gradients.propagation.form import Axes
from approxgrad.gradients.propagation.linear import Linear, Reshaped
from approxgrad.gradients.propagation.network import Network
from approxgrad.gradients.propagation.products import Affine, Product
from approxgrad.gradients.propagation.windows import Axis, Block, Window, alike

aten = torch.ops.aten


class End:
    """An operation that reads windows and whose result is a whole map.

    Attributes
    ----------
    node : fx.Node
        The node whose change :meth:`change` returns.
    needs_clean : bool
        Whether changes outside the map must be zero before.
    work : float
        Operations for one copy.
    """

    needs_clean = True

    def __init__(self, network: Network, node: fx.Node, axes: Axes) -> None:
        self.node = node
        self.work: float = 0

    def change(self, window: Window, block: Block) -> Tensor:
        """Return the change of the node, of shape (copies, *shape)."""
        raise NotImplementedError


class Mean(End):
    """The mean over both axes of a map."""

    def __init__(self, network: Network, node: fx.Node, axes: Axes) -> None:
        super().__init__(network, node, axes)
        self._shape = network.graph.shapes[node]
        self._numbers = axes[0].size * axes[1].size

    def change(self, window: Window, block: Block) -> Tensor:
        """Return the sum over each window, divided by the size of the map."""
        total = (window.data.sum(dim=(5, 6)) / self._numbers).flatten(0, 4)
        return total.reshape(len(total), *self._shape)


class FlatAffine(End):
    """A linear layer over the flattened map: products for each row of the windows, with its columns of the weight."""

    needs_clean = False  # the padded weight is zero outside the map

    def __init__(self, network: Network, node: fx.Node, axes: Axes) -> None:
        super().__init__(network, node, axes)
        (y, x), matrix = axes, _matrix(network, node)
        assert matrix is not None
        (top, bottom), (left, right) = y.margins, x.margins
        rows = matrix.unflatten(0, (-1, y.size, x.size)).permute(1, 2, 0, 3)
        self._weight = functional.pad(rows, (0, 0, 0, 0, left, right, top, bottom)).contiguous()
        self._top, self._left = top, left
        self.work = y.width * x.width * rows.shape[2] * rows.shape[3]

    def change(self, window: Window, block: Block) -> Tensor:
        """Return the products, summed over the rows of the windows."""
        y, x, data = window.y, window.x, window.data
        result = data.new_empty(*data.shape[:5], self._weight.shape[3])
        for own, top in alike([y.starts[phase] for phase in block.down]):
            for other, left in alike([x.starts[phase] for phase in block.across]):
                # Copies at the same place have the same weights: (rows of positions, positions, copies, ...).
                read = data[own, other].permute(3, 4, 0, 1, 2, 5, 6, 7)
                made = data.new_empty(*read.shape[:5], self._weight.shape[3])
                for number, row in enumerate(block.rows):
                    self._row(read[number], top + y.spacing * row, left, x, made[number].flatten(1, 3))
                result[own, other] = made.permute(2, 3, 4, 0, 1, 5)
        return result.flatten(0, 4).unsqueeze(1)

    def _row(self, read: Tensor, top: int, left: int, x: Axis, made: Tensor) -> None:
        """Write the products for windows that start in one row of the map."""
        down, across, channel, output = self._weight.stride()
        parts = read.permute(4, 0, 1, 2, 3, 5, 6).flatten(5, 6).flatten(2, 4)
        shape, strides = (x.positions, parts.shape[3], made.shape[2]), (x.spacing * across, channel, output)
        for number, part in enumerate(parts):
            start = (top + self._top + number) * down + (left + self._left) * across
            weight = self._weight.as_strided(shape, strides, start)
            torch.baddbmm(made, part, weight, beta=int(number > 0), out=made)


def _matrix(network: Network, node: fx.Node) -> Tensor | None:
    """Return the constant matrix that a node multiplies with from the right."""
    rule = network.rules.get(node)
    if isinstance(rule, Affine):
        return rule.matrix
    if isinstance(rule, Product) and node.target is aten.mm.default and node.args[1] in network.graph.constants:
        return rule.constant(rule.argument(1))
    return None


def end_of(network: Network, node: fx.Node, axes: Axes) -> End | None:
    """Return the end that a node which reads windows is, or None if it reads a whole map."""
    rule = network.rules[node]
    if type(rule) is Linear and node.target is aten.mean.dim and not node.kwargs:
        over = sorted(axis % 4 for axis in rule.argument(1))
        return Mean(network, node, axes) if over == [2, 3] else None
    if type(rule) is Reshaped and len(node.users) == 1:
        (user,) = node.users
        shape = network.graph.shapes[node]
        if _matrix(network, user) is not None and len(shape) == 2 and shape[0] == 1:
            return FlatAffine(network, user, axes)
    return None
