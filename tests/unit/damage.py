"""Valid files damaged at random: bits flipped, bytes cut off, copied from elsewhere or put in between."""

from __future__ import annotations

import os
from dataclasses import dataclass

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

LONG = settings(
    max_examples=int(os.environ.get("APPROXGRAD_FUZZ_EXAMPLES", "2000")),
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
SHORT = settings(LONG, max_examples=25)

ENDS = 300
"""Bytes at both ends of a file, where headers and footers stand; half of all damages are there."""


@dataclass(frozen=True)
class Damage:
    """One change of a file.

    Attributes
    ----------
    kind : str
        ``flip``, ``cut``, ``copy`` or ``insert``.
    place : int
        Where; counted from the end if negative, modulo the length of the file.
    source : int
        For a copy, from where; for a flip, which bit.
    content : bytes
        For an insertion, what; its length is that of a copy as well.
    """

    kind: str
    place: int
    source: int
    content: bytes

    def applied(self, file: bytes) -> bytes:
        """Return the changed file."""
        if not file:
            return self.content
        at = self.place % len(file)
        match self.kind:
            case "flip":
                return file[:at] + bytes([file[at] ^ 1 << self.source % 8]) + file[at + 1 :]
            case "cut":
                return file[:at]
            case "copy":
                start = self.source % len(file)
                piece = file[start : start + len(self.content)]
                return file[:at] + piece + file[at + len(piece) :]
            case _:
                return file[:at] + self.content + file[at:]


PLACES = st.one_of(st.integers(-ENDS, ENDS), st.integers(0, 2**20))
DAMAGES = st.lists(
    st.builds(
        Damage,
        kind=st.sampled_from(["flip", "flip", "cut", "copy", "insert"]),
        place=PLACES,
        source=st.integers(0, 2**20),
        content=st.binary(min_size=1, max_size=16),
    ),
    min_size=1,
    max_size=4,
)


def damaged(file: bytes, damages: list[Damage]) -> bytes:
    """Return a file after all damages."""
    for damage in damages:
        file = damage.applied(file)
    return file
