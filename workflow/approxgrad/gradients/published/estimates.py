"""What estimates that others have published have in common: a budget, a seed, and how they take draws."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from approxgrad.gradients.evaluating.batching import OUTPUT_SHARE
from approxgrad.gradients.evaluating.checks import Model, checked_count
from approxgrad.gradients.evaluating.evaluated import BatchedGradient, Stream
from approxgrad.gradients.evaluating.targets import Target

# Arrays of 8-byte numbers that are in memory at once: of draws x features, and for each output.
DRAW_BUFFERS, OUTPUT_BUFFERS = 8, 8

Draws = NDArray[np.floating[Any]]


class PublishedEstimate(BatchedGradient):
    """Base of estimates that spend a number of evaluations on each input.

    Parameters
    ----------
    budget : int
        Most evaluations for each input, at least 2.
    seed : int
        Of what is drawn, which is the same for all inputs and on every device.
    batch_size, memory_budget, check_rows
        As in :class:`approxgrad.gradients.evaluating.evaluated.BatchedGradient`, which also describes the attributes.

    Raises
    ------
    TypeError, ValueError
        If an argument is not valid.
    """

    along_path: ClassVar[bool] = True
    """Whether Integrated Gradients leave the points of the path to :meth:`path_attributions`."""

    chooses_points: ClassVar[bool] = True
    """Whether it says itself how many points there are."""

    def __init__(
        self,
        budget: int,
        *,
        seed: int = 0,
        batch_size: int | None = None,
        memory_budget: int | None = None,
        check_rows: bool = True,
    ) -> None:
        super().__init__(batch_size, memory_budget=memory_budget, check_rows=check_rows)
        self.budget_per_input = checked_count("budget", budget, 2)
        self.seed = checked_count("seed", seed, 0)

    def path_attributions(
        self, forward_fn: Model, inputs: Tensor, baselines: Tensor, target: Target, n_steps: int
    ) -> Tensor:
        """Return Integrated Gradients, or what stands in their place, for the budget, shaped like the inputs.

        Parameters
        ----------
        forward_fn, inputs, target
            As of :class:`approxgrad.FiniteDifference`; the inputs are a single tensor.
        baselines : Tensor
            Where paths begin, shaped like the inputs.
        n_steps : int
            Of no effect: the budget says how many points there are.
        """
        raise NotImplementedError

    def share(self, stream: Stream) -> int:
        """Return the bytes for what is drawn, and those for the outputs."""
        return int(OUTPUT_SHARE * self.budget(stream.device)) // 2
