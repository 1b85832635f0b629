"""Images in class folders, in a folder or in a zip archive, which is read without extracting anything."""

from __future__ import annotations

import errno
import hashlib
import os
import posixpath
import re
import stat
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from approxgrad.datasets.faults import DatasetError, listed, lookalikes, reading
from approxgrad.messages import one_line
from approxgrad.provenance.digests import LARGEST_READ, content_digest

PARTS = ("train", "test")
LARGEST_FILE = 256 * 2**20  # bytes of one image file, before decoding

HIDDEN = frozenset({"thumbs.db", "ehthumbs.db", "desktop.ini", "__macosx", "@eadir", "icon\r"})
"""What systems leave in folders, in lower case, besides names that begin with a dot."""
LEADS_NOWHERE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)  # errors of a link without an end
ENTRY = b"PK\x01\x02"  # how an entry in the table of contents of a zip archive begins


class Folder:
    """A folder of images."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def names(self) -> Iterator[str]:
        """Yield the contents of the folder and its class folders, as relative paths; folders end in a slash."""
        yield from (name for name, _ in _entries(self._path, ""))
        yield from (name for name, _ in self.listing())

    def listing(self) -> Iterator[tuple[str, os.stat_result]]:
        """Yield the class folders and their contents, with size and time."""
        for part in PARTS:
            for class_folder, state in _entries(self._path / part, f"{part}/"):
                if class_folder.endswith("/"):
                    yield class_folder, state
                    yield from _entries(self._path / class_folder, class_folder)

    def read(self, name: str) -> bytes:
        """Return the content of a file."""
        path = self._path / name
        with reading(f"{one_line(path)}: cannot be read"):
            _check_size(path.stat().st_size, str(path))
            return path.read_bytes()


class Archive:
    """A zip archive of images."""

    def __init__(self, path: Path, archive: zipfile.ZipFile) -> None:
        self._path = path
        self._archive = archive
        self._members: dict[str, zipfile.ZipInfo] = {}
        for member in archive.infolist():
            raw = member.filename
            # In its shortest spelling.
            name = posixpath.normpath(raw) + "/" * raw.endswith("/")
            where = f"{path}: {one_line(raw)}"
            if "\\" in raw or raw.startswith("/") or ".." in raw.split("/") or re.match("[A-Za-z]:", raw):
                raise DatasetError(f"{path}: has the member {raw!r}, expected relative paths inside the archive")
            if name in self._members:
                raise DatasetError(f"{path}: has the member {name!r} twice, expected it once")
            # The table of contents has no checksum: a damaged entry could name or hide another file.
            if ENTRY in member.comment + member.extra:
                raise DatasetError(f"{where}: its entry in the table of contents is damaged, it contains the next one")
            with reading(f"{where}: cannot be read"):
                # Compares its name with the one in front of the content.
                archive.open(member).close()
            self._members[name] = member

    def names(self) -> Iterator[str]:
        """Yield the names of all members except links; folders end in a slash."""
        for name, member in self._members.items():
            if stat.S_ISLNK(member.external_attr >> 16):
                self._check_link(name)
            else:
                yield name

    def _check_link(self, name: str) -> None:
        """Refuse a link in a class folder that leads to another member; any other is ignored as a dangling one."""
        pieces = name.split("/")
        if pieces[0] not in PARTS or any(map(is_hidden, pieces)):
            return
        target = posixpath.normpath(posixpath.join(posixpath.dirname(name), self.read(name).decode(errors="replace")))
        if any(other == target or other.startswith(f"{target}/") for other in self._members):
            raise DatasetError(
                f"{self._path}: {one_line(name)} is a link to {one_line(target)}, expected files instead of links"
            )

    def read(self, name: str) -> bytes:
        """Return the content of a member."""
        member = self._members[name]
        where = f"{self._path}: {one_line(name)}"
        _check_size(member.file_size, where)
        with reading(f"{where}: cannot be read"):
            return self._archive.read(member)


@contextmanager
def opened(path: Path) -> Iterator[Folder | Archive]:
    """Open a folder or a zip archive; a DatasetError if the path leads to neither."""
    if path.is_dir():
        yield Folder(path)
        return
    not_a_zip = f"{path}: is not a folder and cannot be read as a .zip file"
    with reading(not_a_zip, missing=f"{path}: no such folder or .zip file"):
        archive = _zip_file(path)
    with archive:
        yield Archive(path, archive)


def class_folders(names: Iterable[str], where: Path) -> dict[str, dict[str, list[str]]]:
    """Return the names of the image files of each part (``train``, ``test``) by class, both in alphabetical order.

    Hidden files, files left by systems and everything outside class folders are ignored. A DatasetError says which part
    or class is missing, empty, in ``test`` only, looks like another one or contains a folder.
    """
    parts: dict[str, dict[str, list[str]]] = {part: {} for part in PARTS}
    top: set[str] = set()
    for name in sorted(names):
        part, *rest = name.split("/")
        if any(map(is_hidden, [part, *rest])):
            continue
        top.add(part)
        if part not in parts or len(rest) < 2:
            continue
        images = parts[part].setdefault(rest[0], [])
        if len(rest) > 2:
            folder = one_line("/".join([part, *rest[:2]]))
            raise DatasetError(f"{where}: {folder} is a folder, expected images in {part}/{one_line(rest[0])}")
        if rest[1]:
            images.append(name)
    for part, classes in parts.items():
        if not classes:
            raise DatasetError(f"{where}: has no {part}/ with a folder for each class, only {listed(sorted(top))}")
        empty = [name for name, images in classes.items() if not images]
        if empty:
            raise DatasetError(f"{where}: {part}/{one_line(empty[0])} contains no image")
    for name, other in lookalikes({name: f"{part}/{name}" for part in reversed(PARTS) for name in parts[part]}):
        raise DatasetError(
            f"{where}: has the folders {name!a} and {other!a}, which look the same; expected one spelling"
        )
    known = listed(parts["train"])
    unknown = sorted(set(parts["test"]) - set(parts["train"]))
    if unknown:
        raise DatasetError(f"{where}: test/ has the class {one_line(unknown[0])}, expected one of train/: {known}")
    if len(parts["train"]) < 2:
        raise DatasetError(f"{where}: train/ has the class {known} only, expected several")
    return {part: dict(sorted(classes.items())) for part, classes in parts.items()}


def listing_digest(path: Path) -> str:
    """Return a digest of the names and contents of a folder's images; for a large folder names, sizes and times."""
    digest = hashlib.sha256()
    try:
        listing = sorted(Folder(path).listing())
        small = sum(state.st_size for name, state in listing if not name.endswith("/")) <= LARGEST_READ
        for name, state in listing:
            digest.update(os.fsencode(name) + b"\0")
            # The time of a folder also changes with hidden files.
            if not name.endswith("/"):
                read = content_digest(path / name) if small else f"{state.st_size}\0{state.st_mtime_ns}"
                digest.update(f"{read}\n".encode())
    except DatasetError as error:
        # The job that reads the folder reports the fault.
        digest.update(os.fsencode(str(error)))
    return digest.hexdigest()


