"""Progress of long work, and a model that counts its evaluations."""

from __future__ import annotations

import sys
from typing import Any

from tqdm import tqdm

from approxgrad.gradients.wrapping import ModelWrapper

QUIET_SECONDS = 5
"""Work shorter than this shows nothing."""


def progress_bar(total: int, description: str, unit: str) -> tqdm[Any]:
    """Return a progress bar on standard error: live on a terminal, a line every half minute in a log."""
    return tqdm(
        total=total,
        desc=description,
        unit=unit,
        unit_scale=True,
        delay=QUIET_SECONDS,
        mininterval=0.5 if sys.stderr.isatty() else 30,
        file=sys.stderr,
    )


class CountedModel(ModelWrapper):
    """A model that counts the inputs it is given and moves a progress bar.

    Parameters
    ----------
    model : callable
        The model; reachable as ``__wrapped__``.
    bar : tqdm
        Moved by the number of inputs of every batch.

    Attributes
    ----------
    evaluations : int
        Inputs so far.
    """

    def __init__(self, model: Any, bar: tqdm[Any]) -> None:
        super().__init__(model)
        self._bar = bar
        self.evaluations = 0

    def __call__(self, inputs: Any, *arguments: Any) -> Any:
        """Evaluate the model."""
        self.evaluations += len(inputs)
        self._bar.update(len(inputs))
        return self.__wrapped__(inputs, *arguments)
