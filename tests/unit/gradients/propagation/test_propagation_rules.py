"""Every rule alone: against differences of two evaluations in double precision, and without cancellation in single."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional

from approxgrad.gradients.propagation.network import Network
from approxgrad.gradients.propagation.tracing import Graph

SIZES = (1e-3, 0.1, 1.0, 10.0)
COPIES = 5


class Function(nn.Module):
    def __init__(self, function, *weights):
        super().__init__()
        self.function = function
        self.weights = nn.ParameterList(weights)

    def forward(self, x):
        return self.function(x, *self.weights)


def weight(*shape):
    return nn.Parameter(torch.randn(*shape, generator=torch.Generator().manual_seed(9)))


def batch_norm(kind, channels=3):
    made = kind(channels)
    made.running_mean.normal_()
    made.running_var.uniform_(0.3, 3)
    nn.init.normal_(made.weight)
    return made


IMAGE, LINE, VOLUME, ROW = (3, 7, 6), (3, 11), (2, 5, 4, 6), (12,)

CURVES = {
    "relu": functional.relu,
    "relu6": lambda x: functional.relu6(3 * x),
    "hardtanh": functional.hardtanh,
    "clamp": lambda x: x.clamp(-0.3, 0.4),
    "clamp_min": lambda x: x.clamp(min=-0.3),
    "clamp_from_above": lambda x: torch.clamp_max(x, 0.3),
    "clamp_max": lambda x: x.clamp(max=0.3),
    "leaky_relu": lambda x: functional.leaky_relu(x, 0.2),
    "steep_leaky_relu": lambda x: functional.leaky_relu(x, -1.5),
    "elu": lambda x: functional.elu(x, 0.7),
    "selu": functional.selu,
    "celu": lambda x: functional.celu(x, 0.6),
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "silu": functional.silu,
    "gelu": functional.gelu,
    "gelu_tanh": lambda x: functional.gelu(x, approximate="tanh"),
    "mish": functional.mish,
    "hardsigmoid": functional.hardsigmoid,
    "hardswish": functional.hardswish,
    "softplus": functional.softplus,
    "sharp_softplus": lambda x: functional.softplus(x, beta=3, threshold=2),
    "logsigmoid": functional.logsigmoid,
    "exp": torch.exp,
    "expm1": torch.expm1,
    "log": lambda x: torch.log(0.2 + x * x),
    "log1p": lambda x: torch.log1p(x * x),
    "sqrt": lambda x: torch.sqrt(0.2 + x * x),
    "rsqrt": lambda x: torch.rsqrt(0.2 + x * x),
    "reciprocal": lambda x: torch.reciprocal(1.2 + x * x),
    "square": lambda x: x**2,
    "cube": lambda x: x**3,
    "fifth_power": lambda x: x**5,
    "any_power": lambda x: (0.2 + x * x) ** 0.7,
    "negative_power": lambda x: (0.2 + x * x) ** -3,
    "inverse_root": lambda x: (0.2 + x * x) ** -0.5,
    "high_power": lambda x: (x - 1) ** 9,
    "power_of_a_negative_number": lambda x: (-1 - x * x) ** -2,
    "root_of_zero": lambda x: functional.relu(x).sqrt(),
    "abs": torch.abs,
    "sin": torch.sin,
    "cos": torch.cos,
    "erf": torch.erf,
    "softsign": functional.softsign,
}
"""Elementwise functions."""

OTHERS = {
    "linear": (nn.Linear(12, 5), ROW),
    "linear_on_maps": (nn.Linear(6, 4), IMAGE),
    "linear_without_bias": (nn.Linear(12, 5, bias=False), ROW),
    "conv1d": (nn.Conv1d(3, 4, 3, stride=2, padding=1), LINE),
    "conv2d": (nn.Conv2d(3, 4, 3, padding=1), IMAGE),
    "conv2d_wide": (nn.Conv2d(3, 4, (5, 3), stride=(3, 2), padding=(2, 0), dilation=(1, 2)), IMAGE),
    "conv2d_groups": (nn.Conv2d(3, 6, 3, groups=3), IMAGE),
    "conv2d_same": (nn.Conv2d(3, 2, (4, 3), padding="same"), IMAGE),
    "conv2d_reflect": (nn.Conv2d(3, 2, 3, padding=1, padding_mode="reflect"), IMAGE),
    "conv2d_circular": (nn.Conv2d(3, 2, 3, padding=1, padding_mode="circular"), IMAGE),
    "conv3d": (nn.Conv3d(2, 3, 3, padding=1, stride=(1, 2, 1)), VOLUME),
    "transposed": (nn.ConvTranspose2d(3, 4, 3, stride=2, padding=1, output_padding=1), IMAGE),
    "batch_norm": (batch_norm(nn.BatchNorm2d), IMAGE),
    "batch_norm_without_weight": (nn.BatchNorm1d(3, affine=False), LINE),
    "folded": (nn.Sequential(nn.Conv2d(3, 4, 3), batch_norm(nn.BatchNorm2d, 4), nn.ReLU()), IMAGE),
    "folded_transposed": (nn.Sequential(nn.ConvTranspose2d(3, 4, 3), batch_norm(nn.BatchNorm2d, 4)), IMAGE),
    "instance_norm": (nn.InstanceNorm2d(3, affine=True), IMAGE),
    "layer_norm": (nn.LayerNorm([7, 6]), IMAGE),
    "layer_norm_without_weight": (nn.LayerNorm(12, elementwise_affine=False), ROW),
    "group_norm": (nn.GroupNorm(3, 6), (6, 4, 5)),
    "local_response_norm": (nn.LocalResponseNorm(3, alpha=0.5), IMAGE),
    "prelu": (nn.PReLU(3), IMAGE),
    "max_pool1d": (nn.MaxPool1d(3, 2, padding=1), LINE),
    "max_pool2d": (nn.MaxPool2d(2), IMAGE),
    "max_pool2d_overlapping": (nn.MaxPool2d(3, 2, padding=1), IMAGE),
    "max_pool2d_dilated": (nn.MaxPool2d((2, 3), (3, 1), dilation=(2, 1), ceil_mode=True), IMAGE),
    "max_pool3d": (nn.MaxPool3d(2, 2, padding=1), VOLUME),
    "adaptive_max_pool1d": (nn.AdaptiveMaxPool1d(4), LINE),
    "adaptive_max_pool2d": (nn.AdaptiveMaxPool2d((3, 4)), IMAGE),
    "adaptive_max_pool3d": (nn.AdaptiveMaxPool3d((2, 3, 4)), VOLUME),
    "avg_pool1d": (nn.AvgPool1d(3, 2), LINE),
    "avg_pool2d": (nn.AvgPool2d(3, 2, padding=1, count_include_pad=False), IMAGE),
    "avg_pool3d": (nn.AvgPool3d(2), VOLUME),
    "adaptive_avg_pool2d": (nn.AdaptiveAvgPool2d((3, 4)), IMAGE),
    "global_avg_pool2d": (nn.AdaptiveAvgPool2d(1), IMAGE),
    "adaptive_avg_pool3d": (nn.AdaptiveAvgPool3d((2, 2, 3)), VOLUME),
    "add": (Function(lambda x, w: x + 0.3 * torch.sin(x) + w + 2, weight(3, 7, 6)), IMAGE),
    "add_of_another_rank": (Function(lambda x: x + x.sin().mean(dim=(0, 1))), IMAGE),
    "subtract": (Function(lambda x, w: (1 - x) - (w - x.sin()) - 2 * x[:, :1], weight(3, 7, 6)), IMAGE),
    "multiply": (Function(lambda x, w: x * x.sin() * w * 3, weight(3, 7, 6)), IMAGE),
    "squeeze_excite": (Function(lambda x: x * torch.sigmoid(x.mean((2, 3), keepdim=True))), IMAGE),
    "divide": (Function(lambda x, w: x / (2 + x.cos()) / 3 + w / (2 + x * x), weight(3, 7, 6)), IMAGE),
    "cat": (Function(lambda x, w: torch.cat([x, w, x.sin()], dim=1), weight(1, 2, 7, 6)), IMAGE),
    "stack": (Function(lambda x: torch.stack([x, x.sin()], dim=2)), IMAGE),
    "reshape": (Function(lambda x: x.sin().reshape(len(x), -1, 21, 2).transpose(1, 2).flatten(1)), IMAGE),
    "permute": (Function(lambda x: x.permute(0, 3, 1, 2).sin().unsqueeze(1).squeeze()[None]), IMAGE),
    "slices": (Function(lambda x: x[:, 1:, ::2, -3:].sin() + x[:, [0, 2]][:, :, ::2, :3]), IMAGE),
    "split": (Function(lambda x: torch.cat([own.sin() for own in x.chunk(3, 1)[::-1]], 1)), IMAGE),
    "unbind": (Function(lambda x: x.unbind(2)[1].sin() + x.split([2, 4], 3)[0].sum()), IMAGE),
    "channel_shuffle": (nn.ChannelShuffle(3), (6, 4, 5)),
    "pixel_shuffle": (nn.PixelShuffle(2), (8, 3, 2)),
    "pixel_unshuffle": (nn.PixelUnshuffle(2), (2, 4, 6)),
    "unfold": (nn.Unfold(3, padding=1), IMAGE),
    "roll": (Function(lambda x: torch.roll(x.sin(), (-2, 1), (2, 3))), IMAGE),
    "flip": (Function(lambda x: x.sin().flip(2, 3)), IMAGE),
    "mean": (Function(lambda x: x.sin().mean(dim=(1, 2)) + x.sum(dim=(1, 2)) + x.mean()), IMAGE),
    "cumsum": (Function(lambda x: x.sin().cumsum(2)), IMAGE),
    "pad": (Function(lambda x: functional.pad(x.sin(), (1, 2, 0, 1), value=7.0)), IMAGE),
    "pad_reflect": (nn.ReflectionPad2d((1, 2, 0, 1)), IMAGE),
    "pad_replicate": (nn.ReplicationPad2d((1, 2, 0, 1)), IMAGE),
    "masked": (Function(lambda x: x.sin().masked_fill(torch.eye(7, 6).bool(), -3.0)), IMAGE),
    "where": (Function(lambda x, w: torch.where(w > 0, x.sin(), w), weight(7, 6)), IMAGE),
    "nearest": (nn.Upsample(scale_factor=2, mode="nearest"), IMAGE),
    "bilinear": (nn.Upsample(size=(9, 5), mode="bilinear"), IMAGE),
    "bicubic": (nn.Upsample(size=(9, 5), mode="bicubic", align_corners=True), IMAGE),
    "trilinear": (nn.Upsample(scale_factor=1.5, mode="trilinear"), VOLUME),
    "nearest1d": (nn.Upsample(scale_factor=2), LINE),
    "nearest3d": (nn.Upsample(scale_factor=2), VOLUME),
    "linear1d": (nn.Upsample(size=7, mode="linear"), LINE),
    "nearest_exact": (nn.Upsample(size=(9, 5), mode="nearest-exact"), IMAGE),
    "nearest_exact1d": (nn.Upsample(size=7, mode="nearest-exact"), LINE),
    "nearest_exact3d": (nn.Upsample(size=(3, 5, 7), mode="nearest-exact"), VOLUME),
    "smooth_bilinear": (Function(lambda x: functional.interpolate(x, (4, 3), mode="bilinear", antialias=True)), IMAGE),
    "smooth_bicubic": (Function(lambda x: functional.interpolate(x, (4, 3), mode="bicubic", antialias=True)), IMAGE),
    "pad_reflect1d": (nn.ReflectionPad1d((1, 2)), LINE),
    "pad_reflect3d": (nn.ReflectionPad3d(1), VOLUME),
    "pad_replicate1d": (nn.ReplicationPad1d((1, 2)), LINE),
    "pad_replicate3d": (nn.ReplicationPad3d(1), VOLUME),
    "fold": (nn.Fold((4, 3), (2, 2)), (8, 6)),
    "repeat": (Function(lambda x: x.sin().repeat(1, 2, 1, 3)), IMAGE),
    "triangles": (Function(lambda x: x.sin().tril() + x.cos().triu(1)), IMAGE),
    "diagonal": (Function(lambda x: x.sin().diagonal(dim1=2, dim2=3)), IMAGE),
    "sliding": (Function(lambda x: x.sin().unfold(2, 3, 2)), IMAGE),
    "index_select": (Function(lambda x: x.sin().index_select(2, torch.tensor([4, 0, 4]))), IMAGE),
    "gather": (Function(lambda x: x.sin().gather(3, torch.ones(1, 3, 7, 2, dtype=torch.long))), IMAGE),
    "masked_by_a_tensor": (Function(lambda x, w: x.sin().masked_fill(w > 0, w.mean()), weight(7, 6)), IMAGE),
    "shifted": (Function(lambda x: torch.rsub(x.sin(), 2 * x) + torch.rsub(x, 3)), IMAGE),
    "matrix_times_vector": (Function(lambda x, w: (x.sin()[0] @ w)[None], weight(6)), IMAGE),
    "squeezed": (Function(lambda x: x.sin()[:, :1, :, :1].squeeze((1, 3)) + x[:, :1, 0].squeeze(1)[:, :1]), IMAGE),
    "alias": (Function(lambda x: torch.ops.aten.alias(x.sin()).detach().contiguous()), IMAGE),
    "dropout": (nn.Sequential(nn.Dropout(0.5), nn.Dropout2d(), nn.Identity(), nn.ReLU()), IMAGE),
    "softmax": (nn.Softmax(1), IMAGE),
    "softmin": (nn.Softmin(-1), ROW),
    "log_softmax": (nn.LogSoftmax(1), ROW),
    "logsumexp": (Function(lambda x: torch.logsumexp(x, 1)), IMAGE),
    "masked_softmax": (
        Function(lambda x: x.masked_fill(torch.eye(7, 6).bool(), -torch.inf).softmax(-1)),
        IMAGE,
    ),
    "norm": (Function(lambda x: functional.normalize(x.sin(), dim=1) + x.norm()), IMAGE),
    "amax": (Function(lambda x: x.amax(dim=(2, 3)) + x.amin(dim=2).amax(dim=-1)), IMAGE),
    "maximum": (Function(lambda x, w: torch.maximum(x, w) + torch.minimum(x.sin(), x.cos()), weight(7, 6)), IMAGE),
    "matmul": (Function(lambda x: (x @ x.sin().transpose(-1, -2)).flatten(1)), IMAGE),
    "einsum": (Function(lambda x, w: torch.einsum("ncij,cd->nijd", x, w), weight(3, 4)), IMAGE),
    "written_at_places": (
        Function(lambda x, w: x.sin().index_put((torch.tensor([0]), torch.tensor([2])), w), weight(7, 6)),
        IMAGE,
    ),
    "added_at_places": (
        Function(lambda x, w: w.scatter_add(1, torch.arange(12)[None] % 3, x.sin()), weight(1, 3)),
        ROW,
    ),
    "added_to_places": (Function(lambda x, w: w.index_add(1, torch.arange(12) % 3, x.sin()), weight(1, 3)), ROW),
    "attention": (Function(lambda x: functional.scaled_dot_product_attention(x, x.sin(), x.cos())), IMAGE),
    "transformer": (nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, norm_first=True), (5, 8)),
    "in_place": (Function(lambda x: (x + 0).mul_(x.sin()).add_(1).relu_()), IMAGE),
    "in_place_on_a_view": (Function(lambda x: _written(x.clone())), IMAGE),
}
"""Layers and functions with the shape of one row of their inputs."""

SURE = {
    "sure_softmax": (Function(lambda x: (x + 20 * torch.eye(12)[3]).softmax(1)), ROW),
    "sure_log_softmax": (Function(lambda x: (x + 20 * torch.eye(12)[3]).log_softmax(1)[:, 3:4]), ROW),
}
"""Those whose changes are so small that two evaluations in double precision do not show them."""

WITHOUT_RULE = {
    "sign": Function(lambda x: x.sin() * torch.sign(x)),
    "step": Function(lambda x: torch.where(x > 0, x.sin(), 2 * x.sin())),
    "sort": Function(lambda x: x.sin().sort(dim=1).values),
    "lp_pool": Function(lambda x: functional.lp_pool1d(x[:, None], 2, 3)),
    "atan": Function(torch.atan),
    "largest_of_one_number": Function(lambda x: (x.mean().amax() * x.sin()).reshape(1, -1)),
    "atan_of_one_number": Function(lambda x: torch.atan(x.mean()).reshape(1, 1)),
}


def _written(x):
    x[:, 0] *= 2
    x[:, 1, 2:] = x[:, 2, 2:].sin()
    return x


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, x):
        return self.inner(x, x, x, need_weights=False)[0]


class Recurrent(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.inner = kind(4, 3, batch_first=True)

    def forward(self, x):
        return self.inner(x)[0]


OTHERS["multihead"] = (Attention(), (5, 8))
OTHERS["lstm"] = (Recurrent(nn.LSTM), (5, 4))
OTHERS["gru"] = (Recurrent(nn.GRU), (5, 4))
ALL = {name: (Function(curve), ROW) for name, curve in CURVES.items()} | OTHERS


def made(name, dtype):
    torch.manual_seed(1)
    module, shape = (ALL | SURE)[name]
    module = copy.deepcopy(module).to(dtype).eval()
    return module, torch.randn(1, *shape, dtype=dtype)


def moves(shape, size):
    """Changes of single features, and of all at once."""
    generator = torch.Generator().manual_seed(2)
    single = torch.zeros(COPIES - 1, shape.numel(), dtype=torch.float64)
    chosen = torch.randint(0, shape.numel(), (COPIES - 1,), generator=generator)
    single[torch.arange(COPIES - 1), chosen] = size * torch.tensor([1.0, -1.0, 0.7, -0.6], dtype=torch.float64)
    every = size * torch.randn(1, shape.numel(), generator=generator, dtype=torch.float64)
    return torch.cat([single, every]).reshape(COPIES, *shape)


def propagated(module, x, change, dtype):
    graph = Graph(module, x)
    network = Network(graph, dtype)
    return network.change(network.base(x), {graph.source: change.to(dtype)}), network


def dense(module, x, change):
    own, point = copy.deepcopy(module).double(), x.double()
    with torch.no_grad():
        return torch.stack([own(point + moved) - own(point) for moved in change])


@pytest.mark.parametrize("name", ALL)
def test_a_rule_is_the_difference_of_two_evaluations(name):
    module, x = made(name, torch.float64)
    for size in SIZES:
        change = moves(x.shape, size)
        found, network = propagated(module, x, change, torch.float64)
        expected = dense(module, x, change)
        assert network.without_rule == []
        assert found.shape == expected.shape
        # Each copy on its own scale, so that a small one is not hidden by a large one.
        errors = (found - expected).flatten(1).norm(dim=1)
        assert (errors <= 1e-9 * expected.flatten(1).norm(dim=1) + 1e-300).all(), (size, errors)


@pytest.mark.parametrize("name", ALL | SURE)
@pytest.mark.parametrize("size", [1.0, 1e-7])
def test_single_precision_loses_no_digits(name, size):
    module, x = made(name, torch.float32)
    change = moves(x.shape, size).float().double()
    found, _ = propagated(module, x, change, torch.float32)
    expected, _ = propagated(module.double(), x.double(), change, torch.float64)
    errors = (found.double() - expected).flatten(1).norm(dim=1)
    assert found.dtype == torch.float32
    assert (errors <= 1e-5 * expected.flatten(1).norm(dim=1)).all(), errors


@pytest.mark.parametrize("name", WITHOUT_RULE)
def test_an_operation_without_a_rule_is_recorded_and_subtracted_in_double_precision(name):
    torch.manual_seed(1)
    module, x = WITHOUT_RULE[name], torch.randn(1, *ROW)
    for size in SIZES:
        change = moves(x.shape, size).float().double()
        found, network = propagated(module, x, change, torch.float32)
        expected = dense(module, x, change)
        assert network.without_rule != []
        assert (found - expected).norm() <= 1e-6 * expected.norm()
