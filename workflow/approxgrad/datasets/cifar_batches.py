"""The official Python archive of CIFAR-10: pickled batches in a tar file, read without trusting either."""

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

from approxgrad.datasets.kinds import DatasetError
from approxgrad.messages import one_line
from approxgrad.storage.damage import DAMAGES

FOLDER = "cifar-10-batches-py"
TRAINING = tuple(f"data_batch_{number}" for number in range(1, 6))
TEST = "test_batch"
META = "batches.meta"

PIXELS = 3 * 32 * 32
CLASSES = 10
LARGEST_MEMBER = 64 * 2**20
"""Bytes; a batch of 10,000 images has about half of it."""

CHUNK = 2**20

Images = NDArray[np.uint8]
Labels = NDArray[np.int64]


def read_members(archive: Path) -> dict[str, bytes]:
    """Return the archive's members by name, read in one pass and never written to disk.

    Raises
    ------
    DatasetError
        If the archive cannot be read, or a member is missing or too large.
    """
    wanted = {f"{FOLDER}/{name}": name for name in (*TRAINING, TEST, META)}
    found: dict[str, bytes] = {}
    try:
        with tarfile.open(archive, "r:gz") as tar:
            for member in tar:
                # Whatever its name: to pass over a member is to decompress it.
                if member.size > LARGEST_MEMBER:
                    raise DatasetError(
                        f"{archive}: {one_line(member.name)} has {member.size} bytes, expected at most {LARGEST_MEMBER}"
                    )
                name = wanted.get(member.name)
                if name is None or not member.isreg():
                    continue
                if name in found:
                    raise DatasetError(f"{archive}: has the member {member.name} twice, expected it once")
                file = tar.extractfile(member)
                found[name] = file.read() if file else b""
            # The checksum stands at the very end of the compressed stream, behind the last member.
            while tar.fileobj.read(CHUNK):
                pass
    except DatasetError:
        raise
    except DAMAGES as error:
        raise DatasetError(f"{archive}: cannot be read as a .tar.gz archive ({one_line(error)})") from None
    missing = [path for path, name in wanted.items() if name not in found]
    if missing:
        raise DatasetError(f"{archive}: lacks {', '.join(missing)}")
    return found


def read_batch(content: bytes, where: str) -> tuple[Images, Labels]:
    """Return the images, of shape (N, 3072), and the labels of a batch.

    Parameters
    ----------
    content : bytes
        The pickled batch.
    where : str
        Its name, for messages.

    Raises
    ------
    DatasetError
        If it is no batch of CIFAR-10.
    """
    batch = _unpickled(content, where)
    array, labels = batch.get(b"data"), batch.get(b"labels")
    values = array.values if isinstance(array, _Array) else None
    if values is None or values.ndim != 2 or values.shape[1] != PIXELS or len(values) == 0:
        shape = type(array).__name__ if values is None else values.shape
        raise DatasetError(f"{where}: data is {shape}, expected an array of shape (N, {PIXELS})")
    if not isinstance(labels, list) or len(labels) != len(values):
        got = f"{len(labels)} values" if isinstance(labels, list) else type(labels).__name__
        raise DatasetError(f"{where}: labels is {got}, expected a list of {len(values)} numbers")
    wrong = [label for label in labels if type(label) is not int or not 0 <= label < CLASSES]
    if wrong:
        raise DatasetError(
            f"{where}: contains the label {one_line(repr(wrong[0]))}, expected numbers from 0 to {CLASSES - 1}"
        )
    return values, np.array(labels, np.int64)


def read_class_names(content: bytes, where: str) -> tuple[str, ...]:
    """Return the names of the ten classes from the pickled ``batches.meta``.

    Raises
    ------
    DatasetError
        If it does not hold ten names.
    """
    names = _unpickled(content, where).get(b"label_names")
    if not isinstance(names, list) or len(names) != CLASSES or not all(isinstance(name, bytes) for name in names):
        raise DatasetError(f"{where}: label_names is no list of {CLASSES} names")
    return tuple(name.decode("ascii", "replace") for name in names)


class _Dtype:
    """Stands in for numpy's data type in a pickle: unsigned bytes and nothing else."""

    def __init__(self, code: str | bytes, *_: Any) -> None:
        if code not in ("u1", b"u1"):
            raise DatasetError(f"data has the type {one_line(repr(code))}, expected unsigned bytes")

    def __setstate__(self, state: Any) -> None:
        """Take the byte order and alignment, which a byte does not have."""


class _Array:
    """Stands in for numpy's array in a pickle, so that no state from outside reaches numpy unchecked."""

    values: Images

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, dtype, fortran, content = state
        if not isinstance(dtype, _Dtype) or not isinstance(content, bytes):
            raise DatasetError("data is no array of unsigned bytes")
        self.values = np.frombuffer(content, np.uint8).reshape(shape, order="F" if fortran else "C")


def _reconstruct(*_: Any) -> _Array:
    return _Array()


def _encode(text: str, encoding: str) -> bytes:
    if encoding not in ("latin1", "latin-1"):
        raise DatasetError(f"text is encoded in {one_line(repr(encoding))}, expected latin1")
    return text.encode("latin1")


ALLOWED: dict[tuple[str, str], Callable[..., Any]] = {
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Dtype,
    ("_codecs", "encode"): _encode,
}
"""Everything that a pickled batch may name, and what is put in its place."""


class _Unpickler(pickle.Unpickler):
    """Knows nothing but what a batch is made of; nothing else is even imported."""

    def find_class(self, module: str, name: str) -> Any:
        try:
            return ALLOWED[module, name]
        except KeyError:
            found = one_line(f"{module}.{name}")
            raise DatasetError(f"contains {found}, which is not part of a CIFAR-10 batch") from None


def _check_opcodes(content: bytes) -> None:
    """Refuse the instructions with which a few bytes make the unpickler occupy gigabytes."""
    for number, (opcode, argument, _) in enumerate(pickletools.genops(content)):
        # Memory for that many objects is taken at once; a pickler counts them up from 0 or 1.
        far = opcode.name.endswith("PUT") and isinstance(argument, int) and argument > number
        if far or opcode.name == "BYTEARRAY8":
            raise DatasetError(f"contains {opcode.name} {argument}, which is not part of a CIFAR-10 batch")


def _unpickled(content: bytes, where: str) -> dict[Any, Any]:
    try:
        _check_opcodes(content)
        document = _Unpickler(io.BytesIO(content), encoding="bytes").load()
    except DatasetError as error:
        raise DatasetError(f"{where}: {error}") from None
    except DAMAGES as error:
        raise DatasetError(f"{where}: is no CIFAR-10 batch ({one_line(error)})") from None
    if not isinstance(document, dict):
        raise DatasetError(f"{where}: is no CIFAR-10 batch (it holds a {type(document).__name__})")
    return document
