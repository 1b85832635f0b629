"""Images of any size in ``train/<class>/`` and ``test/<class>/``, in a folder or in a zip archive."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from approxgrad.datasets.class_names import ClassNames, arranged, class_faults
from approxgrad.datasets.drawing import LIMIT, UNLIMITED, VALIDATION, Amount, Limit, rest_faults, rows_of, stratified
from approxgrad.datasets.faults import DatasetError, refuse
from approxgrad.datasets.image_files import Archive, Folder, opened
from approxgrad.datasets.image_layout import ALL, class_folders
from approxgrad.datasets.kind import DATASETS, PARTS, DatasetKind
from approxgrad.datasets.pixels import decoded, pillow_limits
from approxgrad.descriptions import Integer, Text, option
from approxgrad.messages import one_line
from approxgrad.progress import progress_bar
from approxgrad.seeds import derive_seed
from approxgrad.storage.splits import Split

Side = Annotated[Integer, option("", ge=1, le=4096)]

PATH = (
    "Folder or .zip file with images in train/<class>/ and test/<class>/, and perhaps val/<class>/, which stands for"
    " test/ if that is missing; or just in <class>/, which are split at random. Hidden files are ignored. Images are"
    " turned as their EXIF data say; transparent parts become white; animations and more than 8 bits per channel are"
    " refused."
)
TEST = "Images that are attributed and tested on, if no folder holds them; a share below 1 of all, or a count."
SIZE = "Height and width to which images are resized (shorter side) and cropped (centre)."


@DATASETS.add
@dataclass(frozen=True, kw_only=True)
class ImageFolder(DatasetKind):
    """Images scaled to [0, 1]; class numbers follow `classes` or the alphabetical order of the class folders."""

    name: ClassVar[str] = "image_folder"
    folders: ClassVar[bool] = True
    is_image: ClassVar[bool] = True

    path: Annotated[Text, option(PATH, min_length=1)]
    size: Annotated[tuple[Side, Side], option(SIZE)]
    channels: Annotated[Literal[3, 1], option("3 for colour, 1 for grey.")] = 3
    classes: ClassNames = None
    validation: Annotated[Amount, option(f"{VALIDATION} Not used where a folder holds them.")] = 0.1
    test: Annotated[Amount, option(TEST)] = 0.25
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
    def outputs(self) -> int | None:
        """One for each class, if these are named."""
        return len(self.classes) if self.classes else None

    @property
    def training_rows(self) -> int | None:
        """Number of training images if limited."""
        return self.limit.train

    @property
    def feature_shape(self) -> tuple[int, ...]:
        """Channels, height and width."""
        return (self.channels, *self.size)

    def faults(self) -> list[str]:
        """Return what is wrong with the path, or classes that are named twice."""
        return super().faults() + class_faults(self.classes)

    def prepare(self, seed: int, sources: Sequence[Path]) -> dict[str, Split]:
        """Return the images; draws keep the proportions of the classes, and only the drawn images are decoded."""
        (path,) = sources
        with opened(path) as files, pillow_limits():
            folders = class_folders(files, path, fewest=1 if self.classes else 2)
            order = arranged(list(next(iter(folders.values()))), self.classes)
            images = {part: _flat(found, order) for part, found in folders.items()}
            rows = self._drawn({part: labels for part, (_, labels) in images.items()}, path, order, seed)
            classes = tuple(map(one_line, order))
            total = sum(len(own) for _, own in rows.values())
            with progress_bar(total, "read images", "image") as bar:
                parts = {}
                for part, (origin, own) in rows.items():
                    names, labels = images[origin]
                    chosen = [names[row] for row in own]
                    pixels = self._read(files, path, chosen, bar)
                    parts[part] = self.split(pixels, labels[own], classes, origin=np.array(list(map(one_line, chosen))))
                return parts

    def _drawn(
        self, labels: dict[str, NDArray[np.int64]], path: Path, order: list[str], seed: int
    ) -> dict[str, tuple[str, NDArray[np.int64]]]:
        """Return, for each part of the data set, the part of the folders that it is from and its images there."""
        drawn = {part: (part, np.arange(len(own))) for part, own in labels.items()}
        origin = ALL if ALL in labels else "train"
        _, rest = drawn.pop(origin)
        taken = []
        for part, amount in (("test", self.test), ("validation", self.validation)):
            if part not in drawn:
                chosen, left = stratified(
                    labels[origin][rest], rows_of(amount, len(labels[origin])), derive_seed(seed, part)
                )
                drawn[part], rest = (origin, rest[chosen]), rest[left]
                taken.append(part)
        refuse([f"{path}: {fault}" for fault in rest_faults(" and ".join(taken), len(rest), len(labels[origin]))])
        for lacking in sorted(set(labels[origin].tolist()) - set(labels[origin][rest].tolist())):
            name = one_line(order[lacking]) if origin == ALL else f"{origin}/{one_line(order[lacking])}"
            raise DatasetError(f"{path}: {' and '.join(taken)} leaves no image of {name} to train on, expected one")
        drawn["train"] = (origin, rest)
        refuse(self.limit.faults(len(rest), len(drawn["test"][1])))
        for part, most in (("train", self.limit.train), ("test", self.limit.test)):
            own, place = drawn[part]
            kept, _ = stratified(labels[own][place], most or len(place), derive_seed(seed, part))
            drawn[part] = (own, place[kept])
        return {part: drawn[part] for part in PARTS}

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
