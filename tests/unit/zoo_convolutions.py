"""Zoo: convolutions of every kind, and those that are replaced from outside."""

import contextlib
from unittest import mock

import torch
from torch import nn
from torch.nn import functional as F

from zoo import equal, images, normal
from zoo_parts import cnn, convolution, small_images, wrapped

signals = normal(2, 2, 6)

# Kinds

equal("convolution of images as large as its kernel", lambda: cnn(nn.Conv2d(2, 3, 2), flat=3), small_images)
equal(
    "convolution of images smaller than its kernel", lambda: cnn(nn.Conv2d(2, 3, 3, padding=1), flat=12), small_images
)
equal(
    "convolution of single pixels",
    lambda: cnn(nn.Conv2d(4, 3, 3, padding=1), nn.Conv2d(3, 5, 1), flat=5),
    normal(2, 4, 1, 1),
)
equal("convolution with stride above its kernel", lambda: cnn(nn.Conv2d(2, 3, 1, stride=2), flat=12), images)
equal("convolution, grouped", lambda: cnn(nn.Conv2d(2, 4, 3, groups=2, padding=1), flat=16), small_images)
equal("convolution, dilated", lambda: cnn(nn.Conv2d(2, 3, 3, dilation=2, padding=2), flat=48), images)
equal(
    "convolution, padded to the same size", lambda: cnn(nn.Conv2d(2, 3, (3, 2), padding="same"), flat=12), small_images
)
equal(
    "convolution without bias, padding valid",
    lambda: cnn(nn.Conv2d(2, 3, 2, padding="valid", bias=False), flat=27),
    images,
)
equal(
    "convolution, reflected", lambda: cnn(nn.Conv2d(2, 3, 3, padding=1, padding_mode="reflect"), flat=12), small_images
)
equal(
    "convolution, circular", lambda: cnn(nn.Conv2d(2, 3, 3, padding=1, padding_mode="circular"), flat=12), small_images
)
equal(
    "convolution, transposed",
    lambda: cnn(nn.ConvTranspose2d(2, 3, 3, stride=2, output_padding=1), flat=108),
    small_images,
)
equal(
    "convolution, depthwise and pointwise",
    lambda: cnn(nn.Conv2d(2, 2, 3, groups=2), nn.Conv2d(2, 4, 1), flat=16),
    images,
)
equal(
    "convolution of signals", lambda: cnn(nn.Conv1d(2, 3, 3, padding=1), nn.ConvTranspose1d(3, 2, 2), flat=14), signals
)
equal(
    "convolution of volumes",
    lambda: cnn(nn.Conv3d(1, 2, 2), nn.ConvTranspose3d(2, 1, 2), flat=8),
    normal(2, 1, 2, 2, 2),
)
equal(
    "convolution of one image without its batch axis",
    lambda: wrapped(
        lambda net, x: torch.stack([net(row) for row in x]),
        nn.Sequential(nn.Conv2d(2, 3, 3, padding=1), nn.MaxPool2d(2), nn.Flatten(0)),
    ),
    small_images,
)
equal(
    "convolution of rows that are folded into the batch axis",
    lambda: wrapped(
        lambda net, x: net(x.reshape(-1, 1, 2, 2)).reshape(len(x), -1),
        nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.Tanh()),
    ),
    small_images,
)
equal(
    "convolution whose images differ from call to call",
    lambda: wrapped(
        lambda net, x: torch.cat([net(x).flatten(1), net(x[..., :1]).flatten(1)], 1), nn.Conv2d(2, 3, 3, padding=1)
    ),
    small_images,
)
equal(
    "convolution in a residual block",
    lambda: wrapped(
        lambda net, x: (x + net(x)).flatten(1), nn.Sequential(nn.Conv2d(2, 2, 3, padding=1), nn.ReLU(inplace=True))
    ),
    small_images,
)


