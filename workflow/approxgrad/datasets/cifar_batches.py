"""The official Python archive of CIFAR-10: pickled batches in a tar file, of which neither is trusted."""

from __future__ import annotations

import io
import pickle
import pickletools
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from approxgrad.datasets.faults import DatasetError, reading
from approxgrad.messages import one_line

FOLDER = "cifar-10-batches-py"
TRAINING = tuple(f"data_batch_{number}" for number in range(1, 6))
TEST = "test_batch"
META = "batches.meta"

PIXELS = 3 * 32 * 32
CLASSES = 10
LARGEST_MEMBER = 64 * 2**20  # bytes; a batch of 10,000 images has about half of it


def read_members(archive: Path) -> dict[str, bytes]:
    """Return the archive's members by name, read in one pass and never written to disk, or raise a DatasetError."""
    wanted = {f"{FOLDER}/{name}": name for name in (*TRAINING, TEST, META)}
    found: dict[str, bytes] = {}
    with reading(f"{archive}: cannot be read as a .tar.gz archive"), tarfile.open(archive, "r:gz") as tar:
        for member in tar:
            # Whatever its name: skipping a member means decompressing it.
            if member.size > LARGEST_MEMBER:
                where = f"{archive}: {one_line(member.name)}"
                raise DatasetError(f"{where} has {member.size} bytes, expected at most {LARGEST_MEMBER}")
            if member.name in wanted and member.isreg() and (file := tar.extractfile(member)):
                found[wanted[member.name]] = file.read()
    missing = [path for path, name in wanted.items() if name not in found]
    if missing:
        raise DatasetError(f"{archive}: lacks {', '.join(missing)}")
    return found


def read_batch(content: bytes, where: str) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return the images, of shape (N, 3072), and the labels of a pickled batch, or raise a DatasetError."""
    batch = _unpickled(content, where)
    array, labels = batch.get(b"data"), batch.get(b"labels")
    values = getattr(array, "values", None) if isinstance(array, _Array) else None
    if values is None or values.ndim != 2 or values.shape[1] != PIXELS or len(values) == 0:
        shape = type(array).__name__ if values is None else values.shape
        raise DatasetError(f"{where}: data is {shape}, expected an array of shape (N, {PIXELS})")
    if not isinstance(labels, list) or len(labels) != len(values):
        got = f"{len(labels)} values" if isinstance(labels, list) else type(labels).__name__
        raise DatasetError(f"{where}: labels is {got}, expected a list of {len(values)} numbers")
    wrong = [label for label in labels if type(label) is not int or not 0 <= label < CLASSES]
    if wrong:
        got = one_line(repr(wrong[0]))
        raise DatasetError(f"{where}: contains the label {got}, expected numbers from 0 to {CLASSES - 1}")
    return values, np.array(labels, np.int64)


def read_class_names(content: bytes, where: str) -> tuple[str, ...]:
    """Return the names of the ten classes from the pickled ``batches.meta``; a DatasetError if there are not ten."""
    names = _unpickled(content, where).get(b"label_names")
    if not isinstance(names, list) or len(names) != CLASSES or not all(isinstance(name, bytes) for name in names):
        raise DatasetError(f"{where}: label_names is not a list of {CLASSES} names")
    return tuple(name.decode("ascii", "replace") for name in names)


class _Dtype:
    """Stands in for numpy's data type: unsigned bytes and nothing else."""

    def __init__(self, code: str | bytes, *_: Any) -> None:
        if code not in ("u1", b"u1"):
            raise DatasetError(f"data has the type {one_line(repr(code))}, expected unsigned bytes")

    def __setstate__(self, state: Any) -> None:
        """Ignore byte order and alignment, which a byte does not have."""


class _Array:
    """Stands in for numpy's array, so that no foreign state reaches numpy unchecked."""

    values: NDArray[np.uint8]

    def __init__(self, *_: Any) -> None: ...

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, dtype, fortran, content = state
        if not isinstance(dtype, _Dtype) or not isinstance(content, bytes):
            raise DatasetError("data is not an array of unsigned bytes")
        self.values = np.frombuffer(content, np.uint8).reshape(shape, order="F" if fortran else "C")


ALLOWED: dict[tuple[str, str], Callable[..., Any]] = {
    ("numpy.core.multiarray", "_reconstruct"): _Array,
    ("numpy._core.multiarray", "_reconstruct"): _Array,
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Dtype,
    # Text that stands for bytes, as Python 3 pickles them for Python 2.
    ("_codecs", "encode"): lambda text, _encoding: text.encode("latin1"),
}
"""Everything that a pickled batch may name, and what replaces it."""


class _Unpickler(pickle.Unpickler):
    """Knows only the parts of a batch, and imports nothing."""

    def find_class(self, module: str, name: str) -> Any:
        try:
            return ALLOWED[module, name]
        except KeyError:
            found = one_line(f"{module}.{name}")
            raise DatasetError(f"contains {found}, which is not part of a CIFAR-10 batch") from None


def _unpickled(content: bytes, where: str) -> dict[Any, Any]:
    try:
        with reading("is not a CIFAR-10 batch"):
            _check_sizes(content)
            document = _Unpickler(io.BytesIO(content), encoding="bytes").load()
            if not isinstance(document, dict):
                raise TypeError(f"it contains a {type(document).__name__}")
    except DatasetError as error:
        raise DatasetError(f"{where}: {error}") from None
    return document


def _check_sizes(content: bytes) -> None:
    """Refuse instructions with which a few bytes claim gigabytes: a far place in the memo, or an empty array."""
    for number, (opcode, argument, _) in enumerate(pickletools.genops(content)):
        # Picklers fill the memo one place after the other.
        far = opcode.name.endswith("PUT") and isinstance(argument, int) and argument > number
        if far or opcode.name == "BYTEARRAY8":
            raise DatasetError(f"contains {opcode.name} {argument}, which is not part of a CIFAR-10 batch")
