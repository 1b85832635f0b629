"""What attributions would be if the model were the truth: the method itself, applied to the true effects.

The true effects of a row are signed and have an offset, but a saliency map is an absolute slope, and Integrated
Gradients tell what an effect gains from the baseline. Compared with the effects themselves, a perfect map looks wrong.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from approxgrad.datasets.kind import DATASETS
from approxgrad.descriptions import read
from approxgrad.methods.method import TrueEffects, method_of

Array = NDArray[np.float64]


class MatchedTruth:
    """The attribution that a method would give if the model were the truth.

    Parameters
    ----------
    described : mapping
        ``dataset`` and ``method``, the entries of both in a configuration; empty where the effects are known of the
        rows alone, or not at all.
    metadata : mapping
        Those of an attribution file.
    """

    def __init__(self, described: Mapping[str, Any], metadata: Mapping[str, Any]) -> None:
        self._kind = self._method = None
        if described:
            options = dict(described["dataset"])
            self._kind = read(DATASETS[options.pop("kind")], options)
            self._method = method_of(described["method"])
        self._metadata = metadata

    def __call__(self, inputs: Array) -> Array | None:
        """Return it for model inputs, both of shape (N, d); None where it is not known.

        It is not known of files that do not tell how the inputs were normalised.
        """
        if self._kind is None or self._method is None or not {"feature_shape", "normalisation"} <= set(self._metadata):
            return None
        values, slopes = self._effects(inputs)
        given = self._metadata.get("baseline_values")
        baseline = None
        if given is not None:
            baseline = self._effects(np.broadcast_to(np.asarray(given, float), inputs[:1].shape))[0]
        result = self._method.true_attribution(inputs, TrueEffects(values, slopes, baseline))
        return None if result is None else np.asarray(result, float)

    def _effects(self, inputs: Array) -> tuple[Array, Array]:
        """Return effects, and their slopes by the model's inputs, which are normalised features."""
        shape = self._metadata["feature_shape"]
        scale = self._metadata["normalisation"]
        mean, std = (np.resize(np.asarray(scale[key], float), shape[0]) for key in ("mean", "std"))
        mean, std = (np.repeat(own, math.prod(shape[1:])) for own in (mean, std))
        values, slopes = self._kind.true_effects(inputs * std + mean)  # type: ignore[union-attr]
        return values, slopes * std
