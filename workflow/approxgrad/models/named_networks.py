"""Networks that other libraries know by name: torchvision's, timm's, and image classifiers of Hugging Face."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from approxgrad.descriptions import Text, option
from approxgrad.messages import one_line
from approxgrad.models.kind import MODELS, ModelError, Shape
from approxgrad.models.network_kind import Network
from approxgrad.models.origins import Weights
from approxgrad.models.own_code import OptionedNetwork

if TYPE_CHECKING:
    from torch import nn

NAME = "^[A-Za-z0-9][A-Za-z0-9_.-]*$"

DOWNLOADS = ("weights", "weights_backbone", "pretrained")
"""Arguments by which the libraries would download weights."""


@dataclass(frozen=True, kw_only=True)
class LibraryNetwork(OptionedNetwork):
    """A network that a library makes from a name."""

    keyed: ClassVar[bool] = True

    @property
    def words(self) -> str:
        """The name that the library knows."""
        return f"{self.name} {getattr(self, self.name)}"

    def faults(self) -> list[str]:
        """Return also an option that would download weights."""
        asked = [name for name in DOWNLOADS if name in self.options]
        hint = "expected weights under `weights`, from a file or a repository"
        return super().faults() + [f"options.{name}: {hint}" for name in asked]

    def shape_fault(self, shape: Shape) -> str | None:
        """Return a line for inputs that are not images."""
        return None if len(shape) == 3 else f"{self.words}: expected images, got shape {shape}"


@MODELS.add
@dataclass(frozen=True, kw_only=True)
class TorchvisionNetwork(LibraryNetwork):
    """A classification network of torchvision, untrained: `architecture: torchvision/vgg11` says the same."""

    name: ClassVar[str] = "torchvision"
    label: ClassVar[str] = "torchvision network"

    torchvision: Annotated[Text, option("Name in torchvision.models, such as vgg11 or mobilenet_v2.", pattern=NAME)]

    def shape_fault(self, shape: Shape) -> str | None:
        """Return a line for inputs that are not colour images."""
        fault = super().shape_fault(shape)
        return fault or (f"{self.words}: expected colour images, got shape {shape}" if shape[0] != 3 else None)

    def build(self, input_shape: Shape, outputs: int) -> nn.Module:
        """Return the network with so many classes."""
        from torchvision import models

        from approxgrad.models.evaluating import explained

        _check_name(self.torchvision, models.list_models(module=models), "torchvision")
        with explained(f"torchvision {self.torchvision}: failed"):
            model: nn.Module = models.get_model(self.torchvision, num_classes=outputs, **self.options)
        return model


@MODELS.add
@dataclass(frozen=True, kw_only=True)
class TimmNetwork(LibraryNetwork):
    """An image network of the library timm, untrained: `architecture: timm/resnet18` says the same."""

    name: ClassVar[str] = "timm"
    label: ClassVar[str] = "timm network"

    timm: Annotated[Text, option("Name in timm, which must be installed.", pattern=NAME)]

    def build(self, input_shape: Shape, outputs: int) -> nn.Module:
        """Return the network with so many classes, for images with so many channels."""
        try:
            import timm
        except ImportError as error:
            raise ModelError(f"timm {self.timm}: {one_line(error)}; pip install timm") from None
        from approxgrad.models.evaluating import explained

        _check_name(self.timm.partition(".")[0], timm.list_models(), "timm")
        with explained(f"timm {self.timm}: failed"):
            model: nn.Module = timm.create_model(
                self.timm, pretrained=False, num_classes=outputs, in_chans=input_shape[0], **self.options
            )
        return model


@MODELS.add
@dataclass(frozen=True, kw_only=True)
class HuggingFaceClassifier(Network):
    """An image classifier in a local folder, as `save_pretrained` of the library transformers writes it.

    Its logits are explained. The data must have as many classes, in the order of the classifier, and its normalisation.
    """

    name: ClassVar[str] = "huggingface"
    label: ClassVar[str] = "Hugging Face classifier"

    huggingface: Annotated[
        Text,
        option("Folder with config.json and, unless `weights` or `training` say otherwise, model.safetensors."),
    ]

    def __post_init__(self) -> None:
        if self.training is None and self.weights is None:
            object.__setattr__(self, "weights", Weights(file=str(Path(self.huggingface) / "model.safetensors")))

    @property
    def words(self) -> str:
        """The name of the folder."""
        return f"Hugging Face {Path(self.huggingface).name}"

    @property
    def own_files(self) -> dict[str, list[str]]:
        """The configuration of the classifier, and its weights."""
        return {self.name: [str(Path(self.huggingface) / "config.json")], **super().own_files}

    def build(self, input_shape: Shape, outputs: int) -> nn.Module:
        """Return the classifier as a network from images to logits."""
        try:
            from transformers import AutoConfig, AutoModelForImageClassification
        except ImportError as error:
            raise ModelError(f"huggingface: {one_line(error)}; pip install transformers") from None
        from approxgrad.models.evaluating import explained

        with explained(f"huggingface {self.huggingface}: failed"):
            config = AutoConfig.from_pretrained(self.huggingface, local_files_only=True, trust_remote_code=False)
            model: nn.Module = AutoModelForImageClassification.from_config(config, trust_remote_code=False)
        if config.num_labels != outputs:
            raise ModelError(f"huggingface {self.huggingface}: has {config.num_labels} classes, the data {outputs}")
        # A subclass and no module around it, so that weights keep their names.
        model.__class__ = type("Logits", (type(model),), {"forward": _logits(type(model))})
        return model


def _logits(kind: Any) -> Any:
    def forward(self: Any, pixel_values: Any) -> Any:
        return kind.forward(self, pixel_values=pixel_values).logits

    return forward


def _check_name(name: str, known: list[str], library: str) -> None:
    if name not in known:
        close = difflib.get_close_matches(name, known, n=3)
        hint = f", such as {' or '.join(close)}" if close else ""
        raise ModelError(f"{library} {name}: is not an architecture of the installed version; expected one{hint}")
