"""Images of any size in ``train/<class>/`` and ``test/<class>/``, in a folder or in a zip archive."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from approxgrad.datasets.drawing import check_rest, limited, rows_of, stratified
from approxgrad.datasets.image_files import Archive, Folder, class_folders, opened
from approxgrad.datasets.kinds import DatasetError
from approxgrad.datasets.normalisation import configured
from approxgrad.datasets.paths import checked_path
from approxgrad.datasets.pixels import decoded, pillow_limits
from approxgrad.messages import one_line
from approxgrad.progress import progress_bar
from approxgrad.seeds import derive_seed
from approxgrad.storage.tables import Split


def sources(name: str, options: dict[str, Any]) -> list[str]:
    """Return the path of the folder or zip archive.

    Raises
    ------
    DatasetError
        If it is relative and leads out of the working directory.
    """
    return [checked_path(options["path"], "path")]


def test_rows(options: dict[str, Any]) -> int | None:
    """Return the number of test images where the options limit it."""
    limit = options.get("limit", {}).get("test")
    return None if limit is None else int(limit)


def training_rows(options: dict[str, Any]) -> int | None:
    """Return the number of training images where the options limit it."""
    limit = options.get("limit", {}).get("train")
    return None if limit is None else int(limit)


def feature_shape(options: dict[str, Any]) -> tuple[int, ...]:
    """Return channels, height and width."""
    return (int(options["channels"]), *map(int, options["size"]))


def is_image(options: dict[str, Any]) -> bool:
    """Return True."""
    return True


def has_truth(options: dict[str, Any]) -> bool:
    """Return False."""
    return False


def prepare(options: dict[str, Any], seed: int, sources: Sequence[Path]) -> dict[str, Split]:
    """Return the images, scaled to [0, 1]; the class numbers follow the alphabetical order of the classes.

    Only the images that are kept are decoded, one at a time.

    Parameters
    ----------
    options : dict
        ``size``: height and width; ``channels``: 3 or 1; ``validation``: share or count of the training images;
        ``limit``: at most so many images for ``train`` and ``test``; ``normalisation``.
    seed : int
        Of the draws, which keep the proportions of the classes.
    sources : sequence of path
        The folder or zip archive.

    Raises
    ------
    DatasetError
        If the folders are not laid out as expected, a file is no image, or there are too few images.
    """
    (path,) = map(Path, sources)
    mean, std = configured(options, options["channels"])
    height, width = options["size"]
    limit = options.get("limit", {})
    with opened(path) as files, pillow_limits():
        folders = class_folders(files.names(), path)
        names, labels = _flat(folders["train"], list(folders["train"]))
        test_names, test_labels = _flat(folders["test"], list(folders["train"]))
        classes = tuple(map(one_line, folders["train"]))
        validation, rest = stratified(
            labels, rows_of(options["validation"], len(names)), derive_seed(seed, "validation")
        )
        try:
            check_rest(len(rest), "validation")
        except ValueError as error:
            raise DatasetError(f"{path}: {error}") from None
        _check_classes(labels[rest], classes, path)
        kept = limited(len(rest), limit.get("train"), "limit.train")
        train = rest[stratified(labels[rest], kept, derive_seed(seed, "train"))[0]]
        kept = limited(len(test_names), limit.get("test"), "limit.test")
        test = stratified(test_labels, kept, derive_seed(seed, "test"))[0]
        drawn = {
            "train": (names, labels, train),
            "validation": (names, labels, validation),
            "test": (test_names, test_labels, test),
        }
        with progress_bar(len(train) + len(validation) + len(test), "read images", "image") as bar:
            return {
                part: Split(
                    features=_read(
                        files, path, [names[row] for row in rows], (height, width), options["channels"], bar
                    ),
                    target=numbers[rows],
                    feature_shape=(options["channels"], height, width),
                    classes=classes,
                    mean=mean,
                    std=std,
                )
                for part, (names, numbers, rows) in drawn.items()
            }


def _check_classes(labels: NDArray[np.int64], classes: Sequence[str], path: Path) -> None:
    lacking = sorted(set(range(len(classes))) - set(labels.tolist()))
    if lacking:
        raise DatasetError(
            f"{path}: validation leaves no image of train/{classes[lacking[0]]} to train on, expected one"
        )


def _flat(folders: dict[str, list[str]], order: list[str]) -> tuple[list[str], NDArray[np.int64]]:
    """Return the names of all images and their class numbers."""
    names = [name for images in folders.values() for name in images]
    numbers = [order.index(label) for label, images in folders.items() for _ in images]
    return names, np.array(numbers, np.int64)


def _read(
    files: Folder | Archive, path: Path, names: list[str], size: tuple[int, int], channels: int, bar: Any
) -> NDArray[np.float32]:
    features = np.empty((len(names), channels * size[0] * size[1]), np.float32)
    for row, name in enumerate(names):
        features[row] = decoded(files.read(name), size, channels, f"{path}: {one_line(name)}").reshape(-1)
        bar.update()
    features /= 255
    return features
