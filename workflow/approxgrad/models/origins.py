"""Where the weights of a network come from: training in the study, or elsewhere."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from approxgrad.descriptions import Description, Integer, Number, Text, option


@dataclass(frozen=True, kw_only=True)
class Decay(Description):
    """Decay of the learning rate."""

    factor: Annotated[Number, option("Multiplier.", gt=0, le=1)]
    every: Annotated[Integer, option("Epochs between two multiplications.", ge=1)]


@dataclass(frozen=True, kw_only=True)
class Training(Description):
    """How a model is trained."""

    epochs: Annotated[Integer, option("At most so many passes over the training rows.", ge=1)]
    batch_size: Annotated[Integer, option("Rows of one gradient step.", ge=2)]
    learning_rate: Annotated[Number, option("Of Adam.", gt=0)]
    decay: Annotated[Decay | None, option("Multiply the learning rate by `factor` every `every` epochs.")] = None
    patience: Annotated[
        Integer | None, option("Stop when the validation loss has not fallen for so many epochs.", ge=1)
    ] = None


@dataclass(frozen=True, kw_only=True)
class Weights(Description):
    """Where weights come from."""

    file: Annotated[
        Text, option("Path of a safetensors file or torch state dictionary, or its name in the repository.")
    ]
    repository: Annotated[
        Text | None,
        option(
            "Hugging Face repository that holds the file, as owner/name.", pattern="^[A-Za-z0-9._-]+/[A-Za-z0-9._-]+$"
        ),
    ] = None
    revision: Annotated[
        Text | None,
        option("Commit, branch or tag of the repository; a commit makes the download reproducible."),
    ] = None
    sha256: Annotated[Text | None, option("Checksum that the file must have.", pattern="^[0-9a-fA-F]{64}$")] = None
