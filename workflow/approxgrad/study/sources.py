"""Names of gradient sources, as they stand in paths, tables and the configuration."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any, Literal

import numpy as np

AUTO: Literal["auto"] = "auto"
"""In place of a step: it is chosen at run time, for the model and the precision that it is evaluated in."""

FLOAT32, FLOAT64 = "float32", "float64"


@dataclass(frozen=True)
class GradientSource:
    """A gradient source by name: ``exact``, or a scheme with a step such as ``forward-h0.01``.

    Attributes
    ----------
    scheme : str
        ``exact`` or a finite-difference scheme.
    step : float, "auto" or None
        Step of the finite difference; None for ``exact``.
    dtype : str
        Precision in which the model is evaluated. A name without one means float32.
    """

    scheme: str
    step: float | Literal["auto"] | None = None
    dtype: str = FLOAT32

    @property
    def name(self) -> str:
        """The name in paths and tables; the step is written in full, so that the name tells its value exactly."""
        words = [self.scheme]
        if self.step == AUTO:
            words.append(AUTO)
        elif self.step is not None:
            words.append(f"h{np.format_float_positional(self.step, trim='-')}")
        if self.dtype != FLOAT32:
            words.append(self.dtype)
        return "-".join(words)

    @property
    def is_exact(self) -> bool:
        """Whether this is the exact gradient, of whatever precision."""
        return self.step is None

    @property
    def rank(self) -> tuple[str, str, float]:
        """Place in an ordered list: by precision, scheme and step; a step that is chosen comes last."""
        return self.dtype, self.scheme, math.inf if self.step in (None, AUTO) else float(self.step)

    def distance(self, step: float) -> float:
        """Return the distance from another step on a logarithmic scale; infinite if this one is chosen or none."""
        return math.inf if self.step in (None, AUTO) else abs(math.log(float(self.step) / step))


def exact_source(dtype: str = FLOAT32) -> GradientSource:
    """Return the exact gradient in a precision."""
    return GradientSource("exact", None, dtype)


def experiment_sources(experiment: Mapping[str, Any]) -> list[GradientSource]:
    """Return the gradient sources of an experiment: the exact one of each precision, and the product of the rest."""
    steps = [step if step == AUTO else float(step) for step in experiment["steps"]]
    approximated = product(experiment["schemes"], steps, experiment["dtypes"])
    return [*map(exact_source, experiment["dtypes"]), *(GradientSource(*source) for source in approximated)]


def described_source(metadata: Mapping[str, Any]) -> GradientSource:
    """Return the gradient source of an attribution file from its metadata.

    Files of version 0.1 name no precision; theirs is float32.
    """
    step = AUTO if metadata.get("step_choice") else metadata["step"]
    return GradientSource(metadata["scheme"], step, metadata.get("dtype", FLOAT32))
