"""The networks behind the architectures, as torch modules."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor, nn


class CNN(nn.Module):
    """Three 3 x 3 convolutions of 32, 32 and 64 channels with ReLU, and a hidden layer of 256 units.

    2 x 2 max-pooling follows the second and the third convolution. The input shape is channels, height and width.
    """

    def __init__(self, input_shape: tuple[int, ...], outputs: int) -> None:
        super().__init__()
        channels, height, width = input_shape
        self.conv1 = nn.Conv2d(channels, 32, 3, padding=1)
        self.conv2 = nn.Conv2d(32, 32, 3, padding=1)
        self.conv3 = nn.Conv2d(32, 64, 3, padding=1)
        self.pool = nn.MaxPool2d(2)
        self.relu = nn.ReLU()
        self.fc1 = nn.Linear(64 * (height // 4) * (width // 4), 256)
        self.fc2 = nn.Linear(256, outputs)

    def forward(self, images: Tensor) -> Tensor:
        """Return outputs of shape (N, outputs) for images of shape (N, *input_shape)."""
        maps = self.relu(self.conv1(images))
        maps = self.pool(self.relu(self.conv2(maps)))
        maps = self.pool(self.relu(self.conv3(maps)))
        return self.fc2(self.relu(self.fc1(maps.flatten(1))))


class MLP(nn.Module):
    """Hidden layers of the given widths with ReLU and dropout, and a linear output; inputs are flattened."""

    def __init__(self, input_shape: tuple[int, ...], outputs: int, hidden: Sequence[int], dropout: float) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        width = math.prod(input_shape)
        for units in hidden:
            layers += [nn.Linear(width, units), nn.ReLU(), nn.Dropout(dropout)]
            width = units
        self.network = nn.Sequential(*layers, nn.Linear(width, outputs))

    def forward(self, inputs: Tensor) -> Tensor:
        """Return outputs of shape (N, outputs) for inputs of shape (N, *input_shape)."""
        return self.network(inputs.flatten(1))


def residual_network(name: str, input_shape: tuple[int, ...], outputs: int, stem: str) -> nn.Module:
    """Return the network of that name in ``torchvision.models.resnet``, for images with any number of channels.

    The stem ``imagenet`` is torchvision's; ``cifar`` is a 3 x 3 convolution without max-pooling.
    """
    # Importing torchvision takes as long as importing torch; only these networks need it.
    from torchvision.models import resnet

    channels = input_shape[0]
    network: nn.Module = getattr(resnet, name)(num_classes=outputs)
    if stem == "cifar":
        network.conv1 = nn.Conv2d(channels, 64, 3, padding=1, bias=False)
        network.maxpool = nn.Identity()
    elif channels != 3:
        network.conv1 = nn.Conv2d(channels, 64, 7, stride=2, padding=3, bias=False)
    return network
