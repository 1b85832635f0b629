"""CIFAR-10: 60,000 colour photographs of ten kinds of things, 3 x 32 x 32, from the official archive."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from approxgrad.datasets.cifar_batches import META, TEST, TRAINING, Images, read_batch, read_class_names, read_members
from approxgrad.datasets.drawing import check_rest, limited, rows_of
from approxgrad.datasets.kinds import DatasetError
from approxgrad.datasets.normalisation import configured
from approxgrad.messages import one_line
from approxgrad.seeds import derive_seed
from approxgrad.storage.tables import Split

ARCHIVE = "cifar-10-python.tar.gz"
TRAINING_IMAGES, TEST_IMAGES = 50_000, 10_000
SHAPE = (3, 32, 32)


def sources(name: str, options: dict[str, Any]) -> list[str]:
    """Return the path of the archive, which the rule ``download`` makes.

    Raises
    ------
    DatasetError
        If the options ask for more images than there are.
    """
    limit = options.get("limit", {})
    limited(TEST_IMAGES, limit.get("test"), "limit.test")
    rest = TRAINING_IMAGES - rows_of(options["validation"], TRAINING_IMAGES)
    check_rest(rest, "validation")
    limited(rest, limit.get("train"), "limit.train")
    return [f"data/{name}/{ARCHIVE}"]


def test_rows(options: dict[str, Any]) -> int:
    """Return the number of test images."""
    return int(options.get("limit", {}).get("test", TEST_IMAGES))


def training_rows(options: dict[str, Any]) -> int:
    """Return the number of training images."""
    rest = TRAINING_IMAGES - rows_of(options["validation"], TRAINING_IMAGES)
    return int(options.get("limit", {}).get("train", rest))


def feature_shape(options: dict[str, Any]) -> tuple[int, ...]:
    """Return channels, height and width."""
    return SHAPE


def is_image(options: dict[str, Any]) -> bool:
    """Return True."""
    return True


def has_truth(options: dict[str, Any]) -> bool:
    """Return False."""
    return False


def prepare(options: dict[str, Any], seed: int, sources: Sequence[Path]) -> dict[str, Split]:
    """Return the images, scaled to [0, 1].

    The validation images are the last ones of a random permutation of the archive's training images, the training
    images are the first ones of it.

    Parameters
    ----------
    options : dict
        ``validation``: share or count of the training images; ``limit``: at most so many images for ``train`` and
        ``test``; ``normalisation``; ``download``, with ``md5``: the archive's MD5 sum, where it is to be checked.
    seed : int
        Of the draws.
    sources : sequence of path
        The archive.

    Raises
    ------
    DatasetError
        If the archive has another MD5 sum, is not CIFAR-10's, or has too few images.
    """
    (archive,) = sources
    if "download" in options:
        _check_md5(Path(archive), options["download"]["md5"])
    mean, std = configured(options, channels=3)
    members = read_members(Path(archive))
    classes = read_class_names(members[META], f"{archive}: {META}")
    batches = [read_batch(members.pop(name), f"{archive}: {name}") for name in TRAINING]
    images, labels = (np.concatenate(arrays) for arrays in zip(*batches, strict=True))
    test_images, test_labels = read_batch(members.pop(TEST), f"{archive}: {TEST}")

    limit = options.get("limit", {})
    validation_rows = rows_of(options["validation"], len(images))
    rest = len(images) - validation_rows
    check_rest(rest, "validation")
    order = np.random.default_rng(derive_seed(seed, "train")).permutation(len(images))
    test_order = np.random.default_rng(derive_seed(seed, "test")).permutation(len(test_images))
    drawn = {
        "train": (images, labels, order[: limited(rest, limit.get("train"), "limit.train")]),
        "validation": (images, labels, order[rest:]),
        "test": (test_images, test_labels, test_order[: limited(len(test_images), limit.get("test"), "limit.test")]),
    }
    return {
        name: Split(
            features=_scaled(pixels, np.sort(rows)),
            target=numbers[np.sort(rows)],
            feature_shape=SHAPE,
            classes=classes,
            mean=mean,
            std=std,
        )
        for name, (pixels, numbers, rows) in drawn.items()
    }


def _check_md5(archive: Path, md5: str) -> None:
    """Refuse an archive that has come in the place of the one that was downloaded."""
    try:
        with archive.open("rb") as file:
            found = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    except OSError as error:
        raise DatasetError(f"{archive}: cannot be read ({one_line(error.strerror or error)})") from None
    if found != md5.lower():
        raise DatasetError(
            f"{archive}: has the MD5 sum {found}, expected {md5} (download.md5); delete it to have it downloaded again"
        )


def _scaled(images: Images, rows: NDArray[np.int64]) -> NDArray[np.float32]:
    features = images[rows].astype(np.float32)
    features /= 255
    return features
