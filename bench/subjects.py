"""The models that are benchmarked, untrained: speed does not depend on the weights."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from approxgrad import CompiledModel
from approxgrad.gradients.evaluating.checks import Model
from approxgrad.models.kind import MODELS

STEP = 0.01
TARGET = 3


@dataclass(frozen=True)
class Subject:
    """A model in evaluation mode and the images it is given."""

    name: str
    model: Model
    images: Tensor

    @property
    def features(self) -> int:
        """Number of features of an image."""
        return self.images[0].numel()

    @cached_property
    def compiled(self) -> CompiledModel:
        """The model compiled for evaluation."""
        return CompiledModel(self.model)


ARCHITECTURES = {"cnn": {}, "resnet18": {"stem": "imagenet"}, "resnet50": {"stem": "cifar"}}


def subject(name: str, side: int, device: torch.device, images: int = 1) -> Subject:
    """Return a model for colour images of `side` x `side` pixels with random weights and images."""
    torch.manual_seed(0)
    model = MODELS[name](**ARCHITECTURES[name]).build((3, side, side), 10).eval().to(device)
    return Subject(name, model, torch.randn(images, 3, side, side).to(device))


def some_features(subject: Subject, count: int) -> Tensor:
    """Return feature numbers spread evenly over an image."""
    count = min(count, subject.features)
    return torch.arange(count, device=subject.images.device) * subject.features // count
