"""The zoo: how a kind of model is described, what is expected of it, and the loop that it is compared with.

The members stand in ``zoo_*.py``, by kind, one small entry each: a name, what builds the model, what makes its inputs.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from approxgrad import FiniteDifference

ROUNDINGS = 32
"""Largest difference of two evaluations of a row, in roundings of an output and of the inputs."""


def normal(*shape: int, dtype: torch.dtype = torch.float32, scale: float = 1.0) -> Callable[[], Tensor]:
    """Return a maker of normally distributed inputs; no two features of them are alike."""
    return lambda: scale * torch.randn(*shape, dtype=dtype)


def positive(*shape: int, dtype: torch.dtype = torch.float32) -> Callable[[], Tensor]:
    """Return a maker of inputs between 0.3 and 1.3."""
    return lambda: 0.3 + torch.rand(*shape, dtype=dtype)


vectors = normal(3, 5)
sequences = normal(3, 3, 4)
images = normal(2, 2, 4, 4)


@dataclass(frozen=True)
class Member:
    """One kind of model and what is expected of it.

    Attributes
    ----------
    name : str
        Says what is special about it.
    build : callable
        Makes the model; called with the same random state each time.
    inputs : callable
        Makes the inputs: a tensor or a tuple of them.
    target : Any
        The output that is explained.
    arguments : Any
        Passed as `additional_forward_args`.
    refused : str or None
        Regular expression of the refusal; None if the differences must equal those of the loop.
    alone : bool
        A refused model is usable with ``batch_size=1``.
    step : float
        A power of two, so that no dtype rounds it.
    options : dict
        Settings of the FiniteDifference.
    computes : torch.dtype or None
        What it computes in, if that is coarser than inputs and outputs.
    roundings : float
        Roundings that two evaluations of a row may be apart: more for deep models of large inner numbers.
    changes_itself : bool
        Its own forward changes what it holds (parameters, statistics, random state), so only the engine's part of its
        state can be looked at.
    shared : bool
        Two threads may call it at the same time.
    watched : bool
        Python functions called meanwhile are watched; not where that would change how torch runs it.
    around : callable
        Makes a context in which it is built and evaluated.
    entries : bool
        For a refused one: whether attribute(), choose_step() and ApproxAttribution have to refuse it as well.
    """

    name: str
    build: Callable[[], Any]
    inputs: Callable[[], Any] = vectors
    target: Any = 0
    arguments: Any = None
    refused: str | None = None
    alone: bool = False
    step: float = 0.125
    options: dict[str, Any] = field(default_factory=dict)
    computes: torch.dtype | None = None
    roundings: float = ROUNDINGS
    changes_itself: bool = False
    shared: bool = True
    watched: bool = True
    around: Callable[[], contextlib.AbstractContextManager[Any]] = contextlib.nullcontext
    entries: bool = True
    marks: tuple[Any, ...] = ()

    def model(self) -> Any:
        """Build the model."""
        with seeded(1):
            return self.build()

    def points(self) -> tuple[Tensor, ...]:
        """Make the inputs."""
        with seeded(2):
            made = self.inputs()
        return made if isinstance(made, tuple) else (made,)

    def gradient(self, model: Any, inputs: tuple[Tensor, ...], scheme: str, **options: Any) -> tuple[Tensor, ...]:
        """Differentiate with the engine."""
        source = FiniteDifference(self.step, scheme, **(self.options | options))
        return source(model, inputs, self.target, self.arguments)


MEMBERS: list[Member] = []


def equal(name: str, build: Callable[[], Any], inputs: Callable[[], Any] = vectors, **settings: Any) -> None:
    """Put a model into the zoo whose differences are those of the loop."""
    MEMBERS.append(Member(name, build, inputs, **settings))


def refused(
    name: str, build: Callable[[], Any], pattern: str, inputs: Callable[[], Any] = vectors, **settings: Any
) -> None:
    """Put a model into the zoo that is refused in one line."""
    MEMBERS.append(Member(name, build, inputs, refused=pattern, **settings))


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed all random states, and put them back afterwards."""
    states = random.getstate(), np.random.get_state()  # noqa: NPY002 - the state that models draw from
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        np.random.seed(seed)  # noqa: NPY002
        random.seed(seed)
        try:
            yield
        finally:
            random.setstate(states[0])
            np.random.set_state(states[1])  # noqa: NPY002


