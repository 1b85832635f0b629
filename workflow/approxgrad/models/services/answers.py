"""What a service answered, on disk: an attribution that was interrupted goes on and asks nothing twice.

Every process appends to a file of its own, so that any number of them work at the same time, on any machines that share
the folder. A file begins with a line of JSON; a record for each row follows: a digest of the row, the answer and a
checksum. A record whose checksum is wrong, such as the last one of a process that was killed, is passed over.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import threading
import time
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from approxgrad.models.kind import ModelError

Array = NDArray[Any]

FORMAT = 1
ENDING = ".answers"
RECENT = 2**16
"""Answers that are kept aside before they are sorted in."""

KEY = 16
"""Bytes of the digest of a row. A record holds the answer and 20 bytes more."""


def row_keys(rows: Array) -> list[bytes]:
    """Return a digest of each row's bytes, type and shape."""
    begin = hashlib.blake2b(f"{rows.dtype.str}{rows.shape[1:]}".encode(), digest_size=KEY)
    keys = []
    for row in np.ascontiguousarray(rows).reshape(len(rows), -1):
        digest = begin.copy()
        digest.update(row.data)
        keys.append(digest.digest())
    return keys


class Answers:
    """The answers of one model behind a service.

    Parameters
    ----------
    folder : path
        Where the files of all services lie; those of this one lie in a folder inside it.
    service : mapping
        What tells this service and model from others, as JSON.
    version : str
        Of the model, as the service says.
    reference : ndarray
        What the service answers to rows that are always the same, shape (rows, ...).
    tolerance : float
        By how much such answers may differ and still be those of the same model.
    only : bool
        Whether answers of another model in the folder are an error; otherwise they are passed over.

    Attributes
    ----------
    reference : ndarray
        As it was when the first of the answers was stored.
    checked : bool
        Whether :meth:`add` was ever told that rows are independent and repeatable.

    Raises
    ------
    ModelError
        If `only`, and there are answers of another model.
    """

    def __init__(
        self,
        folder: Path | str,
        service: Mapping[str, Any],
        version: str,
        reference: Array,
        tolerance: float,
        *,
        only: bool = False,
    ) -> None:
        name = hashlib.sha256(json.dumps(service, sort_keys=True).encode()).hexdigest()
        self.folder = Path(folder) / name[:32]
        self.reference, self.checked = reference, False
        self._head = {"format": FORMAT, "service": dict(service), "version": version}
        self._record = np.dtype(
            [("key", "<u8", (2,)), ("answer", reference.dtype.newbyteorder("<"), reference.shape[1:]), ("check", "<u4")]
        )
        self._lock = threading.Lock()
        self._path: Path | None = None
        self._verified = 0
        self._recent: dict[bytes, Array] = {}
        self._keys = np.empty((0, 2), "<u8")
        self._values = np.empty((0, *reference.shape[1:]), reference.dtype)
        self._read(tolerance, only)

    def find(self, keys: Sequence[bytes]) -> tuple[NDArray[np.bool_], Array]:
        """Return which rows have an answer, and the answers of all rows, arbitrary where there is none."""
        asked = np.frombuffer(b"".join(keys), "<u8").reshape(-1, 2)
        with self._lock:
            found = np.zeros(len(keys), bool)
            values = np.zeros((len(keys), *self._values.shape[1:]), self._values.dtype)
            if len(self._keys):
                places = np.minimum(np.searchsorted(self._keys[:, 0], asked[:, 0]), len(self._keys) - 1)
                found = (self._keys[places] == asked).all(axis=1)
                values[found] = self._values[places[found]]
            for row in np.flatnonzero(~found).tolist() if self._recent else ():
                if (answer := self._recent.get(keys[row])) is not None:
                    values[row], found[row] = answer, True
        return found, values

    def add(self, keys: Sequence[bytes], values: Array) -> None:
        """Store the answers of some rows; an OSError if they cannot be written."""
        records = np.zeros(len(keys), self._record)
        records["key"] = np.frombuffer(b"".join(keys), "<u8").reshape(-1, 2)
        records["answer"] = values
        records["check"] = _checks(records)
        with self._lock:
            self._append(records.tobytes())
            self._recent.update(zip(keys, np.array(values), strict=True))
            if len(self._recent) >= RECENT:
                self._sort_in(
                    np.frombuffer(b"".join(self._recent), "<u8").reshape(-1, 2), np.stack(list(self._recent.values()))
                )
                self._recent = {}

    def verify(self) -> None:
        """Take note that the model is still the same: what was stored until now is kept whatever comes."""
        with self._lock:
            self._verified = 0 if self._path is None else self._path.stat().st_size

    def forget(self) -> None:
        """Remove what was stored since :meth:`verify`: another model may have answered."""
        with self._lock:
            self._recent = {}
            self._keys = self._keys[:0]
            self._values = self._values[:0]
            if self._path is not None and self._verified:
                os.truncate(self._path, self._verified)
            elif self._path is not None:
                self._path.unlink(missing_ok=True)
                self._path = None

    def _read(self, tolerance: float, only: bool) -> None:
        begun = None
        parts = []
        for path in sorted(self.folder.glob(f"*{ENDING}")):
            content = path.read_bytes()
            head, line, body = content.partition(b"\n")
            own = _document(head) if line else None
            if own is None or own.get("format") != FORMAT:
                continue
            reference = np.array(own["reference"], self.reference.dtype)
            same = own["version"] == self._head["version"] and own["dtype"] == self.reference.dtype.str
            if not (same and reference.shape == self.reference.shape and _close(reference, self.reference, tolerance)):
                if only:
                    raise ModelError(
                        f"cache: {self.folder} holds answers of another model, and the service answers other numbers "
                        "now; remove that folder, and all results with the old model, to begin anew"
                    )
                continue
            self.checked |= own["checked"]
            if begun is None or own["begun"] < begun:
                begun, oldest = own["begun"], reference
            records = np.frombuffer(body[: len(body) // self._record.itemsize * self._record.itemsize], self._record)
            parts.append(records[_checks(records) == records["check"]])
        if begun is not None:
            self.reference = oldest
        if parts:
            records = np.concatenate(parts)
            self._sort_in(records["key"], records["answer"])

    def _sort_in(self, keys: Array, values: Array) -> None:
        keys = np.concatenate([self._keys, keys])
        values = np.concatenate([self._values, values.astype(self._values.dtype)])
        order = np.argsort(keys[:, 0], kind="stable")
        self._keys, self._values = keys[order], values[order]

    def _append(self, content: bytes) -> None:
        """Write records at the end of this process's file, all or none of them."""
        path = self._path or self.folder / f"{time.time_ns()}-{secrets.token_hex(8)}{ENDING}"
        try:
            if self._path is None:
                self.folder.mkdir(parents=True, exist_ok=True)
                about = {"dtype": self.reference.dtype.str, "reference": self.reference.tolist()}
                about |= {"begun": time.time_ns(), "checked": self.checked}
                content = json.dumps(self._head | about).encode() + b"\n" + content
            with path.open("ab", buffering=0) as file:
                size = file.tell()
                try:
                    rest = memoryview(content)
                    while rest:
                        rest = rest[file.write(rest) :]
                except BaseException:
                    file.truncate(size)
                    raise
            self._path = path
        except OSError as error:
            raise OSError(f"{self.folder}: answers cannot be stored ({error.strerror or error})") from error


def _checks(records: Array) -> Array:
    """Return the checksum of each record."""
    width = records.dtype.itemsize
    content = memoryview(np.ascontiguousarray(records).tobytes())
    starts = range(0, len(content), width)
    return np.array([zlib.crc32(content[start : start + width - 4]) for start in starts], "<u4")


def _close(first: Array, second: Array, tolerance: float) -> bool:
    return float(np.abs(first.astype(float) - second.astype(float)).max(initial=0)) <= tolerance


def _document(line: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(line)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None
