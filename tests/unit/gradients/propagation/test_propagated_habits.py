"""Habits of those who write networks: differences are followed and right, or refused in one line."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils import parametrizations
from torch.utils.checkpoint import checkpoint
from torchvision.ops import roi_align
from torchvision.transforms.functional import normalize

from approxgrad import FiniteDifference
from approxgrad.gradients.propagation.double import Doubled


def convolution(*numbers, **options):
    return nn.Conv2d(*numbers or (2, 4), 3, padding=1, **options)


class Body(nn.Module):
    """A network whose middle is a function of the module and the input."""

    def __init__(self, function, **members):
        super().__init__()
        torch.manual_seed(0)
        self.function, self.head = function, nn.Linear(4, 3)
        self.conv, self.again = convolution(), convolution(4, 4)
        for name, member in members.items():
            setattr(self, name, member)

    def forward(self, images):
        maps = self.function(self, images)
        return self.head(maps.mean(dim=(2, 3)) if maps.ndim == 4 else maps)


class Square(torch.autograd.Function):
    """A function with a derivative of its own."""

    @staticmethod
    def forward(ctx, x):
        return x * x


def halves(own, x):
    first, second = own.conv(x).chunk(2, dim=1)
    return torch.cat([first * torch.sigmoid(second), second], dim=1)


def written(own, x):
    maps = own.conv(x).clone()
    maps[:, 0] = 0
    maps[:, 1, 2:4] *= 2
    return maps


def skip(own, x):
    maps = own.conv(x)
    return functional.relu_(maps) + maps


def counting(own, x):
    own.calls += 1
    return own.conv(x)


def sequence(own, x):
    return own.lstm(x.flatten(2).transpose(1, 2))[0][:, -1]


def buffered(own, x):
    maps = torch.zeros(len(x), 4, *x.shape[2:])
    maps[:, :2] = x
    maps[:, 2:] = own.conv(x)[:, :2]
    return own.again(maps)


def emptied(own, x):
    maps = own.conv(x)
    maps[maps < 0] = 0
    return maps


def scored(own, x):
    return own.conv(torch.func.grad(lambda y: own.conv(y).sin().sum())(x))


def guessing(own, x):
    return own.conv(x if x.numpy().max() < 100 else x / 255)


def normalised(own, x):
    return own.conv(torch.stack([(one - one.mean()) / one.std().clamp(min=torch.tensor(0.1)) for one in x]))


def elsewhere():
    layer = nn.Linear(7, 5)
    return Body(lambda own, x: layer(own.conv(x)).relu())


def autocast(own, x):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        maps = own.conv(x)
    return maps.float()


def hooked():
    own = Body(lambda own, x: own.conv(x))
    own.conv.register_forward_hook(lambda layer, inputs, output: output * 2)
    return own


FOLLOWED = {
    "a layer called twice": lambda: Body(lambda own, x: own.again(torch.relu(own.again(own.conv(x))))),
    "ReLU in place on a skip": lambda: Body(skip),
    "weights given per call": lambda: Body(lambda own, x: functional.conv2d(x, own.conv.weight.flip(2), padding=1)),
    "weight norm": lambda: Body(lambda own, x: own.conv(x), conv=parametrizations.weight_norm(convolution())),
    "channels last": lambda: Body(lambda own, x: own.conv(x).relu()).to(memory_format=torch.channels_last),
    "slices of a sequence": lambda: Body(
        lambda own, x: own.layers[1:](own.layers[:1](x)), layers=nn.Sequential(convolution(), nn.ReLU(inplace=True))
    ),
    "chunks": lambda: Body(halves),
    "slices that are written": lambda: Body(written),
    "einsum": lambda: Body(lambda own, x: torch.einsum("bchw,dc->bdhw", own.conv(x), own.again.weight[..., 1, 1])),
    "checkpoints": lambda: Body(lambda own, x: checkpoint(lambda y: own.conv(y).relu(), x, use_reentrant=False)),
    "dropout": lambda: Body(lambda own, x: functional.dropout(own.conv(x), training=own.training)),
    "numbers of channels": lambda: Body(lambda own, x: own.conv(x)[:, torch.tensor([3, 0, 1, 1])]),
    "complex numbers": lambda: Body(lambda own, x: torch.fft.fft2(own.conv(x)).abs()),
    "circular padding": lambda: Body(lambda own, x: own.conv(x), conv=convolution(padding_mode="circular")),
    "reflected padding": lambda: Body(lambda own, x: own.conv(x), conv=convolution(padding_mode="reflect")),
    "groups": lambda: Body(lambda own, x: own.conv(x), conv=convolution(groups=2)),
    "a transposed convolution": lambda: Body(
        lambda own, x: own.conv(x).relu(), conv=nn.ConvTranspose2d(2, 4, 3, stride=2, padding=1, groups=2)
    ),
    "cosine similarities": lambda: Body(
        lambda own, x: functional.cosine_similarity(own.conv(x).flatten(2)[:, :, None], own.rows, dim=-1).mean(2),
        rows=nn.Buffer(torch.randn(3, 42, generator=torch.Generator().manual_seed(0))),
    ),
    "a pool with padding and a longer last window": lambda: Body(
        lambda own, x: functional.max_pool2d(own.conv(x).relu(), 3, 3, 1, ceil_mode=True).square()
    ),
    "a matrix times one row": lambda: Body(
        lambda own, x: torch.stack([torch.linspace(0, 9, 336).reshape(4, 84).sin() @ one.flatten() for one in x])
    ),
    "LSTM": lambda: Body(sequence, lstm=nn.LSTM(2, 4, batch_first=True)),
    "a buffer made when it is called": lambda: Body(buffered),
    "conversions to its own precision": lambda: Body(lambda own, x: own.conv(x.float()).double().sin().float()),
    "a precision given to a function": lambda: Body(lambda own, x: own.conv(x).softmax(1, dtype=torch.float32)),
    "a layer that is no member": elsewhere,
    "a tensor that is no member": lambda: Body(lambda own, x: own.conv(x) @ torch.ones(7, 3)),
    "a transform that looks at its own numbers": lambda: Body(
        lambda own, x: own.conv(normalize(x, [0.4, 0.5], [0.2, 0.3]))
    ),
    "statistics of the image": lambda: Body(normalised),
    "whole numbers": lambda: Body(
        lambda own, x: torch.arange(7) - torch.cat([own.conv(x), own.counts.expand(len(x), 1, 6, 7)], 1)[:, 1:],
        counts=nn.Buffer(torch.arange(7)),
    ),
    "noise of a fixed seed": lambda: Body(
        lambda own, x: own.conv(x) + torch.randn(6, 7, generator=torch.Generator().manual_seed(0))
    ),
    "numbers chosen by a mask and replaced": lambda: Body(emptied),
    "places of the largest": lambda: Body(
        lambda own, x: functional.max_unpool2d(
            *functional.max_pool2d(own.conv(x), 2, return_indices=True), 2, output_size=x.shape[2:]
        )
    ),
    "a gradient": lambda: Body(scored),
    "another order of memory": lambda: Body(
        lambda own, x: own.conv(x.double().to(torch.float32, memory_format=torch.channels_last))
    ),
    "an operation that torch cannot vectorise": lambda: Body(
        lambda own, x: roi_align(own.conv(x), [torch.tensor([[0.0, 0, 4, 5]]) for _ in x], 3)
    ),
    "a mask as numbers": lambda: Body(lambda own, x: own.conv(x * ((x > 0.1) * 1.0))),
    "no number one step of the trial further": lambda: Body(
        lambda own, x: own.conv(x) * torch.log(torch.sin(2 * x.sum((1, 2, 3), keepdim=True) + 2.5))
    ),
}
REFUSED = {
    "a hook": (hooked, "layer 'conv' .* has hooks"),
    "an autograd function": (lambda: Body(lambda own, x: Square.apply(own.conv(x))), "tracing fails with"),
    "a buffer that counts": (lambda: Body(counting, calls=nn.Buffer(torch.zeros(()))), "it changes its buffers"),
    "control flow": (
        lambda: Body(lambda own, x: own.conv(x if x.sum() > 0 else -x)),
        "it decides something by numbers",
    ),
    "a number of numbers": (
        lambda: Body(lambda own, x: own.conv(x) / (1 + len(x[x > 1]))),
        r"makes tensors whose shape depends on numbers made from its input \(aten.index.Tensor\)",
    ),
    "a number of places": (
        lambda: Body(lambda own, x: own.conv(x) * len((x > 1).nonzero())),
        r"makes tensors whose shape depends .* \(aten.nonzero.default\)",
    ),
    "a look by numpy": (lambda: Body(guessing), r"numbers leave torch \(numpy\)"),
    "chance": (lambda: Body(lambda own, x: own.conv(x) + torch.rand(1)), "something else in every call"),
    "another precision inside": (lambda: Body(autocast), "it computes in torch.bfloat16, by torch.autocast"),
    "a short precision inside": (
        lambda: Body(lambda own, x: own.conv(x).half().float()),
        "it converts numbers to torch.float16",
    ),
    "an input changed in place": (lambda: Body(lambda own, x: own.conv(x.mul_(2))), "changes a tensor in place"),
}


def images():
    return torch.randn(2, 2, 6, 7, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", FOLLOWED)
def test_differences_are_those_of_evaluations(name):
    model = FOLLOWED[name]().eval()
    before = copy.deepcopy(model.state_dict())
    (found,) = FiniteDifference(0.03, evaluation="propagated", check_rows=False)(model, images(), 1)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    dense = FiniteDifference(0.03, check_rows=False, nominal=True)
    own = copy.deepcopy(model).double()
    with Doubled():
        (expected,) = dense(own, images().double(), 1)
    # Some roundings of float32.
    assert float((found - expected).norm() / expected.norm()) < 1e-6


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_followed_is_refused_in_one_line(name):
    make, said = REFUSED[name]
    with pytest.raises(ValueError, match=said) as error:
        FiniteDifference(0.03, evaluation="propagated", check_rows=False)(make().eval(), images(), 1)
    assert str(error.value).endswith("'dense' takes any model")
    assert "\n" not in str(error.value)
