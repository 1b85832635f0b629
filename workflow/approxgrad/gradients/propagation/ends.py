"""Where windows end: in whole maps, in means over a map, and in linear layers over a flattened map."""

from __future__ import annotations

import torch
from torch import Tensor, fx
from torch.nn import functional

from approxgrad.gradients.propagation.form import Axes
from approxgrad.gradients.propagation.linear import Linear, Reshaped
from approxgrad.gradients.propagation.network import Network
from approxgrad.gradients.propagation.products import Affine, Product
from approxgrad.gradients.propagation.windows import Block, Window

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
    """A linear layer over the flattened map: a product for each place of the window, with its columns of the weight."""

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
        copies, width = data.shape[:5].numel(), data.shape[6] * data.shape[7]
        downs = torch.tensor([[y.starts[own] + y.spacing * row for row in block.rows] for own in block.down])
        acrosses = torch.tensor(
            [[x.starts[own] + x.spacing * one for one in range(x.positions)] for own in block.across]
        )
        rows, columns = downs[:, None, None, :, None] + self._top, acrosses[None, :, None, None, :] + self._left
        place = (rows * self._weight.shape[1] + columns).expand(data.shape[:5]).flatten()
        order = torch.argsort(place, stable=True)
        places, counts = torch.unique_consecutive(place[order], return_counts=True)
        order = order.to(data.device)
        sorted_data = data.reshape(copies, -1).index_select(0, order)
        result = data.new_zeros(copies, self._weight.shape[3])
        first = 0
        for own, count in zip(places.tolist(), counts.tolist(), strict=True):
            last = first + count
            row, column = divmod(own, self._weight.shape[1])
            for down in range(y.width):
                weight = self._weight[row + down, column : column + x.width].flatten(0, 1)
                part = sorted_data[first:last, down * width : (down + 1) * width]
                torch.addmm(result[first:last], part, weight, out=result[first:last])
            first = last
        return torch.empty_like(result).index_copy_(0, order, result).unsqueeze(1)


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