def loop(member: Member, model: Any, inputs: tuple[Tensor, ...], scheme: str) -> list[tuple[Tensor, Tensor]]:
    """Differentiate with a loop over rows and features, one evaluation of one row at a time.

    Return for each input tensor the derivatives, divided by the step that was really made, and their tolerance, in
    float64. Engine and loop evaluate the model at the same points, so that only its rounding differs, which depends
    on the batch: an output f is off by some roundings of itself, ``eps |f|``, and by what roundings inside the model
    make of it, for which those of the inputs stand: ``eps sum_i |x_i df/dx_i|``. Both, `roundings` times, are divided
    by the step. Dividing and returning the inputs' dtype adds four roundings of the derivative.
    """
    rows = len(inputs[0])
    step = torch.tensor(member.step, dtype=torch.float64, device="cpu")
    outputs_eps = 0.0

    def output(row: int, moved: tuple[Tensor, ...]) -> float:
        nonlocal outputs_eps
        with torch.no_grad():
            own = [tensor.clone() for tensor in moved]
            said = model(*own, *arguments_of(member.arguments, row, rows))
        # Not for tensors: as_tensor would move them to a default device.
        said = said.detach() if isinstance(said, Tensor) else torch.as_tensor(said)
        outputs_eps = max(outputs_eps, torch.finfo(said.dtype).eps)
        target = member.target[row] if isinstance(member.target, list) else member.target
        return float(said[0].reshape(()) if target is None else said[0][target])

    derivatives = [torch.zeros(tensor.shape, dtype=torch.float64, device="cpu") for tensor in inputs]
    divisors = [torch.zeros(tensor.shape, dtype=torch.float64, device="cpu") for tensor in inputs]
    largest = torch.zeros(rows, dtype=torch.float64, device="cpu")
    with torch.inference_mode(mode=False):
        plain = [tensor.detach().clone(memory_format=torch.contiguous_format) for tensor in inputs]
    for row in range(rows):
        own = tuple(tensor[row : row + 1] for tensor in plain)
        base = output(row, own) if scheme == "forward" else None
        for which, tensor in enumerate(own):
            for feature in range(tensor.numel()):
                ends = []
                for sign in (1, -1) if scheme == "central" else (1,):
                    moved = tensor.clone()
                    moved.view(-1)[feature] += (sign * step).to(tensor.dtype)
                    value = output(row, (*own[:which], moved, *own[which + 1 :]))
                    ends.append((value, float(moved.view(-1)[feature])))
                ends.append(ends.pop() if base is None else (base, float(tensor.view(-1)[feature])))
                (above, upper), (below, lower) = ends[0], ends[-1]
                derivatives[which][row].view(-1)[feature] = (above - below) / (upper - lower)
                divisors[which][row].view(-1)[feature] = upper - lower
                largest[row] = max(largest[row], abs(above), abs(below))
    terms = sum(
        (tensor.double().abs() * own.abs()).reshape(rows, -1).sum(dim=1)
        for tensor, own in zip(plain, derivatives, strict=True)
    )
    coarsest = max(*(torch.finfo(tensor.dtype).eps for tensor in inputs), outputs_eps)
    eps = torch.finfo(member.computes).eps if member.computes else coarsest
    found = []
    for tensor, own, divisor in zip(inputs, derivatives, divisors, strict=True):
        size = (largest + terms).reshape(-1, *[1] * (own.ndim - 1))
        tolerance = member.roundings * eps * size / divisor + 4 * torch.finfo(tensor.dtype).eps * own.abs()
        found.append((own, tolerance))
    return found


def arguments_of(arguments: Any, row: int, rows: int) -> list[Any]:
    """Return the additional arguments of one row."""
    given = () if arguments is None else arguments if isinstance(arguments, tuple) else (arguments,)
    return [
        argument[row : row + 1]
        if isinstance(argument, Tensor) and argument.ndim > 0 and len(argument) == rows
        else argument
        for argument in given
    ]
