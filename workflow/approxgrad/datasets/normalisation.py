"""Mean and standard deviation with which a configuration normalises the features."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from approxgrad.datasets.kinds import DatasetError

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
        If there is neither one number nor one for each channel.
    """
    given = options.get("normalisation", {"mean": [0.0], "std": [1.0]})
    for key in ("mean", "std"):
        if len(given[key]) not in (1, channels):
            allowed = "1" if channels == 1 else f"1 or {channels}"
            raise DatasetError(f"normalisation.{key}: got {len(given[key])} numbers, expected {allowed}")
    return tuple(given["mean"]), tuple(given["std"])
