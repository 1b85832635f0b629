"""Zoo: the small networks and inputs that many members are made of."""

import torch
from torch import nn

from zoo import normal

TRAINING = "model: .*training mode"
CHANGES = "model: .*(training mode|two evaluations)"

small_images = normal(2, 2, 2, 2)
"""Images no larger than the kernel of a padded convolution, which an engine may compute in another way."""


def mlp(*layers, width=6, features=5, outputs=3):
    """A network with layers in its middle, where `width` numbers pass."""
    return nn.Sequential(nn.Linear(features, width), *layers, nn.Tanh(), nn.Linear(width, outputs)).eval()


def cnn(*layers, flat, outputs=3):
    """A network of image layers, whose output has `flat` numbers."""
    return nn.Sequential(*layers, nn.Tanh(), nn.Flatten(), nn.Linear(flat, outputs)).eval()


def with_statistics(model):
    """Give running statistics other values than 0 and 1."""
    for name, buffer in model.named_buffers():
        if name.endswith(("running_mean", "running_var")):
            buffer.copy_(0.5 + torch.rand_like(buffer))
    return model


class Wrapped(nn.Module):
    """A module around a function of inputs and a network."""

    def __init__(self, function, net):
        super().__init__()
        self.function, self.net = function, net

    def forward(self, x):
        return self.function(self.net, x)


def wrapped(function, net):
    return Wrapped(function, net).eval()


def convolution():
    """A convolution of images as small as its kernel, and pooling."""
    return cnn(nn.Conv2d(2, 3, 3, padding=1), nn.MaxPool2d(2), flat=3)


def energy():
    """A smooth network of one output."""
    return nn.Sequential(nn.Linear(5, 6), nn.Softplus(), nn.Linear(6, 1)).eval()


def function(x):
    """A plain function of vectors with one output for each feature."""
    return x.sin().cumsum(1)
