"""Images in class folders, in a folder or in a zip archive, which is read without extracting anything."""

from __future__ import annotations

import errno
import hashlib
import os
import posixpath
import re
import stat
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from approxgrad.datasets.faults import DatasetError, reading
from approxgrad.datasets.image_layout import layout
from approxgrad.datasets.stray_files import is_hidden
from approxgrad.messages import one_line
from approxgrad.provenance.digests import LARGEST_READ, content_digest

LARGEST_FILE = 256 * 2**20  # bytes of one image file, before decoding

LEADS_NOWHERE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)  # errors of a link without an end
ENTRY = b"PK\x01\x02"  # how an entry in the table of contents of a zip archive begins


class Folder:
    """A folder of images."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def entries(self, folder: str) -> list[str]:
        """Return the names in a folder, which is empty or ends in a slash; those of folders end in a slash too."""
        return sorted(name for name, _ in _entries(self._path / folder, folder))

    def listing(self) -> Iterator[tuple[str, os.stat_result]]:
        """Yield the class folders and their contents, with size and time."""
        for part in layout(self, self._path).values():
            for class_folder, state in _entries(self._path / part, part):
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
        self._children: dict[str, set[str]] = {}
        for name in self._names():
            pieces = [piece + "/" for piece in name.split("/")[:-1]] + [name.split("/")[-1]]
            for place, piece in enumerate(filter(None, pieces)):
                parent = "".join(pieces[:place])
                self._children.setdefault(parent, set()).add(parent + piece)

    def entries(self, folder: str) -> list[str]:
        """Return the names in a folder, as of :meth:`Folder.entries`."""
        return sorted(name for name in self._children.get(folder, ()) if not is_hidden(_last(name)))

    def _names(self) -> Iterator[str]:
        """Yield the names of all members except links; folders end in a slash."""
        for name, member in self._members.items():
            if stat.S_ISLNK(member.external_attr >> 16):
                self._check_link(name)
            else:
                yield name

    def _check_link(self, name: str) -> None:
        """Refuse a link in a folder that leads to another member; any other is ignored as a dangling one."""
        pieces = name.split("/")
        if len(pieces) < 2 or any(map(is_hidden, pieces)):
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


def _last(name: str) -> str:
    return name.rstrip("/").rpartition("/")[2]


def _zip_file(path: Path) -> zipfile.ZipFile:
    try:
        # Some programs write UTF-8 without saying so.
        return zipfile.ZipFile(path, metadata_encoding="utf-8")
    except UnicodeDecodeError:
        return zipfile.ZipFile(path)


def _check_size(size: int, where: str) -> None:
    if size > LARGEST_FILE:
        raise DatasetError(f"{where}: has {size} bytes, expected at most {LARGEST_FILE}")
