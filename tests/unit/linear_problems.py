"""Linear functions whose gradients are known, and the first directions of a basis."""

import numpy as np
import torch

from approxgrad.gradients.directional.spectrum import BASES

CPU = torch.device("cpu")


def weights(*shape, seed=1):
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape))


def linear(shape, seed=1):
    """A linear function of inputs of a shape, and its gradient."""
    own = weights(*shape, seed=seed)
    return lambda x: (x.double() * own).flatten(1).sum(dim=1), own.flatten()


def span(name, shape, count, seed=0):
    basis = BASES[name]((shape,), seed, CPU)
    return basis.directions(basis.order()[:count])
