"""Names of gradient sources, as they stand in paths, tables and the configuration."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, order=True)
class GradientSource:
    """A gradient source by name: ``exact``, or a scheme with a step such as ``forward-h0.01``."""

    scheme: str
    step: float | None = None

    @property
    def name(self) -> str:
        """The name in paths and tables; the step is written in full, so that the name tells its value exactly."""
        if self.step is None:
            return self.scheme
        return f"{self.scheme}-h{np.format_float_positional(self.step, trim='-')}"


EXACT = GradientSource("exact")
