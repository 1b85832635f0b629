"""Universal Binary JSON, https://ubjson.org: the form of XGBoost's files, read with every length checked."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

NUMBERS = {"i": ">i1", "U": ">u1", "I": ">i2", "l": ">i4", "L": ">i8", "d": ">f4", "D": ">f8"}
"""Types of numbers by their letter, the most significant byte first."""

CONSTANTS = {"T": True, "F": False, "Z": None}


def read_ubj(content: bytes) -> Any:
    """Return the value in a file, with arrays of numpy for those of one type.

    Raises a ValueError, KeyError, IndexError or RecursionError if it is not whole.
    """
    reader = _Reader(content)
    value = reader.value()
    if reader.place != len(content):
        raise ValueError("more follows")
    return value


class _Reader:
    """Reads one value after the other."""

    def __init__(self, content: bytes) -> None:
        self.content, self.place = content, 0

    def letter(self) -> str:
        self.place += 1
        return chr(self.content[self.place - 1])

    def follows(self, letter: str) -> bool:
        """Return whether a letter comes next, and pass over it."""
        found = chr(self.content[self.place]) == letter
        self.place += found
        return found

    def numbers(self, kind: str, count: int) -> Any:
        dtype = np.dtype(NUMBERS[kind])
        end = self.place + count * dtype.itemsize
        if count < 0 or end > len(self.content):
            raise ValueError("it ends early")
        found = np.frombuffer(self.content, dtype, count, self.place)
        self.place = end
        return found.astype(dtype.newbyteorder("="))

    def size(self) -> int:
        return int(self.numbers(self.letter(), 1)[0])

    def text(self) -> str:
        return bytes(self.numbers("U", self.size())).decode()

    def value(self) -> Any:
        kind = self.letter()
        if kind in NUMBERS:
            return self.numbers(kind, 1)[0].item()
        if kind in CONSTANTS:
            return CONSTANTS[kind]
        if kind == "S":
            return self.text()
        if kind == "{":
            return dict(self.members())
        if kind != "[":
            raise ValueError(f"there is no type {kind!r}")
        typed = self.letter() if self.follows("$") else ""
        if self.follows("#"):
            count = self.size()
            return self.numbers(typed, count) if typed else [self.value() for _ in range(count)]
        return list(self.elements())

    def members(self) -> Iterator[tuple[str, Any]]:
        while not self.follows("}"):
            yield self.text(), self.value()

    def elements(self) -> Iterator[Any]:
        while not self.follows("]"):
            yield self.value()
