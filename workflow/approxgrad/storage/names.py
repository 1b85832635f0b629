"""What the features and classes of a data set are called, as metadata of files say it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Names:
    """What the features and classes of a data set are called; empty where they have no names.

    Attributes
    ----------
    features : tuple of str
        A name for each feature.
    groups : tuple of str
        The column that each feature is from, where several are from one.
    classes : tuple of str
        A name for each class.
    """

    features: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()

    @property
    def shown(self) -> tuple[str, ...]:
        """The names of what is shown of a map: each column once."""
        return tuple(dict.fromkeys(self.groups)) or self.features

    @property
    def members(self) -> list[int]:
        """For each feature, the place of its column among those that are shown; empty without groups."""
        return [self.shown.index(name) for name in self.groups]

    def totals(self, maps: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
        """Return maps (N, d) with one value for each column, the sum over its features; without groups as they are."""
        if not self.groups:
            return maps
        columns = [[own == name for own in self.groups] for name in self.shown]
        return np.stack([maps[:, column].sum(axis=1, dtype=np.float64) for column in columns], axis=1)

    def entries(
        self, inputs: NDArray[np.floating[Any]], mean: NDArray[np.floating[Any]], std: NDArray[np.floating[Any]]
    ) -> list[float | str]:
        """Return what each column holds in a normalised row (d,): its number, or the name of its category."""
        values = inputs * std + mean
        if not self.groups:
            return [float(value) for value in values]
        held: list[float | str] = []
        for group in self.shown:
            own = [place for place, name in enumerate(self.groups) if name == group]
            largest = max(own, key=lambda place: values[place])
            name = self.features[largest]
            held.append(float(values[largest]) if name == group else name.removeprefix(f"{group}="))
        return held


def names_of(metadata: Mapping[str, Any]) -> Names:
    """Return what the metadata of a result say of names."""
    keys = ("feature_names", "feature_groups", "classes")
    return Names(*(tuple(map(str, metadata.get(key, ()))) for key in keys))
