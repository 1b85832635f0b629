"""Differences within a budget that say how good the attributions are expected to be that follow from them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from approxgrad.gradients.directional.directions import DirectionalDifference
from approxgrad.gradients.directional.spectrum_tables import read_spectrum as read_spectrum
from approxgrad.gradients.evaluating.perturbations import steps_of_features
from approxgrad.methods.gradient import Gradient
from approxgrad.methods.gradient_methods import InputXGradient, Saliency
from approxgrad.methods.method import Method

DERIVED: tuple[Method, ...] = (Gradient(), Saliency(), InputXGradient())
"""Methods that follow from a gradient, for which its predictions are kept."""


class PredictedDifference(DirectionalDifference):
    """A :class:`approxgrad.DirectionalDifference` of a study."""

    def predictions(self, method: Method, points: Tensor, factor: Tensor) -> dict[str, tuple[Tensor, ...]]:
        """Return the predicted correlation of the last maps with those of the whole gradient, and its interval.

        Parameters
        ----------
        method : Method
            The method of the last call.
        points : Tensor
            The inputs of the last call.
        factor : Tensor
            What the gradient is multiplied with along a path.

        Returns
        -------
        dict
            By the name of a method, of all that follow from a gradient where `method` does: median, lower and upper
            bound, each of shape (N,).
        """
        inputs, factors = points.double().flatten(1), factor.double().flatten(1)
        unit = steps_of_features(self.step, (points,))
        unit = unit / unit.max()
        maps: dict[str, Callable[[Tensor], Any]] = {method.name: lambda gradient: factors * gradient / unit}
        if method.derived:
            maps = {
                own.name: lambda gradient, own=own: own.from_gradient(inputs, gradient / unit)  # type: ignore[misc]
                for own in DERIVED
            }
        predicted = self.predicted
        return {} if predicted is None else {name: predicted.of_map(function) for name, function in maps.items()}
