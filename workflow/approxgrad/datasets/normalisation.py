"""Mean and standard deviation that normalise the features."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np

from approxgrad.descriptions import Description, Number, option
from approxgrad.messages import one_line


@dataclass(frozen=True)
class Normalisation(Description):
    """Numbers with which models see (features - mean) / std."""

    mean: Annotated[tuple[Number, ...], option("Subtracted from the features.", min_length=1)]
    std: Annotated[tuple[Annotated[Number, option("", gt=0)], ...], option("Divides the features.", min_length=1)]

    def faults(self, channels: int) -> list[str]:
        """Return which numbers do not fit the channels (or features), or are out of range in single precision."""
        least, most = float(np.finfo(np.float32).tiny), float(np.finfo(np.float32).max)
        found = []
        for key, numbers, low in (("mean", self.mean, -most), ("std", self.std, least)):
            if len(numbers) not in (1, channels):
                allowed = "1" if channels == 1 else f"1 or {channels}"
                found.append(f"normalisation.{key}: got {len(numbers)} numbers, expected {allowed}")
            found += [
                f"normalisation.{key}: got {one_line(number, 60)}, expected numbers from {low:.2g} to {most:.2g}"
                for number in numbers
                if not low <= number <= most
            ]
        return found


Normalised = Annotated[
    Normalisation | None, option("Models see (features - mean) / std, with one number for each channel or one for all.")
]

NOT_NORMALISED = Normalisation((0.0,), (1.0,))
IMAGENET = Normalisation((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