class Own(nn.Conv2d):
    """A convolution of a class of its own, with standardised weights."""

    def forward(self, x):
        weight = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
        return self._conv_forward(x, weight / (weight.view(len(weight), -1).std(1).view(-1, 1, 1, 1) + 1e-5), self.bias)


class Half(nn.Conv2d):
    """A convolution whose class overrides what comes before ``_conv_forward``."""

    def _conv_forward(self, x, weight, bias):
        return super()._conv_forward(x, 0.5 * weight, bias)


class Masked(nn.Conv2d):
    """PixelCNN's convolution: sets weights to zero in its forward."""

    def forward(self, x):
        mask = torch.ones_like(self.weight)
        mask[:, :, 1, 1:] = mask[:, :, 2] = 0
        self.weight.data *= mask
        return super().forward(x)


class Strided(nn.Module):
    """Reads the weights of a convolution by stride."""

    def __init__(self, read):
        super().__init__()
        self.conv, self.read = nn.Conv2d(2, 3, 3, padding=1), read

    def forward(self, x):
        return self.conv(x).flatten(1) + (x.flatten(1) @ self.read(self.conv.weight)).sum(1, keepdim=True)


equal("weight standardisation", lambda: cnn(Own(2, 3, 3, padding=1), flat=12), small_images)
equal("a convolution with its own _conv_forward", lambda: cnn(Half(2, 3, 3, padding=1), flat=12), small_images)
equal(
    "masked convolution that writes its weights",
    lambda: cnn(Masked(2, 3, 3, padding=1), flat=12),
    small_images,
    changes_itself=True,
)
equal("weights read by as_strided", lambda: Strided(lambda w: w.as_strided((8, 6), (6, 1))).eval(), small_images)
equal("weights read by view", lambda: Strided(lambda w: w.view(6, 9)[:, :8].T).eval(), small_images)
equal(
    "weights read as numpy",
    lambda: Strided(lambda w: torch.from_numpy(w.detach().numpy().reshape(-1)[:48].reshape(8, 6))).eval(),
    small_images,
)
equal(
    "weights read from their storage",
    lambda: Strided(
        lambda w: torch.tensor(w.untyped_storage(), dtype=torch.uint8)[:192].view(torch.float32).reshape(8, 6)
    ).eval(),
    small_images,
)
equal(
    "a model in channels-last order",
    lambda: cnn(nn.Conv2d(2, 3, 3, padding=1), nn.MaxPool2d(2), flat=12).to(memory_format=torch.channels_last),
    images,
)
equal("weights that are a view of a larger tensor", lambda: one_tensor(), small_images)
equal("weights on shared memory", lambda: cnn(nn.Conv2d(2, 3, 3, padding=1), flat=12).share_memory(), small_images)


def one_tensor():
    """All weights of the network lie in one flat tensor, as flat optimisers leave them."""
    net = cnn(nn.Conv2d(2, 3, 3, padding=1), flat=12)
    flat = torch.cat([parameter.detach().reshape(-1) for parameter in net.parameters()])
    start = 0
    for parameter in net.parameters():
        parameter.data = flat[start : start + parameter.numel()].view_as(parameter)
        start += parameter.numel()
    return net


# Convolutions that are replaced from outside


def patched(target, name, make):
    """Return what makes a context in which a function of torch is replaced by one made from it."""

    @contextlib.contextmanager
    def context():
        with mock.patch.object(target, name, make(getattr(target, name))):
            yield

    return context


def doubling(function):
    return lambda *arguments, **options: 2 * function(*arguments, **options)


for target, name in (
    (F, "conv2d"),
    (nn.Conv2d, "forward"),
    (nn.Conv2d, "_conv_forward"),
    (F, "max_pool2d"),
    (nn.MaxPool2d, "forward"),
    (nn.Linear, "forward"),
    (nn.Module, "__call__"),
):
    kind = getattr(target, "__name__", str(target)).removeprefix("torch.nn.")
    equal(
        f"{kind}.{name} replaced from outside",
        convolution,
        small_images,
        around=patched(target, name, doubling),
        watched=name != "__call__",
    )
