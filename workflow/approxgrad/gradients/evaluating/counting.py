"""A model that counts its evaluations."""

from __future__ import annotations

from typing import Any

from approxgrad.gradients.evaluating.wrapping import ModelWrapper


class CountedModel(ModelWrapper):
    """A model that counts the inputs that it is given as `evaluations`, and may move a progress bar by them."""

    def __init__(self, model: Any, bar: Any = None) -> None:
        super().__init__(model)
        self._bar = bar
        self.evaluations = 0

    def __call__(self, inputs: Any, *arguments: Any) -> Any:
        """Evaluate the model."""
        self.advance(len(inputs))
        return self.__wrapped__(inputs, *arguments)

    def advance(self, evaluations: int) -> None:
        """Count evaluations and move the bar."""
        self.evaluations += evaluations
        if self._bar is not None:
            self._bar.update(evaluations)
