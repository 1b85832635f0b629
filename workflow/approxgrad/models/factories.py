"""Networks that a user's own function makes: imported, called, and tried once before they are used."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from approxgrad.messages import one_line

TRIED_ROWS = 2


class ModelError(ValueError):
    """An architecture that does not fit the data, or a file that holds no model of this package."""


def made_by_factory(factory: str, shape: tuple[int, ...], outputs: int, options: dict[str, Any]) -> nn.Module:
    """Return the network that a user's function makes.

    Parameters
    ----------
    factory : str
        ``package.module:function``; the module may lie in the working directory.
    shape : tuple of int
        Shape of one input.
    outputs : int
        Number of classes, or 1 for a regression.
    options : dict
        Keyword arguments of the function.

    Raises
    ------
    ModelError
        If the function cannot be imported, fails, returns no module, or one that does not turn inputs of shape
        (N, *shape) into outputs of shape (N, outputs).
    """
    function = _imported(factory)
    if not callable(function):
        raise ModelError(f"factory {factory}: is {type(function).__name__}, expected a function or class")
    try:
        model = function(shape, outputs, **options)
    except Exception as error:
        raise ModelError(f"factory {factory}: failed ({_described(error)})") from error
    if not isinstance(model, nn.Module):
        raise ModelError(f"factory {factory}: returned {type(model).__name__}, expected a torch module")
    _try(model, factory, shape, outputs)
    return model


def _imported(factory: str) -> Callable[..., Any]:
    module, _, name = factory.partition(":")
    if str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))
    try:
        function: Callable[..., Any] = getattr(import_module(module), name)
    except (Exception, SystemExit) as error:
        raise ModelError(f"factory {factory}: cannot be imported ({_described(error)})") from error
    return function


def _try(model: nn.Module, factory: str, shape: tuple[int, ...], outputs: int) -> None:
    """Evaluate the model once as it will be used; neither it nor torch's random state is changed."""
    modes = {module: module.training for module in model.modules()}
    try:
        with torch.random.fork_rng(), torch.inference_mode():
            found = model.eval()(torch.zeros(TRIED_ROWS, *shape))
    except Exception as error:
        raise ModelError(
            f"factory {factory}: its model fails for inputs of shape {shape} ({_described(error)})"
        ) from error
    finally:
        for module, mode in modes.items():
            module.training = mode
    expected = (TRIED_ROWS, outputs)
    got = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
    if got != expected:
        raise ModelError(f"factory {factory}: its model returns {got} for {TRIED_ROWS} inputs, expected {expected}")


def _described(error: BaseException) -> str:
    return one_line(f"{type(error).__name__}: {error}")