def is_hidden(name: str) -> bool:
    """Return whether a file or folder was not put there by a person."""
    return name.startswith(".") or name.lower() in HIDDEN


def _entries(folder: Path, prefix: str) -> Iterator[tuple[str, os.stat_result]]:
    """Yield the files and folders in a folder, if it is one, without devices and links that lead nowhere."""
    with reading(f"{one_line(folder)}: cannot be read"):
        for entry in folder.iterdir() if folder.is_dir() else ():
            try:
                state = entry.stat()
            except OSError as error:
                if error.errno in LEADS_NOWHERE:
                    continue
                raise
            is_folder = stat.S_ISDIR(state.st_mode)
            if not is_hidden(entry.name) and (is_folder or stat.S_ISREG(state.st_mode)):
                yield f"{prefix}{entry.name}{'/' if is_folder else ''}", state


def _zip_file(path: Path) -> zipfile.ZipFile:
    try:
        # Some programs write UTF-8 without saying so.
        return zipfile.ZipFile(path, metadata_encoding="utf-8")
    except UnicodeDecodeError:
        return zipfile.ZipFile(path)


def _check_size(size: int, where: str) -> None:
    if size > LARGEST_FILE:
        raise DatasetError(f"{where}: has {size} bytes, expected at most {LARGEST_FILE}")
