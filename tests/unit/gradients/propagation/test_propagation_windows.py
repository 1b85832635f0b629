"""Windows against two evaluations in double precision: random graphs of convolutions, pools, sums and joins."""

import random

import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from approxgrad.gradients.propagation.network import Network, unit_moves
from approxgrad.gradients.propagation.patches import Patches
from approxgrad.gradients.propagation.plan import Plan, first_windows, reached_windows
from approxgrad.gradients.propagation.run import Propagator
from approxgrad.gradients.propagation.tracing import Graph

BUDGETS = (2**29, 300_000, 1)


class Random(nn.Module):
    """A random graph of layers on maps, each of which reads one or two of the maps before it."""

    def __init__(self, seed: int, shape: tuple[int, int, int], depth: int, end: str) -> None:
        super().__init__()
        draw, self.end = random.Random(seed), end
        torch.manual_seed(seed)
        self.layers, self.reads = nn.ModuleList(), []
        maps = [torch.zeros(1, *shape)]
        while len(self.layers) < depth:
            first = len(maps) - 1 if draw.random() < 0.85 else draw.randrange(len(maps))
            alike = [own for own in range(len(maps)) if maps[own].shape[2:] == maps[first].shape[2:]]
            alike = [own for own in alike if maps[own].shape == maps[first].shape and own != first] or alike
            reads = [first, draw.choice(alike)]
            layer = self._layer(draw, *(maps[own].shape[1] for own in reads))
            reads = reads if isinstance(layer, Two) else reads[:1]
            try:
                maps.append(layer.eval()(*(maps[own].clone() for own in reads)))
            except RuntimeError:
                continue
            if min(maps[-1].shape) == 0 or maps[-1].shape[1] > 12 or not maps[-1].isfinite().all():
                maps.pop()
                continue
            self.layers.append(layer)
            self.reads.append(reads)

    def _layer(self, draw, width, other):
        kinds = [
            "conv",
            "conv",
            "depthwise",
            "pool",
            "relu",
            "relu",
            "curve",
            "norm",
            "mean",
            "sum",
            "sum",
            "sum",
            "join",
        ]
        kind = draw.choice(kinds)
        kernel, stride, dilation = (draw.choice(own) for own in ((1, 2, 3, 3, 5), (1, 1, 2, 3), (1, 1, 1, 2)))
        if kind == "conv":
            groups, size = draw.choice([1, width]), (kernel, draw.choice([1, 3]))
            padding = (draw.randint(0, 3), draw.randint(0, 1))
            return nn.Conv2d(width, 2 * groups, size, (stride, draw.choice([1, 2])), padding, dilation, groups)
        if kind == "depthwise":
            return nn.Conv2d(width, width, 3, stride, 1, groups=width)
        if kind == "pool":
            kernel = draw.choice([2, 3])
            padding, ceil = draw.randint(0, kernel // 2), draw.random() < 0.5
            return nn.MaxPool2d(kernel, draw.choice([1, 2, 3]), padding, draw.choice([1, 2]), ceil_mode=ceil)
        if kind == "norm":
            norm = nn.BatchNorm2d(width)
            norm.running_mean.normal_()
            norm.running_var.uniform_(0.5, 2)
            return norm
        if kind == "mean":
            return nn.AvgPool2d((2, draw.choice([1, 2, 3])), (draw.choice([1, 2]), draw.choice([1, 2])))
        if kind == "curve":
            slopes = nn.PReLU(width)
            nn.init.normal_(slopes.weight)
            return draw.choice(
                [slopes, nn.SiLU(), nn.Sigmoid(), nn.ReLU6(), nn.Hardswish(), nn.LeakyReLU(0.1), Half(), Pole()]
            )
        if kind == "sum" and width == other:
            return Two("sum")
        return Two("join") if kind == "join" else nn.ReLU()

    def forward(self, x):
        maps = [x]
        for layer, reads in zip(self.layers, self.reads, strict=True):
            maps.append(layer(*(maps[own] for own in reads)))
        last = maps[-1]
        if self.end == "mean":
            return last.mean(dim=(2, 3))
        weight = torch.linspace(-1, 1, 3 * last[0].numel(), dtype=last.dtype).reshape(3, -1).sin()
        if self.end == "maps":
            return last.flatten(1)
        return functional.linear(last.flatten(1), weight, weight[:, 0] if self.end == "affine" else None)


class Half(nn.Module):
    def forward(self, x):
        return 0.5 * x / torch.full((x.shape[1], 1, 1), 3, dtype=x.dtype) - 0.1


class Pole(nn.Module):
    """Functions without a value at zero, which is what lies beside a map."""

    def forward(self, x):
        size = x.abs() + 0.5
        return torch.log(size) + size.reciprocal() - size.sqrt() + size**-0.7


class Two(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.kind = kind

    def forward(self, first, second):
        return first - second if self.kind == "sum" else torch.cat([first, second], 1)


def dense(graph, x, features, moves):
    moved = x.double() + unit_moves(x.shape, features, moves, torch.float64)
    with torch.no_grad():
        return torch.stack([graph.module(own) for own in moved]) - graph.module(x.double())


def propagated(plan, x, features, moves, budget):
    propagator = Propagator(plan, x, budget)
    found = torch.full((len(features), *propagator.output.shape), torch.nan, dtype=torch.float64)
    for places, change in propagator.changes(features, moves):
        found[places] = change.double()
    return found


def periods(network):
    waiting, found = [(1, 1)], {}
    while waiting:
        period = waiting.pop()
        found[period], longer = reached_windows(
            network, period, Patches(network.graph.shapes[network.graph.source][1:])
        )
        waiting += [own for own in longer if own not in found]
    return found


def point(draw_kind, shape, dtype=torch.float64):
    if draw_kind == "zero":
        return torch.zeros(1, *shape, dtype=dtype)
    x = torch.randn(1, *shape, dtype=dtype)
    return x.round() if draw_kind == "ties" else x


@settings(
    max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), phases=[Phase.explicit, Phase.generate]
)
@given(
    seed=st.integers(0, 2**31),
    channels=st.integers(1, 3),
    height=st.integers(3, 12),
    width=st.integers(1, 12),
    depth=st.integers(3, 9),
    end=st.sampled_from(["mean", "flat", "affine", "maps"]),
    values=st.sampled_from(["random", "ties", "zero"]),
    size=st.sampled_from([1e-3, 0.5, 10.0]),
    alike=st.booleans(),
    subset=st.booleans(),
    data=st.data(),
)
def test_windows_are_the_difference_of_two_evaluations(
    seed, channels, height, width, depth, end, values, size, alike, subset, data
):
    module = Random(seed, (channels, height, width), depth, end).double().eval()
    x = point(values, (channels, height, width))
    graph = Graph(module, x)
    network = Network(graph, torch.float64)
    plan = Plan(network)
    reached = max(periods(network).values(), key=lambda own: (len(own.forms), own.period))
    counts = [n for n, own in enumerate(reached.forms, start=1) if not network.rules[own].several]
    plan.windows = (
        first_windows(reached, data.draw(st.sampled_from([*counts[-1:] * len(counts), *counts]))) if counts else None
    )
    features = torch.randperm(x.numel())[: 5 if subset else x.numel()]
    moves = torch.full((len(features),), -size if seed % 2 else size, dtype=torch.float64)
    moves = moves if alike else moves * torch.rand_like(moves).add(0.5) * torch.randn_like(moves).sign()
    check(plan, x, features, moves, data.draw(st.sampled_from(BUDGETS)))


def check(plan, x, features, moves, budget):
    graph = plan.network.graph
    found = propagated(plan, x, features, moves, budget)
    expected = dense(graph, x, features, moves)
    output = graph.module(x).norm()
    errors = (found - expected).flatten(1).norm(dim=1)
    assert (errors <= 1e-10 * expected.flatten(1).norm(dim=1) + 1e-13 * (1 + output)).all()


def blocks(stride):
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(4, 4, 3, stride, padding=1),
        nn.ReLU6(),
        nn.MaxPool2d(3, 2, padding=1),
        nn.Conv2d(4, 3, 5, padding=2),
        nn.Hardtanh(),
        nn.Conv2d(3, 3, 3, padding=1),
    )


