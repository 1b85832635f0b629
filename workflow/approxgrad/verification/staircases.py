"""How far rounding moves maps of models whose error no formula tells: staircases, files and functions."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from approxgrad.gradients.evaluating.checks import Model
from approxgrad.methods.path_ends import explained_outputs

NUDGES = 16
UNITS = 4  # largest nudge, in units in the last place
MARGIN = 3.0  # a flip at the input itself is in all derivatives of a forward difference


def seen_noise(model: Model, inputs: torch.Tensor, target: torch.Tensor | None, precision: str) -> float:
    """Return how much the explained outputs change when inputs are rounded otherwise: the root of the mean square.

    On a staircase most outputs stay what they are, and a few go to another stair. Trees compare and add in one order,
    so that nothing changes unless an input is beside a threshold.

    Parameters
    ----------
    model : callable
        A batch of inputs to a batch of outputs.
    inputs : Tensor
        Shape (N, ...).
    target : Tensor or None
        The explained output of each input.
    precision : str
        Type of floats that the model rounds to.

    Notes
    -----
    Cost: 18 evaluations for each input: alone, all in one batch, and 16 times moved by up to four units in the last
    place of each feature or, where that is larger, of the root mean square of its row.
    """
    size = len(inputs)
    first = explained_outputs(model, inputs, target, size)
    changes = [explained_outputs(model, inputs, target, 1) - first]
    generator = torch.Generator().manual_seed(0)
    rows = inputs.detach().double().flatten(1)
    scales = torch.maximum(rows.abs(), rows.square().mean(dim=1, keepdim=True).sqrt())
    for _ in range(NUDGES):
        units = torch.randint(-UNITS, UNITS + 1, rows.shape, generator=generator).to(rows)
        moved = rows + torch.finfo(getattr(torch, precision)).eps * units * scales
        changes.append(explained_outputs(model, moved.to(inputs.dtype).reshape(inputs.shape), target, size) - first)
    return float(np.sqrt(np.square(changes).mean()))


def noise_tolerance(noise: float, factors: NDArray[np.floating], maps: NDArray[np.floating], step: float) -> float:
    """Return how far maps may be apart, relative to their norm, if outputs are off by a noise of that size.

    A derivative is the difference of two outputs over the step, and both maps are off: four outputs, whose squares add.
    The factors are what the method multiplies a gradient with, of the maps' shape.
    """
    norm = float(np.linalg.norm(maps.astype(float)))
    if norm == 0:
        return 0.0
    return MARGIN * 2 * noise * float(np.linalg.norm(factors.astype(float))) / (step * norm)
