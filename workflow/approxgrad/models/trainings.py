"""Models that a study trains several times, from other seeds: what each training is called."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from approxgrad.descriptions import Integer, option

Repeats = Annotated[
    Integer,
    option(
        "How often the model is trained, each time from another seed, to tell what holds for other trainings as well. "
        "The second is called NAME-2, and so on; pictures are of the first.",
        ge=1,
        le=1000,
    ),
]
"""Type of the option, for kinds that a study trains."""


def training_name(model: str, number: int) -> str:
    """Return what a training of a model is called, from 1 on: the first as the model, so that more change nothing."""
    return model if number == 1 else f"{model}-{number}"


def entry_of(models: Mapping[str, Any], name: str) -> Any:
    """Return the entry in a section of models that a training was configured by."""
    return models[name] if name in models else models[name.rpartition("-")[0]]
