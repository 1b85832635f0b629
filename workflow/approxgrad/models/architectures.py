"""The architectures of this package."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from approxgrad.descriptions import Integer, Number, option
from approxgrad.models.kind import MODELS, Shape
from approxgrad.models.network_kind import Network

if TYPE_CHECKING:
    from torch import nn


@MODELS.add
@dataclass(frozen=True, kw_only=True)
class ConvolutionalNetwork(Network):
    """The image network of the thesis: three convolutions and two linear layers."""

    name: ClassVar[str] = "cnn"
    label: ClassVar[str] = "CNN"
    smallest_side: ClassVar[int] = 4

    def build(self, input_shape: Shape, outputs: int) -> nn.Module:
        """Return an :class:`approxgrad.models.networks.CNN`."""
        from approxgrad.models.networks import CNN

        return CNN(input_shape, outputs)


@MODELS.add
@dataclass(frozen=True, kw_only=True)
class MultilayerPerceptron(Network):
    """The tabular network of the thesis: hidden layers with ReLU and dropout, and a linear output."""

    name: ClassVar[str] = "mlp"
    label: ClassVar[str] = "MLP"

    hidden: Annotated[
        tuple[Annotated[Integer, option("Width.", ge=1, le=1000000)], ...],
        option("Widths of the hidden layers.", min_length=1),
    ] = (256, 128, 64)
    dropout: Annotated[Number, option("Dropout after each hidden layer.", ge=0, lt=1)] = 0.4

    def build(self, input_shape: Shape, outputs: int) -> nn.Module:
        """Return an :class:`approxgrad.models.networks.MLP`."""
        from approxgrad.models.networks import MLP

        return MLP(input_shape, outputs, self.hidden, self.dropout)


@dataclass(frozen=True, kw_only=True)
class ResidualNetwork(Network):
    """A residual network of torchvision (He et al., 2016, https://arxiv.org/abs/1512.03385) with a choice of stem."""

    smallest_side: ClassVar[int] = 1

    stem: Annotated[
        Literal["imagenet", "cifar"],
        option("First layer; imagenet is torchvision's, cifar a 3 x 3 convolution without max-pooling."),
    ] = "imagenet"

    def build(self, input_shape: Shape, outputs: int) -> nn.Module:
        """Return :func:`approxgrad.models.networks.residual_network`."""
        from approxgrad.models.networks import residual_network

        return residual_network(self.name, input_shape, outputs, self.stem)


@MODELS.add
@dataclass(frozen=True, kw_only=True)
class ResNet18(ResidualNetwork):
    """torchvision's resnet18."""

    name: ClassVar[str] = "resnet18"
    label: ClassVar[str] = "ResNet-18"


@MODELS.add
@dataclass(frozen=True, kw_only=True)
class ResNet50(ResidualNetwork):
    """torchvision's resnet50."""

    name: ClassVar[str] = "resnet50"
    label: ClassVar[str] = "ResNet-50"
