"""Images of any size in ``train/<class>/`` and ``test/<class>/``, in a folder or in a zip archive."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from approxgrad.datasets.drawing import LIMIT, UNLIMITED, VALIDATION, Amount, Limit, rest_faults, rows_of, stratified
from approxgrad.datasets.faults import DatasetError, refuse
from approxgrad.datasets.image_files import Archive, Folder, class_folders, opened
from approxgrad.datasets.kind import DATASETS, DatasetKind
from approxgrad.datasets.pixels import decoded, pillow_limits
from approxgrad.descriptions import Integer, Text, option
from approxgrad.messages import one_line
from approxgrad.progress import progress_bar
from approxgrad.seeds import derive_seed
from approxgrad.storage.splits import Split

Side = Annotated[Integer, option("", ge=1, le=4096)]

PATH = (
    "Folder or .zip file with images in train/<class>/ and test/<class>/. Hidden files are ignored. Images are turned"
    " as their EXIF data say; transparent parts become white; animations and more than 8 bits per channel are refused."
)
SIZE = "Height and width to which images are resized (shorter side) and cropped (centre)."


@DATASETS.add
@dataclass(frozen=True, kw_only=True)
class ImageFolder(DatasetKind):
    """Images scaled to [0, 1]; class numbers follow the alphabetical order of the class folders."""

    name: ClassVar[str] = "image_folder"
    folders: ClassVar[bool] = True
    is_image: ClassVar[bool] = True

    path: Annotated[Text, option(PATH, min_length=1)]
    size: Annotated[tuple[Side, Side], option(SIZE)]
    channels: Annotated[Literal[3, 1], option("3 for colour, 1 for grey.")] = 3
    validation: Annotated[Amount, option(VALIDATION)] = 0.1
    limit: Annotated[Limit, option(LIMIT)] = UNLIMITED

    @property
    def own_files(self) -> Mapping[str, str]:
        """The folder or archive."""
        return {"path": self.path}

    @property
    def test_rows(self) -> int | None:
        """Number of test images if limited."""
        return self.limit.test

    @property
    def training_rows(self) -> int | None:
        """Number of training images if limited."""
        return self.limit.train

    @property
    def feature_shape(self) -> tuple[int, ...]:
        """Channels, height and width."""
        return (self.channels, *self.size)

    def prepare(self, seed: int, sources: Sequence[Path]) -> dict[str, Split]:
        """Return the images; draws keep the proportions of the classes, and only the drawn images are decoded."""
        (path,) = sources
        with opened(path) as files, pillow_limits():
            folders = class_folders(files.names(), path)
            order = list(folders["train"])
            (names, labels), (test_names, test_labels) = (_flat(folders[part], order) for part in ("train", "test"))
            classes = tuple(map(one_line, order))
            validation, rest = stratified(labels, rows_of(self.validation, len(names)), derive_seed(seed, "validation"))
            refuse([f"{path}: {fault}" for fault in rest_faults("validation", len(rest))])
            for lacking in sorted(set(range(len(classes))) - set(labels[rest].tolist())):
                raise DatasetError(
                    f"{path}: validation leaves no image of train/{classes[lacking]} to train on, expected one"
                )
            refuse(self.limit.faults(len(rest), len(test_names)))
            train, _ = stratified(labels[rest], self.limit.train or len(rest), derive_seed(seed, "train"))
            test, _ = stratified(test_labels, self.limit.test or len(test_names), derive_seed(seed, "test"))
            drawn = {
                "train": (names, labels, rest[train]),
                "validation": (names, labels, validation),
                "test": (test_names, test_labels, test),
            }
            with progress_bar(len(train) + len(validation) + len(test), "read images", "image") as bar:
                return {
                    part: self.split(self._read(files, path, [names[row] for row in rows], bar), numbers[rows], classes)
                    for part, (names, numbers, rows) in drawn.items()
                }

    def _read(self, files: Folder | Archive, path: Path, names: list[str], bar: Any) -> NDArray[np.float32]:
        features = np.empty((len(names), *self.feature_shape), np.float32)
        for row, name in enumerate(names):
            features[row] = decoded(files.read(name), self.size, self.channels, f"{path}: {one_line(name)}")
            bar.update()
        features /= 255
        return features.reshape(len(names), -1)


def _flat(folders: dict[str, list[str]], order: list[str]) -> tuple[list[str], NDArray[np.int64]]:
    """Return the names of all images and their class numbers."""
    names = [name for images in folders.values() for name in images]
    numbers = [order.index(label) for label, images in folders.items() for _ in images]
    return names, np.array(numbers, np.int64)
