"""What this package puts around a model of a user, so that its own modules find the model again."""

from __future__ import annotations

from typing import Any


class ModelWrapper:
    """A callable of this package around a model.

    Only instances of this class are looked into: an attribute of a user's object never means anything here, whatever
    its name.

    Parameters
    ----------
    model : callable
        The model; reachable as ``__wrapped__``.
    """

    weights_in_order = False
    """Whether a compiler has put the weights of convolutions in order once and for all."""

    same_outputs = True
    """Whether it returns what the model does."""

    def __init__(self, model: Any) -> None:
        self.__wrapped__ = model


def unwrapped(model: Any) -> Any:
    """Return the user's model behind wrappers of this package."""
    while isinstance(model, ModelWrapper):
        model = model.__wrapped__
    return model


def weights_in_order(model: Any) -> bool:
    """Return whether a model, or one that it wraps, has its weights in order."""
    while isinstance(model, ModelWrapper):
        if model.weights_in_order:
            return True
        model = model.__wrapped__
    return False