FIXED = {
    "pools": nn.Sequential(blocks(1), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(27, 3)),
    "strides": nn.Sequential(blocks(2), nn.ReLU(), nn.Flatten(), nn.Linear(27, 3, bias=False)),
    "mean": nn.Sequential(blocks(1), nn.AdaptiveAvgPool2d(1), nn.Flatten()),
}


@pytest.mark.parametrize("budget", BUDGETS)
@pytest.mark.parametrize("name", FIXED)
@pytest.mark.parametrize("size", [0.01, -5.0])
def test_all_nodes_on_windows(name, budget, size):
    torch.manual_seed(0)
    x = torch.randn(1, 2, 12, 11).double()
    network = Network(Graph(FIXED[name].double().eval(), x), torch.float64)
    plan = Plan(network)
    reached = max(periods(network).values(), key=lambda own: len(own.forms))
    plan.windows = first_windows(reached, len(reached.forms))
    assert len(reached.forms) >= 8
    assert len(plan.windows.ends) == 1
    features = torch.arange(x.numel())
    check(plan, x, features, torch.full((len(features),), size, dtype=torch.float64), budget)


def test_a_kernel_of_one_place_with_a_stride():
    """OneDNN 3.12 is wrong for one channel, batches of three or more, and a stride along rows only."""
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(1, 4, (3, 2), (1, 3), (3, 0)), nn.ReLU(), nn.Flatten(), nn.Linear(192, 3)).eval()
    x = torch.randn(1, 1, 8, 12)
    plan = Plan(Network(Graph(module, x), torch.float32))
    assert plan.windows is not None
    features = torch.arange(x.numel())
    moves = torch.linspace(0.5, 1, len(features), dtype=torch.float64)
    found, expected = propagated(plan, x, features, moves, BUDGETS[0]), dense(plan.network.graph, x, features, moves)
    assert (found - expected).norm() < 1e-6 * expected.norm()
