"""Handwritten digits, 1 x 8 x 8, that come with scikit-learn (UCI "Optical Recognition of Handwritten Digits")."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from approxgrad.tables import Split

IMAGES = 1797


def test_rows(options: dict[str, Any]) -> int:
    """Return the number of test images."""
    return math.ceil(options["test"] * IMAGES)


def prepare(options: dict[str, Any], seed: int) -> dict[str, Split]:
    """Return a stratified split of the images, scaled to [0, 1].

    Parameters
    ----------
    options : dict
        ``test`` and ``validation``: shares of all images; ``normalisation``.
    seed : int
        Of the split.
    """
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    digits = load_digits()
    features = (digits.data / 16).astype(np.float32)
    labels = digits.target.astype(np.int64)
    validation_rows = math.ceil(options["validation"] * IMAGES)
    random = np.random.RandomState(seed % 2**32)
    rest, test = train_test_split(np.arange(IMAGES), test_size=test_rows(options), stratify=labels, random_state=random)
    train, validation = train_test_split(rest, test_size=validation_rows, stratify=labels[rest], random_state=random)
    normalisation = options.get("normalisation", {"mean": [0.0], "std": [1.0]})
    return {
        name: Split(
            features=features[rows],
            target=labels[rows],
            feature_shape=(1, 8, 8),
            classes=tuple(str(digit) for digit in range(10)),
            mean=tuple(normalisation["mean"]),
            std=tuple(normalisation["std"]),
        )
        for name, rows in (("train", train), ("validation", validation), ("test", test))
    }
