"""Drawing rows at random for a part of a data set."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from numpy.typing import NDArray

from approxgrad.descriptions import Description, Integer, Number, option

Amount = Annotated[Integer, option("", ge=1)] | Annotated[Number, option("", gt=0, lt=1)]
"""Rows as a count, or as a share of all."""


@dataclass(frozen=True)
class Limit(Description):
    """At most so many images, drawn at random."""

    train: Annotated[Integer | None, option("Images to train on (besides the validation images).", ge=2)] = None
    test: Annotated[Integer | None, option("Images that are attributed and tested on.", ge=1)] = None

    def faults(self, train: int, test: int) -> list[str]:
        """Return the limits that exceed the number of images."""
        return [
            f"limit.{part}: got {limit}, expected at most {rows}, the rows that there are"
            for part, limit, rows in (("train", self.train, train), ("test", self.test, test))
            if limit is not None and limit > rows
        ]


UNLIMITED = Limit()
LIMIT = "At most so many images, drawn at random; for small studies. Without it, all."
VALIDATION = "Training images that choose the best epoch; a share below 1, or a count."


def rows_of(amount: float, rows: int) -> int:
    """Return a number of rows that is given as a share (below 1, rounded up) or as a count."""
    return math.ceil(amount * rows) if amount < 1 else int(amount)


def rest_faults(key: str, rest: int, rows: int) -> list[str]:
    """Return a line if fewer than two rows are left to train on; `key` names the options that took the others."""
    return [f"{key}: leaves {max(rest, 0)} of {rows:,} rows to train on, expected at least 2"] if rest < 2 else []


def stratified(labels: NDArray[np.int64], count: int, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Draw `count` rows so that every class is drawn in proportion to its size; return them and the others, ascending.

    Equal labels give a simple random draw; a smaller count gives a subset of a larger one.
    """
    order = np.random.default_rng(seed).permutation(len(labels))
    shuffled = labels[order]
    # The k-th of the n shuffled rows of a class stands at (k + 1/2) / n: all classes are spread evenly over [0, 1].
    position = np.empty(len(order))
    for label in np.unique(shuffled):
        rows = np.flatnonzero(shuffled == label)
        position[rows] = (np.arange(len(rows)) + 0.5) / len(rows)
    drawn = order[np.argsort(position, kind="stable")]
    return np.sort(drawn[:count]), np.sort(drawn[count:])
