"""Habits of those who write networks: differences are followed and right, or refused in one line."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils import parametrizations
from torch.utils.checkpoint import checkpoint

from approxgrad import FiniteDifference


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
    "LSTM": lambda: Body(sequence, lstm=nn.LSTM(2, 4, batch_first=True)),
}
REFUSED = {
    "a hook": (hooked, "layer 'conv' .* has hooks"),
    "an autograd function": (lambda: Body(lambda own, x: Square.apply(own.conv(x))), "tracing fails with"),
    "a buffer that counts": (lambda: Body(counting, calls=nn.Buffer(torch.zeros(()))), "it changes its buffers"),
    "control flow": (lambda: Body(lambda own, x: own.conv(x if x.sum() > 0 else -x)), "tracing fails with"),
    "chance": (lambda: Body(lambda own, x: own.conv(x) + torch.rand(1)), "something else in every call"),
    "another precision inside": (lambda: Body(autocast), "tracing fails with|converts numbers"),
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
    (expected,) = dense(copy.deepcopy(model).double(), images().double(), 1)
    # Some roundings of float32.
    assert float((found - expected).norm() / expected.norm()) < 1e-6


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_followed_is_refused_in_one_line(name):
    make, said = REFUSED[name]
    with pytest.raises(ValueError, match=said) as error:
        FiniteDifference(0.03, evaluation="propagated", check_rows=False)(make().eval(), images(), 1)
    assert str(error.value).endswith("'dense' takes any model")
    assert "\n" not in str(error.value)
