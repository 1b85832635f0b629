"""Max-pooling before functions that never fall: the same numbers, and only where nothing else reads the function."""

import pytest
import torch
from torch import nn

from approxgrad.gradients.propagation.tracing import Graph

aten = torch.ops.aten
POOL = aten.max_pool2d_with_indices.default


class Read(nn.Module):
    """A network whose ReLU is read by a pool, and by what else a function adds."""

    def __init__(self, first, join):
        super().__init__()
        self.conv, self.first, self.join = nn.Conv2d(2, 3, 3, padding=1), first, join

    def forward(self, x):
        maps = self.first(self.conv(x))
        return self.join(nn.functional.max_pool2d(maps, 2), maps).flatten(1)


def order(module):
    torch.manual_seed(0)
    x = torch.randn(1, 2, 6, 8)
    graph = Graph(module.eval(), x)
    (*_, (_, _, found)) = graph.values(x.double())
    assert torch.equal(found, module.double()(x.double()))
    return graph, [node.target for node in graph.nodes]


@pytest.mark.parametrize("first", [nn.ReLU(), nn.ReLU(inplace=True), nn.ReLU6(), nn.Hardtanh(-0.1, 0.2)], ids=repr)
def test_the_pool_comes_first(first):
    graph, found = order(Read(first, lambda pooled, maps: pooled))
    place = found.index(POOL)
    assert found[place + 2] in (aten.relu.default, aten.hardtanh.default)
    assert graph.shapes[graph.nodes[place + 2]] == (1, 3, 3, 4)
    assert graph.nodes[place + 2].meta["val"].shape == (1, 3, 3, 4)


@pytest.mark.parametrize(
    ("first", "join"),
    [
        (nn.ReLU(), lambda pooled, maps: pooled.sum() + maps),
        (nn.LeakyReLU(-0.5), lambda pooled, maps: pooled),
        (nn.Conv2d(3, 3, 1), lambda pooled, maps: pooled),
        (lambda maps: torch.clamp(maps, max=torch.linspace(0, 1, 8, dtype=maps.dtype)), lambda pooled, maps: pooled),
    ],
    ids=["read twice", "falls", "no function", "a limit for each place"],
)
def test_the_order_stays(first, join):
    _, found = order(Read(first, join))
    place = found.index(POOL)
    before = found[place - 1]
    assert before is not aten.convolution.default or isinstance(first, nn.Conv2d)


def test_places_of_the_largest_are_not_mistaken_for_them():
    def join(pooled, maps):
        values, places = nn.functional.max_pool2d(maps.relu(), 2, return_indices=True)
        return values + 0.1 * places.to(maps.dtype)

    _, found = order(Read(nn.Identity(), join))
    assert found[found.index(POOL) - 1] is aten.relu.default
