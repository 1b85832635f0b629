"""Handwritten digits that come with scikit-learn (UCI "Optical Recognition of Handwritten Digits")."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

import numpy as np

from approxgrad.datasets.kind import DATASETS, PARTS, DatasetKind
from approxgrad.descriptions import Number, option
from approxgrad.storage.splits import Split

IMAGES = 1797


@DATASETS.add
@dataclass(frozen=True, kw_only=True)
class Digits(DatasetKind):
    """1,797 grey images of 8 x 8 pixels, scaled to [0, 1] and split with equal proportions of the classes."""

    name: ClassVar[str] = "digits"
    is_image: ClassVar[bool] = True
    feature_shape = (1, 8, 8)

    validation: Annotated[Number, option("Share of the images that chooses the best epoch.", gt=0, lt=0.5)] = 0.15
    test: Annotated[Number, option("Share of the images that is attributed and tested on.", gt=0, lt=0.5)] = 0.25

    @property
    def test_rows(self) -> int:
        """Number of test images."""
        return math.ceil(self.test * IMAGES)

    @property
    def outputs(self) -> int:
        """One for each digit."""
        return 10

    @property
    def training_rows(self) -> int:
        """Number of training images."""
        return IMAGES - self.test_rows - math.ceil(self.validation * IMAGES)

    def prepare(self, seed: int, sources: Sequence[Path] = ()) -> dict[str, Split]:
        """Return a stratified split of the images."""
        from sklearn.datasets import load_digits
        from sklearn.model_selection import train_test_split

        digits = load_digits()
        features = (digits.data / 16).astype(np.float32)
        labels = digits.target.astype(np.int64)
        random = np.random.RandomState(seed % 2**32)
        rest, test = train_test_split(np.arange(IMAGES), test_size=self.test_rows, stratify=labels, random_state=random)
        train, validation = train_test_split(
            rest, train_size=self.training_rows, stratify=labels[rest], random_state=random
        )
        return {
            part: self.split(features[rows], labels[rows], tuple(map(str, range(10))))
            for part, rows in zip(PARTS, (train, validation, test), strict=True)
        }
