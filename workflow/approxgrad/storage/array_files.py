"""Arrays in NumPy's ``.npz`` files, read without unpickling."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.npyio import NpzFile
from numpy.typing import NDArray

from approxgrad.messages import one_line
from approxgrad.storage.damage import DAMAGES
from approxgrad.storage.table_checks import TableError

CHUNK = 2**20


def load_arrays(path: Path | str, names: Sequence[str]) -> dict[str, NDArray[Any]]:
    """Return arrays of a ``.npz`` file by name, or raise a TableError."""
    try:
        with np.load(path, allow_pickle=False) as file:
            for name in names:
                if name not in file.files:
                    known = ", ".join(file.files[:10]) or "nothing"
                    raise TableError(f"{path}: has no array {name!r}, only {one_line(known)}")
                _check_member(file, name)
            arrays = {name: file[name] for name in names}
    except TableError:
        raise
    except FileNotFoundError:
        raise TableError(f"{path}: no such file") from None
    except DAMAGES as error:
        raise TableError(f"{path}: cannot be read as npz without unpickling ({one_line(error)})") from None
    for name, values in arrays.items():
        # NumPy returns the raw bytes of a member that is not one of its own files.
        if not isinstance(values, np.ndarray):
            raise TableError(f"{path}: {name} is not an array")
    return arrays


def _check_member(file: NpzFile, name: str) -> None:
    """Read a member to its end, where its checksum is compared; NumPy stops early at an array that got shorter."""
    archive = file.zip
    if archive is None:
        return
    with archive.open(name if name in archive.namelist() else f"{name}.npy") as opened:
        while opened.read(CHUNK):
            pass
