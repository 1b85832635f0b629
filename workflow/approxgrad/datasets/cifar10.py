"""CIFAR-10: 60,000 colour photographs of ten kinds of things, from the official archive."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from approxgrad.datasets.cifar_batches import META, TEST, TRAINING, read_batch, read_class_names, read_members
from approxgrad.datasets.drawing import LIMIT, UNLIMITED, VALIDATION, Amount, Limit, rest_faults, rows_of
from approxgrad.datasets.faults import DatasetError, address_faults, reading, refuse
from approxgrad.datasets.kind import DATASETS, DatasetKind
from approxgrad.datasets.normalisation import IMAGENET, Normalised
from approxgrad.descriptions import Description, Integer, Number, Text, option
from approxgrad.seeds import derive_seed
from approxgrad.storage.splits import Split

ARCHIVE = "cifar-10-python.tar.gz"
TRAINING_IMAGES, TEST_IMAGES = 50_000, 10_000


@dataclass(frozen=True)
class Download(Description):
    """Where the archive comes from, and what it must be."""

    addresses: Annotated[
        tuple[Annotated[Text, option("", min_length=1)], ...],
        option("Tried in order; https://, http://, file:/// or a local path.", min_length=1),
    ] = (f"https://www.cs.toronto.edu/~kriz/{ARCHIVE}",)
    md5: Annotated[
        Text,
        option(
            "MD5 sum of the archive, 32 hexadecimal digits; an archive with another one is refused.",
            pattern="^[0-9a-fA-F]{32}$",
        ),
    ] = "c58f30108f718f92721af3b95e74349a"
    retries: Annotated[Integer, option("How often an address is asked again after a failed transfer.", ge=0)] = 3
    timeout: Annotated[Number, option("Seconds without data after which a transfer has failed.", gt=0)] = 60.0


@DATASETS.add
@dataclass(frozen=True, kw_only=True)
class Cifar10(DatasetKind):
    """Images of 3 x 32 x 32 pixels, scaled to [0, 1]; the validation images are drawn from the training images."""

    name: ClassVar[str] = "cifar10"
    downloads: ClassVar[bool] = True
    is_image: ClassVar[bool] = True
    feature_shape = (3, 32, 32)

    download: Annotated[Download, option(f"Where the archive {ARCHIVE} comes from.")] = Download()
    validation: Annotated[Amount, option(VALIDATION)] = 5000
    limit: Annotated[Limit, option(LIMIT)] = UNLIMITED
    normalisation: Normalised = IMAGENET

    def sources(self, dataset_name: str) -> list[str]:
        """Return the path to which the archive is downloaded."""
        return [f"data/{dataset_name}/{ARCHIVE}"]

    @property
    def test_rows(self) -> int:
        """Number of test images."""
        return self.limit.test or TEST_IMAGES

    @property
    def outputs(self) -> int:
        """One for each class."""
        return 10

    @property
    def training_rows(self) -> int:
        """Number of training images."""
        return self.limit.train or TRAINING_IMAGES - rows_of(self.validation, TRAINING_IMAGES)

    def faults(self) -> list[str]:
        """Return addresses that cannot be used, and numbers that exceed the archive's."""
        found = super().faults()
        for place, address in enumerate(self.download.addresses):
            found += address_faults(f"download.addresses[{place}]", address)
        return found + self._count_faults(TRAINING_IMAGES, TEST_IMAGES)

    def _count_faults(self, training: int, test: int) -> list[str]:
        rest = training - rows_of(self.validation, training)
        return rest_faults("validation", rest, training) or self.limit.faults(rest, test)

    def tracked(self) -> dict[str, Any]:
        """Return the options without the addresses: another mirror gives the same archive."""
        return super().tracked() | {"download": {"md5": self.download.md5}}

    def prepare(self, seed: int, sources: Sequence[Path]) -> dict[str, Split]:
        """Return the images; training and validation images are the two ends of a random permutation."""
        (archive,) = sources
        _check_md5(archive, self.download.md5)
        members = read_members(archive)
        classes = read_class_names(members[META], f"{archive}: {META}")
        batches = [read_batch(members.pop(name), f"{archive}: {name}") for name in TRAINING]
        images, labels = (np.concatenate(arrays) for arrays in zip(*batches, strict=True))
        test_images, test_labels = read_batch(members.pop(TEST), f"{archive}: {TEST}")

        refuse(self._count_faults(len(images), len(test_images)))
        rest = len(images) - rows_of(self.validation, len(images))
        order = np.random.default_rng(derive_seed(seed, "train")).permutation(len(images))
        test_order = np.random.default_rng(derive_seed(seed, "test")).permutation(len(test_images))
        drawn = {
            "train": (images, labels, order[: self.limit.train or rest]),
            "validation": (images, labels, order[rest:]),
            "test": (test_images, test_labels, test_order[: self.limit.test]),
        }
        return {
            part: self.split(_scaled(pixels[np.sort(rows)]), numbers[np.sort(rows)], classes)
            for part, (pixels, numbers, rows) in drawn.items()
        }


def _scaled(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    features = pixels.astype(np.float32)
    features /= 255
    return features


def _check_md5(archive: Path, md5: str) -> None:
    """Refuse an archive that has replaced the one that was downloaded."""
    with reading(f"{archive}: cannot be read"), archive.open("rb") as file:
        found = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    if found != md5.lower():
        raise DatasetError(
            f"{archive}: has the MD5 sum {found}, expected {md5} (download.md5); delete it to download it again"
        )
