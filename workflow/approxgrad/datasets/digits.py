"""Handwritten digits, 1 x 8 x 8, that come with scikit-learn (UCI "Optical Recognition of Handwritten Digits")."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from approxgrad.datasets.normalisation import configured
from approxgrad.storage.tables import Split

IMAGES = 1797
SHAPE = (1, 8, 8)


def sources(name: str, options: dict[str, Any]) -> list[str]:
    """Return no file: the images come with scikit-learn."""
    return []


def test_rows(options: dict[str, Any]) -> int:
    """Return the number of test images."""
    return math.ceil(options["test"] * IMAGES)


def training_rows(options: dict[str, Any]) -> int:
    """Return the number of training images."""
    return IMAGES - test_rows(options) - math.ceil(options["validation"] * IMAGES)


def feature_shape(options: dict[str, Any]) -> tuple[int, ...]:
    """Return channels, height and width."""
    return SHAPE


def is_image(options: dict[str, Any]) -> bool:
    """Return True."""
    return True


def has_truth(options: dict[str, Any]) -> bool:
    """Return False."""
    return False


def prepare(options: dict[str, Any], seed: int, sources: Sequence[Path] = ()) -> dict[str, Split]:
    """Return a stratified split of the images, scaled to [0, 1].

    Parameters
    ----------
    options : dict
        ``test`` and ``validation``: shares of all images; ``normalisation``.
    seed : int
        Of the split.
    sources : sequence of path
        Not used.
    """
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    mean, std = configured(options, channels=1)
    digits = load_digits()
    features = (digits.data / 16).astype(np.float32)
    labels = digits.target.astype(np.int64)
    validation_rows = math.ceil(options["validation"] * IMAGES)
    random = np.random.RandomState(seed % 2**32)
    rest, test = train_test_split(np.arange(IMAGES), test_size=test_rows(options), stratify=labels, random_state=random)
    train, validation = train_test_split(rest, test_size=validation_rows, stratify=labels[rest], random_state=random)
    return {
        name: Split(
            features=features[rows],
            target=labels[rows],
            feature_shape=SHAPE,
            classes=tuple(str(digit) for digit in range(10)),
            mean=mean,
            std=std,
        )
        for name, rows in (("train", train), ("validation", validation), ("test", test))
    }
