"""Mean and standard deviation with which a configuration normalises the features."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from approxgrad.datasets.kinds import DatasetError
from approxgrad.messages import one_line

Numbers = tuple[float, ...]


def configured(options: Mapping[str, Any], channels: int) -> tuple[Numbers, Numbers]:
    """Return mean and standard deviation; 0 and 1 where the options say nothing.

    Parameters
    ----------
    options : mapping
        Of the data set.
    channels : int
        Length of the first axis of the feature shape: channels of an image, features of a table row.

    Raises
    ------
    DatasetError
        If there is neither one number nor one for each channel, or one is none in single precision.
    """
    least, most = float(np.finfo(np.float32).tiny), float(np.finfo(np.float32).max)
    given = options.get("normalisation", {"mean": [0.0], "std": [1.0]})
    for key in ("mean", "std"):
        if len(given[key]) not in (1, channels):
            allowed = "1" if channels == 1 else f"1 or {channels}"
            raise DatasetError(f"normalisation.{key}: got {len(given[key])} numbers, expected {allowed}")
        for number in given[key]:
            if abs(number) > most or (key == "std" and number < least):
                allowed = f"numbers from {least if key == 'std' else -most:.2g} to {most:.2g}"
                raise DatasetError(f"normalisation.{key}: got {one_line(number, 60)}, expected {allowed}")
    return tuple(given["mean"]), tuple(given["std"])
