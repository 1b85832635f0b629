"""Running a user's code: without a trace in the model or in any random state, and with errors on one line."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from approxgrad.messages import one_line
from approxgrad.models.kind import ModelError, Shape
from approxgrad.models.own_modules import ROOT, imported

TRIED_ROWS = 2
"""Rows with which a new model is evaluated once."""


def own_function(name: str, key: str) -> Callable[..., Any]:
    """Return a user's own ``package.module:function``, which a key of the configuration names.

    Raises a ModelError if it cannot be imported or called.
    """
    module, _, attribute = name.partition(":")
    with explained(f"{key} {name}: cannot be imported"):
        function = getattr(imported(module), attribute)
    if not callable(function):
        raise ModelError(f"{key} {name}: is {type(function).__name__}, expected a function or class")
    return function


@contextmanager
def explained(what: str) -> Iterator[None]:
    """Turn whatever a user's code raises into one line that begins with what was done."""
    try:
        yield
    except SystemExit as error:
        raise ModelError(f"{what} (it called sys.exit({'' if error.code is None else repr(error.code)}))") from error
    except Exception as error:
        said = one_line(f"{type(error).__name__}: {error}").replace(f"{ROOT}.", "")
        raise ModelError(f"{what} ({said})") from error


@contextmanager
def switched(model: nn.Module, *, training: bool) -> Iterator[None]:
    """Put a model into training or evaluation mode for a while."""
    modes, before = {module: module.training for module in model.modules()}, model.training
    try:
        model.train(training)
        yield
    finally:
        # Twice, because a network that keeps values for evaluation drops them when it is switched to training.
        model.train()
        model.train(before)
        for module, mode in modes.items():
            module.training = mode


@contextmanager
def evaluated(model: Callable[..., Any]) -> Iterator[None]:
    """Evaluate a model for a while; neither the model nor any random state is changed."""
    mode = switched(model, training=False) if isinstance(model, nn.Module) else nullcontext()
    # Not inference mode: a network cannot train with tensors that it keeps from there.
    with mode, kept_randomness(), torch.no_grad():
        yield


def try_out(model: nn.Module, shape: Shape, outputs: int) -> None:
    """Evaluate a new model once, which also makes layers that have no weights before.

    Raises a ModelError if it fails for inputs of shape (N, *shape), or does not return outputs of shape (N, outputs).
    """
    with evaluated(model), explained(f"model: fails for inputs of shape {shape}"):
        found = model(torch.zeros(TRIED_ROWS, *shape))
    got = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
    if got != (TRIED_ROWS, outputs):
        raise ModelError(f"model: returns {got} for {TRIED_ROWS} inputs, expected {(TRIED_ROWS, outputs)}")


def seed_all(seed: int) -> None:
    """Seed torch, numpy's shared generator and Python's own."""
    torch.manual_seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 - users' networks draw from it
    random.seed(seed)


def seed_anew() -> None:
    """Seed them unpredictably."""
    torch.seed()
    np.random.seed()  # noqa: NPY002
    random.seed()


@contextmanager
def kept_randomness() -> Iterator[None]:
    """Put all random states back afterwards, those of GPUs too."""
    of_numpy, of_python = np.random.get_state(), random.getstate()  # noqa: NPY002
    try:
        with torch.random.fork_rng():
            yield
    finally:
        np.random.set_state(of_numpy)  # noqa: NPY002
        random.setstate(of_python)
