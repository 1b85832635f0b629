"""Networks that a user's own function makes: imported, called, and tried once before they are used."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from approxgrad.messages import one_line
from approxgrad.models.own_modules import ROOT, imported
from approxgrad.models.randomness import kept_randomness

TRIED_ROWS = 2


class ModelError(ValueError):
    """An architecture that does not fit the data, or a file that holds no model of this package."""


def made_by_factory(
    factory: str, shape: tuple[int, ...], outputs: int, options: dict[str, Any], *, tried: bool = True
) -> nn.Module:
    """Return the network that a user's function makes.

    Parameters
    ----------
    factory : str
        ``package.module:function``; a module that lies in the working directory comes before one that is installed.
    shape : tuple of int
        Shape of one input.
    outputs : int
        Number of classes, or 1 for a regression.
    options : dict
        Keyword arguments of the function, which gets a copy of them.
    tried : bool
        Whether the network is evaluated once, so that one that does not fit is refused.

    Raises
    ------
    ModelError
        If the function cannot be imported, fails, returns no module, or one that does not turn inputs of shape
        (N, *shape) into outputs of shape (N, outputs).
    """
    function = _imported(factory)
    if not callable(function):
        raise ModelError(f"factory {factory}: is {type(function).__name__}, expected a function or class")
    with explained(f"factory {factory}: failed"):
        model = function(shape, outputs, **copy.deepcopy(options))
    if not isinstance(model, nn.Module):
        raise ModelError(f"factory {factory}: returned {type(model).__name__}, expected a torch module")
    if tried:
        _try(model, factory, shape, outputs)
    return model


@contextmanager
def explained(what: str) -> Iterator[None]:
    """Turn whatever a user's code raises into one line that begins with what it did."""
    try:
        yield
    except SystemExit as error:
        raise ModelError(f"{what} (it called sys.exit({'' if error.code is None else repr(error.code)}))") from error
    except Exception as error:
        raise ModelError(f"{what} ({_described(error)})") from error


@contextmanager
def switched(model: nn.Module, *, training: bool) -> Iterator[None]:
    """Put a model into training or evaluation mode for a while."""
    modes, before = {module: module.training for module in model.modules()}, model.training
    try:
        model.train(training)
        yield
    finally:
        # Switched once more where it need not be: a network that keeps values for evaluation drops them then.
        model.train()
        model.train(before)
        for module, mode in modes.items():
            module.training = mode


@contextmanager
def evaluated(model: nn.Module) -> Iterator[None]:
    """Let a model be evaluated for a while; neither it nor anybody's random state is changed."""
    # Not inference mode: what a network keeps from it cannot be used in training.
    with switched(model, training=False), kept_randomness(), torch.no_grad():
        yield


def materialise(model: nn.Module, shape: tuple[int, ...]) -> None:
    """Evaluate a model once, for layers that it makes only then."""
    with evaluated(model), explained(f"its model fails for inputs of shape {shape}"):
        model(torch.zeros(TRIED_ROWS, *shape))


def _imported(factory: str) -> Callable[..., Any]:
    module, _, name = factory.partition(":")
    with explained(f"factory {factory}: cannot be imported"):
        function: Callable[..., Any] = getattr(imported(module), name)
    return function


def _try(model: nn.Module, factory: str, shape: tuple[int, ...], outputs: int) -> None:
    """Evaluate the model once as it will be used."""
    with evaluated(model), explained(f"factory {factory}: its model fails for inputs of shape {shape}"):
        found = model(torch.zeros(TRIED_ROWS, *shape))
    expected = (TRIED_ROWS, outputs)
    got = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
    if got != expected:
        raise ModelError(f"factory {factory}: its model returns {got} for {TRIED_ROWS} inputs, expected {expected}")


def _described(error: BaseException) -> str:
    return one_line(f"{type(error).__name__}: {error}").replace(f"{ROOT}.", "")
