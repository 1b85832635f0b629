"""Digests inside result files, by which a reader detects damage.

Parquet has checksums, but only of values: neither of page headers nor of the footer with schema, metadata and
positions. Safetensors has none. So SHA-256 digests are stored where other readers do not look:

- in a parquet file between the last values and the footer: one for each column of each row group, so that a part can be
  read and checked without the rest, and one of all these and the footer;
- in a safetensors file under a key of its own in the metadata: one of the whole file, with zeros in its place.

A file without digests, older or rewritten by another program, is read as it is.
"""

from __future__ import annotations

import hashlib
import io
import json
import mmap
import os
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import BinaryIO

import pyarrow.parquet as pq

MARK = b"approxgrad-seal1"  # stands between the digests of a parquet file and its footer

SIZE = hashlib.sha256().digest_size
COUNT = 4
"""Bytes of the number of digests, and of the footer's length near the end of a parquet file."""

ENDING = 8
"""Bytes after the footer: its length and the name of the format."""

WEIGHTS_KEY = "approxgrad_sha256"  # key of the digest in the metadata of a safetensors file

CHUNK = 2**20


class SealError(ValueError):
    """The contents of a file are not what was written."""

    def __init__(self) -> None:
        super().__init__("it is damaged: its digest does not fit; delete it to have it made again")


def seal_parquet(path: Path | str) -> None:
    """Put digests into a parquet file that has just been written."""
    metadata = pq.read_metadata(path)
    with Path(path).open("rb+") as file:
        digests = [
            _range_digest(file, *_range(metadata, group, column))
            for group in range(metadata.num_row_groups)
            for column in range(metadata.num_columns)
        ]
        start = _footer_start(file)
        file.seek(start)
        footer = file.read()
        table = b"".join(digests) + len(digests).to_bytes(COUNT, "little")
        file.seek(start)
        file.write(table + hashlib.sha256(table + footer).digest() + MARK + footer)


class ParquetSeal:
    """The digests of a parquet file; a SealError if its footer, which is checked at once, is not what was written."""

    def __init__(self, path: Path | str) -> None:
        self._path = Path(path)
        self._checked: set[tuple[int, int]] = set()
        with self._path.open("rb") as file:
            self._digests = _read_digests(file)

    def check(
        self, metadata: pq.FileMetaData, groups: Iterable[int] | None = None, columns: Collection[str] | None = None
    ) -> None:
        """Check some columns in some row groups, by default all, each of them once; a SealError if one has changed."""
        if self._digests is None:
            return
        names = [metadata.schema.column(number).path for number in range(metadata.num_columns)]
        # Of a column of lists, the path leads to the values in them.
        chosen = [
            number
            for number, name in enumerate(names)
            if columns is None or any(f"{name}.".startswith(f"{column}.") for column in columns)
        ]
        with self._path.open("rb") as file:
            for group in range(metadata.num_row_groups) if groups is None else groups:
                for column in chosen:
                    if (group, column) in self._checked:
                        continue
                    place = SIZE * (group * len(names) + column)
                    if _range_digest(file, *_range(metadata, group, column)) != self._digests[place : place + SIZE]:
                        raise SealError
                    self._checked.add((group, column))


def sealed_weights(content: bytes) -> bytes:
    """Return the bytes of a safetensors file with a digest of themselves."""
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    header["__metadata__"] = header.get("__metadata__", {}) | {WEIGHTS_KEY: "0" * 2 * SIZE}
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    # The values begin at a multiple of eight bytes.
    text += b" " * (-len(text) % 8)
    whole = len(text).to_bytes(8, "little") + text + content[8 + length :]
    return whole.replace(_entry("0" * 2 * SIZE), _entry(hashlib.sha256(whole).hexdigest()), 1)


def check_weights(path: Path | str) -> None:
    """Check the digest of a safetensors file, or raise a SealError; files of other formats or without a digest pass."""
    with Path(path).open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > os.fstat(file.fileno()).st_size - 8:
            return
        text = file.read(length)
        try:
            recorded = json.loads(text)["__metadata__"][WEIGHTS_KEY]
        except (KeyError, RecursionError, TypeError, ValueError):
            return
        blank = text.replace(_entry(str(recorded)), _entry("0" * 2 * SIZE), 1)
        digest = hashlib.sha256(length.to_bytes(8, "little") + blank)
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    if digest.hexdigest() != recorded:
        raise SealError


def _entry(digest: str) -> bytes:
    """Return the metadata entry as it is written; quotes in other entries are escaped."""
    return f'"{WEIGHTS_KEY}":"{digest}"'.encode()


def _read_digests(file: BinaryIO) -> bytes | None:
    """Return the digests of a parquet file after a check of the footer, or None if there are none."""
    start = _footer_start(file)
    place = start - len(MARK) - SIZE - COUNT
    if place >= 0:
        file.seek(place)
        content = file.read()
        count, recorded = content[:COUNT], content[COUNT : COUNT + SIZE]
        if content[COUNT + SIZE :].startswith(MARK):
            length = SIZE * int.from_bytes(count, "little")
            if length > place:
                raise SealError
            file.seek(place - length)
            digests = file.read(length)
            if hashlib.sha256(digests + count + content[COUNT + SIZE + len(MARK) :]).digest() != recorded:
                raise SealError
            return digests
    # A mark elsewhere means that the recorded length of the footer is wrong.
    if file.seek(0, io.SEEK_END):
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as whole:
            if whole.rfind(MARK) >= 0:
                raise SealError
    return None


def _footer_start(file: BinaryIO) -> int:
    """Return where the footer begins according to its recorded length; negative if that is impossible."""
    size = file.seek(0, io.SEEK_END)
    file.seek(max(0, size - ENDING))
    return size - ENDING - int.from_bytes(file.read(COUNT), "little")


def _range(metadata: pq.FileMetaData, group: int, column: int) -> tuple[int, int]:
    """Return start and length of the values of a column in a row group."""
    chunk = metadata.row_group(group).column(column)
    starts = (chunk.dictionary_page_offset, chunk.data_page_offset)
    return min(start for start in starts if start is not None), chunk.total_compressed_size


def _range_digest(file: BinaryIO, start: int, length: int) -> bytes:
    digest = hashlib.sha256()
    file.seek(start)
    while length and (chunk := file.read(min(CHUNK, length))):
        digest.update(chunk)
        length -= len(chunk)
    return digest.digest()
