"""Files that are either complete or absent."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from approxgrad.messages import one_line

UNFINISHED = ".unfinished-"
"""Part of the name of a file that is being written. The name begins with a dot, so readers of folders ignore it."""


def write_atomically(path: Path | str, write: Callable[[Path], Any]) -> None:
    """Write a file under a temporary name beside `path` and rename it, so that readers never see a partial file.

    The content is on the disk before the file is renamed, so it is complete after a power failure too. An OSError names
    `path` and the reason, such as a full disk.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}{UNFINISHED}", suffix=path.suffix)
        os.close(handle)
        temporary = Path(name)
        try:
            write(temporary)
            temporary.chmod(0o666 & ~_umask())
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else one_line(error)
        raise OSError(f"{path}: cannot be written ({reason})") from error


def try_writing(paths: Iterable[Path | str]) -> None:
    """Refuse paths at which no file can be written, before the work whose results go there."""
    for path in map(Path, paths):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=path.parent).close()
            if path.is_dir():
                raise IsADirectoryError(errno.EISDIR, "is a folder")
        except OSError as error:
            raise OSError(f"{path}: cannot be written ({error.strerror})") from error


def remove_unfinished(*folders: Path) -> None:
    """Remove the unfinished files of killed writers; nobody may be writing in these folders."""
    for folder in folders:
        for path in folder.rglob(f".*{UNFINISHED}*"):
            path.unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
