"""Random models, inputs and settings for the properties of the engine, and a bound on the models' rounding."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from hypothesis import strategies as st
from torch import Tensor, nn

from approxgrad.gradients.evaluating.targets import target_indices
from approxgrad.gradients.stencils import SCHEMES, stencil

STEPS = [2.0, 1.0, 0.3, 0.125, 0.1, 0.01, 1e-3]
DTYPES = [torch.float32, torch.float64]
ACTIVATIONS = {"softplus": nn.Softplus, "tanh": nn.Tanh, "relu": nn.ReLU, "hard": nn.Hardtanh}

# Shapes of one row of each input; an image goes through a convolution.
SHAPES = [[(1,)], [(5,)], [(2, 3)], [(1, 4, 4)], [(2, 3, 5)], [(3,), (2, 2)], [(2,), (1,), (1, 3, 3)]]
# Shape of the outputs for one input; () is a model that returns shape (N,).
OUTPUTS = [(), (1,), (3,), (2, 2)]

RELATIVE_ERROR = 4
"""Units in the last place by which an activation function may be off."""


@dataclass(frozen=True)
class Problem:
    """A model with its inputs and target, and how it is to be differentiated.

    Attributes
    ----------
    net : Sequential
        From the input, or from several joined ones, to all outputs of an input: shape (N, K).
    form : str
        ``module``, ``function`` or ``numpy``: what the callable is.
    inputs : tuple of Tensor
        As the model takes them.
    outputs : tuple of int
        Shape of one output.
    target : Any
        In one of the forms that are allowed.
    scheme, step, batch_size, memory_budget
        Of the finite difference.
    """

    net: nn.Sequential
    form: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[int, ...]
    target: object
    scheme: str
    step: float
    batch_size: int | None
    memory_budget: int | None

    @property
    def dtype(self) -> torch.dtype:
        return self.inputs[0].dtype

    @property
    def rows(self) -> int:
        return len(self.inputs[0])

    @property
    def settings(self) -> dict:
        return {"batch_size": self.batch_size, "memory_budget": self.memory_budget}

    @property
    def model(self) -> Callable:
        return called(self.net, self.form, self.outputs)

    @property
    def flat_target(self) -> Tensor:
        """Number of the explained output of every row, among all outputs of an input."""
        indices = target_indices(self.target, self.rows)
        if indices is None:
            return torch.zeros(self.rows, dtype=torch.long)
        return torch.tensor(np.ravel_multi_index(indices.T.numpy(), self.outputs))


class Joined(nn.Module):
    """Joins its inputs, applies a network and gives its outputs a shape."""

    def __init__(self, net: nn.Sequential, outputs: tuple[int, ...]) -> None:
        super().__init__()
        self.net, self.outputs = net, outputs

    def forward(self, *inputs: Tensor) -> Tensor:
        whole = inputs[0] if len(inputs) == 1 else torch.cat([tensor.flatten(1) for tensor in inputs], dim=1)
        return self.net(whole).reshape(-1, *self.outputs)


def called(net: nn.Sequential, form: str, outputs: tuple[int, ...]) -> Callable:
    model = Joined(net, outputs)
    if form == "numpy":
        return lambda *inputs: model(*inputs).detach().numpy()
    return model if form == "module" else lambda *inputs: model(*inputs)


@st.composite
def problems(draw, forms=("module", "function", "numpy"), single_input=False, smooth=False) -> Problem:
    shapes = draw(st.sampled_from([own for own in SHAPES if len(own) == 1 or not single_input]))
    outputs = draw(st.sampled_from(OUTPUTS))
    dtype = draw(st.sampled_from(DTYPES))
    rows = draw(st.integers(1, 4))
    names = [name for name in ACTIVATIONS if not smooth or name in ("softplus", "tanh")]
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    net = random_net(generator, shapes, math.prod(outputs), ACTIVATIONS[draw(st.sampled_from(names))])
    # Large inputs and steps leave few digits to a difference, small ones reach kinks on both sides.
    scale = draw(st.sampled_from([0.1, 1, 10]))
    inputs = tuple(torch.from_numpy(scale * generator.normal(size=(rows, *shape))).to(dtype) for shape in shapes)
    return Problem(
        net=net.to(dtype),
        form=draw(st.sampled_from(forms)),
        inputs=inputs,
        outputs=outputs,
        target=draw(targets(outputs, rows)),
        scheme=draw(st.sampled_from(sorted(SCHEMES))),
        step=draw(st.sampled_from(STEPS)),
        batch_size=draw(st.none() | st.integers(1, 40)),
        memory_budget=draw(st.none() | st.sampled_from([1, 1000, 20_000])),
    )


@st.composite
def targets(draw, outputs: tuple[int, ...], rows: int) -> object:
    """A target for every row, or one for all of them, in any form."""
    if math.prod(outputs) == 1 and draw(st.booleans()):
        return None
    if not outputs:
        return None
    own = [tuple(draw(st.integers(0, size - 1)) for size in outputs) for _ in range(rows)]
    if len(outputs) > 1:
        return draw(st.sampled_from([own[0], own, torch.tensor(own)]))
    numbers = [index for (index,) in own]
    one = torch.tensor(numbers[0])
    return draw(st.sampled_from([numbers[0], own[0], one, one[None], numbers, torch.tensor(numbers), own]))


def random_net(
    generator: np.random.Generator, shapes: list[tuple[int, ...]], outputs: int, activation: type[nn.Module]
) -> nn.Sequential:
    """Two layers with an activation between them, in float64 with weights that are float32 numbers."""
    if len(shapes) == 1 and len(shapes[0]) == 3:
        channels, height, width = shapes[0]
        layers = [nn.Conv2d(channels, 3, 3, padding=1), activation(), nn.Flatten()]
        layers.append(nn.Linear(3 * height * width, outputs))
    else:
        features = sum(math.prod(shape) for shape in shapes)
        layers = [nn.Flatten(), nn.Linear(features, 7), activation(), nn.Linear(7, outputs)]
    net = nn.Sequential(*layers).double()
    with torch.no_grad():
        for parameter in net.parameters():
            values = generator.normal(size=parameter.shape) / math.sqrt(max(1, parameter[0].numel()))
            parameter.copy_(torch.from_numpy(values.astype(np.float32)))
    return net.eval()


def rounding_of(net: nn.Sequential, points: Tensor, eps: float, error: Tensor | float = 0.0) -> Tensor:
    """Bound the error of every output for float64 points (B, ...) if the network is evaluated with a precision `eps`.

    A sum of n products is off by at most n eps times the sum of their absolute values, and what its terms are off by
    is passed on with the absolute weights. The activations have slopes of at most one, and are off by a few eps.

    Parameters
    ----------
    net : Sequential
        In any precision.
    points : Tensor
        Where it is evaluated.
    eps : float
        Machine epsilon.
    error : Tensor or float
        By how much the points themselves may be off.
    """
    value, error = points, torch.as_tensor(error).expand(points.shape).double()
    for layer in copy.deepcopy(net).double():
        if isinstance(layer, nn.Flatten):
            value, error = layer(value), layer(error)
            continue
        if isinstance(layer, (nn.Linear, nn.Conv2d)):
            absolute = copy.deepcopy(layer)
            absolute.weight.data.abs_()
            absolute.bias.data.abs_()
            size = layer.weight[0].numel() + 1
            passed_on = absolute(error) - absolute(torch.zeros_like(error))
            error = passed_on + size * eps * absolute(value.abs() + error)
            value = layer(value)
        else:
            value = layer(value)
            error = error + RELATIVE_ERROR * eps * (value.abs() + error)
    return error.detach()


def differences(
    problem: Problem,
    points: tuple[Tensor, ...] | None = None,
    *,
    point_error: float = 0.0,
    start: Tensor | None = None,
    n_steps: int = 1,
) -> tuple[Tensor, Tensor]:
    """Return finite differences, one evaluation in float64 after the other, and how far off a result may be.

    Parameters
    ----------
    problem : Problem
        What is differentiated.
    points : tuple of Tensor, optional
        Where, in the precision of the inputs; by default at the inputs.
    point_error : float
        By how much the model's inputs may be off, in units of eps.
    start : Tensor, optional
        Shape (N, features). What is differentiated along a feature is then the mean output at `n_steps` points of the
        path that starts where all features have this value and ends at the input.

    Returns
    -------
    tuple of Tensor
        Float64, both of shape (N, features of all inputs together).
    """
    points = problem.inputs if points is None else points
    eps, own = torch.finfo(problem.dtype).eps, stencil(problem.scheme)
    net = copy.deepcopy(problem.net).double()
    flat = torch.cat([tensor.flatten(1) for tensor in points], dim=1)
    rows, features = flat.shape
    # In the precision of the inputs: the only rounding that the engine shares with this loop.
    shifts = [torch.tensor(offset * problem.step, dtype=torch.float64).to(problem.dtype) for offset in own.offsets]
    moved = flat[:, None, None].repeat(1, features, len(shifts), 1)
    for feature in range(features):
        for number, shift in enumerate(shifts):
            moved[:, feature, number, feature] += shift
    moved = moved.double()[..., None, :]
    if start is not None:
        origin = start.double()[:, :, None, None, None]
        moved = origin + torch.arange(1, n_steps + 1, dtype=torch.float64)[:, None] / n_steps * (moved - origin)
    batch = moved.reshape(-1, *(points[0].shape[1:] if len(points) == 1 else (features,)))
    output = problem.flat_target.repeat_interleave(len(batch) // rows)
    with torch.no_grad():
        values = torch.stack([net(point[None])[0, index] for point, index in zip(batch, output, strict=True)])
    rounding = rounding_of(net, batch, eps, torch.full_like(batch, point_error * eps))
    rounding = (rounding + rounding_of(net, batch, torch.finfo(torch.float64).eps)).gather(1, output[:, None])
    coefficients = torch.tensor(own.coefficients, dtype=torch.float64) / problem.step
    shape = (rows, features, len(shifts), n_steps if start is not None else 1)
    result = values.reshape(shape).mean(dim=-1) @ coefficients
    # The result is rounded once more to the precision of the inputs.
    last = eps * result.abs() + torch.finfo(problem.dtype).tiny
    return result, rounding.reshape(shape).mean(dim=-1) @ coefficients.abs() + last
