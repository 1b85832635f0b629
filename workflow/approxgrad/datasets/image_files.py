"""Images in class folders, in a folder or in a zip archive, which is read without extracting anything."""

from __future__ import annotations

import hashlib
import re
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from approxgrad.datasets.kinds import DatasetError
from approxgrad.messages import one_line
from approxgrad.provenance.digests import LARGEST_READ, content_digest
from approxgrad.storage.damage import DAMAGES

PARTS = ("train", "test")
LARGEST_FILE = 256 * 2**20
"""Bytes of one image file, before decoding."""


ENTRY = b"PK\x01\x02"
"""How an entry of a zip archive's table of contents begins."""


class Folder:
    """A folder of images."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def names(self) -> Iterator[str]:
        """Yield what is in the folder and in its class folders, as relative paths; folders end in a slash."""
        yield from (_name(entry, self._path) for entry in self._path.iterdir())
        for part in PARTS:
            for class_folder in _folders(self._path / part):
                yield _name(class_folder, self._path)
                yield from (_name(entry, self._path) for entry in class_folder.iterdir())

    def read(self, name: str) -> bytes:
        """Return the content of a file."""
        path = self._path / name
        _check_size(path.stat().st_size, path)
        return path.read_bytes()


class Archive:
    """A zip archive of images."""

    def __init__(self, path: Path, archive: zipfile.ZipFile) -> None:
        self._path = path
        self._archive = archive
        self._members = {member.filename: member for member in archive.infolist()}
        for name, count in Counter(archive.namelist()).items():
            if count > 1:
                raise DatasetError(f"{path}: has the member {name!r} {count} times, expected it once")
        for name in self._members:
            if "\\" in name or name.startswith("/") or ".." in name.split("/") or re.match("[A-Za-z]:", name):
                raise DatasetError(f"{path}: has the member {name!r}, expected relative paths inside the archive")
        for member in self._members.values():
            self._check_entry(member)

    def _check_entry(self, member: zipfile.ZipInfo) -> None:
        """Check an entry of the table of contents, which has no checksum: it could name or hide another file."""
        where = f"{self._path}: {one_line(member.filename)}"
        if ENTRY in member.comment + member.extra:
            raise DatasetError(f"{where}: its entry in the table of contents is damaged, it holds the next one")
        try:
            # Compares its name with the one that stands before the content.
            self._archive.open(member).close()
        except DAMAGES as error:
            raise DatasetError(f"{where}: cannot be read ({one_line(error)})") from None

    def names(self) -> Iterator[str]:
        """Yield the names of all members; folders end in a slash."""
        yield from self._members

    def read(self, name: str) -> bytes:
        """Return the content of a member."""
        member = self._members[name]
        where = f"{self._path}: {one_line(name)}"
        _check_size(member.file_size, where)
        try:
            return self._archive.read(member)
        except DAMAGES as error:
            raise DatasetError(f"{where}: cannot be read ({one_line(error)})") from None


@contextmanager
def opened(path: Path) -> Iterator[Folder | Archive]:
    """Open a folder or a zip archive.

    Raises
    ------
    DatasetError
        If there is neither at the path.
    """
    if path.is_dir():
        yield Folder(path)
        return
    try:
        archive = zipfile.ZipFile(path)
    except FileNotFoundError:
        raise DatasetError(f"{path}: no such folder or .zip file") from None
    except DAMAGES as error:
        raise DatasetError(f"{path}: is no folder and cannot be read as a .zip file ({one_line(error)})") from None
    with archive:
        yield Archive(path, archive)


def class_folders(names: Iterable[str], where: Path) -> dict[str, dict[str, list[str]]]:
    """Sort the names of image files by part (``train``, ``test``) and class.

    Hidden files and whatever lies outside of a class folder are passed over.

    Returns
    -------
    dict
        For each part the names of the images by class, both in alphabetical order.

    Raises
    ------
    DatasetError
        If a part is missing, a class is empty or occurs in ``test`` only, or a class folder holds a folder.
    """
    parts: dict[str, dict[str, list[str]]] = {part: {} for part in PARTS}
    top: set[str] = set()
    for name in sorted(names):
        part, *rest = name.split("/")
        top.add(part)
        if part not in parts or len(rest) < 2 or any(piece.startswith(".") for piece in rest):
            continue
        images = parts[part].setdefault(rest[0], [])
        if len(rest) > 2:
            folder = one_line("/".join([part, *rest[:2]]))
            raise DatasetError(f"{where}: {folder} is a folder, expected images in {part}/{one_line(rest[0])}")
        if rest[1]:
            images.append(name)
    for part, classes in parts.items():
        if not classes:
            found = one_line(", ".join(sorted(top)[:10])) if top else "nothing"
            raise DatasetError(f"{where}: has no {part}/ with a folder for each class, only {found}")
        empty = [name for name, images in classes.items() if not images]
        if empty:
            raise DatasetError(f"{where}: {part}/{one_line(empty[0])} holds no image")
    unknown = sorted(set(parts["test"]) - set(parts["train"]))
    if unknown:
        raise DatasetError(
            f"{where}: test/ has the class {one_line(unknown[0])}, expected one of train/: {_list(parts['train'])}"
        )
    return {part: dict(sorted(classes.items())) for part, classes in parts.items()}


def listing_digest(path: Path) -> str:
    """Return a digest of the names and contents of a folder's images; of a large folder names, sizes and times."""
    names = sorted(Folder(path).names())
    states = {name: (path / name).stat() for name in names if (path / name).is_file()}
    small = sum(state.st_size for state in states.values()) <= LARGEST_READ
    digest = hashlib.sha256()
    for name in names:
        digest.update(f"{name}\0".encode())
        if name in states:
            state = f"{states[name].st_size}\0{states[name].st_mtime_ns}"
            digest.update(f"{content_digest(path / name) if small else state}\n".encode())
    return digest.hexdigest()


def _folders(path: Path) -> list[Path]:
    return [entry for entry in path.iterdir() if entry.is_dir()] if path.is_dir() else []


def _name(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix() + ("/" if path.is_dir() else "")


def _check_size(size: int, where: Path | str) -> None:
    if size > LARGEST_FILE:
        raise DatasetError(f"{where}: has {size} bytes, expected at most {LARGEST_FILE}")


def _list(names: Iterable[str]) -> str:
    shown = list(names)
    return one_line(", ".join(shown[:10]) + (", ..." if len(shown) > 10 else ""))
