"""What a model says at both ends of an integration path: attributions should sum to the difference."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from approxgrad.gradients.evaluating.batching import balanced_slices
from approxgrad.gradients.evaluating.checks import Model
from approxgrad.gradients.evaluating.evaluation import evaluation
from approxgrad.gradients.evaluating.targets import Target, select_outputs, target_indices


def explained_outputs(model: Model, inputs: Tensor, target: Target, size: int) -> NDArray[np.float64]:
    """Return the explained output of every input, float64 of shape (N,).

    Arguments are those of :func:`approxgrad.attribute`, and the number of inputs that are evaluated at once. Cost: one
    evaluation per input.
    """
    indices = target_indices(target, len(inputs), inputs.device)
    values = []
    with evaluation():
        for part in balanced_slices(len(inputs), size):
            own = None if indices is None else indices[part]
            values.append(select_outputs(model(inputs[part].clone()), own, part.stop - part.start))
    return np.asarray(torch.cat(values).double().cpu().numpy())


def path_ends(
    model: Model, inputs: Tensor, baselines: Tensor, target: Target, size: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the explained outputs at the inputs and at their baselines, which broadcast to the inputs."""
    starts = baselines.to(inputs).expand(inputs.shape)
    return explained_outputs(model, inputs, target, size), explained_outputs(model, starts, target, size)
