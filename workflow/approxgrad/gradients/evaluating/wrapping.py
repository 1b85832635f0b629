"""Wrappers that this package puts around a user's model, and how its modules find the model again."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


class ModelWrapper:
    """A callable of this package around a model, which is reachable as ``__wrapped__``.

    Only instances of this class are unwrapped: an attribute of a user's object never means anything here, whatever its
    name.
    """

    weights_in_order = False
    """Whether a compiler has reordered the weights of convolutions once and for all."""

    same_outputs = True
    """Whether it returns what the model does."""

    def __init__(self, model: Any) -> None:
        self.__wrapped__ = model

    def advance(self, evaluations: int) -> None:
        """Take note of work that stands for so many evaluations, but is not done by calling the model."""


def wrappers(model: Any) -> Iterator[ModelWrapper]:
    """Yield the wrappers around a user's model, the outermost first."""
    while isinstance(model, ModelWrapper):
        yield model
        model = model.__wrapped__


def unwrapped(model: Any) -> Any:
    """Return the user's model behind all wrappers."""
    for wrapper in wrappers(model):
        model = wrapper.__wrapped__
    return model


def weights_in_order(model: Any) -> bool:
    """Return whether a wrapper of a model says that its weights are in order."""
    return any(wrapper.weights_in_order for wrapper in wrappers(model))
