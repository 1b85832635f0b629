"""Precisions in which models are evaluated."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

Precision = Literal["bfloat16", "float16", "float32", "float64"]

EPSILONS = {"bfloat16": 2.0**-7, "float16": 2.0**-10, "float32": 2.0**-23, "float64": 2.0**-52}
"""Distance from 1 to the next number of each, the lowest precision first."""

PRECISIONS = tuple(EPSILONS)
DEFAULT = "float32"
HALVES, WHOLES = PRECISIONS[:2], PRECISIONS[2:]
"""Those of 16 bits, which networks of torch have only, and the others."""


def leading(dtypes: Iterable[str]) -> str:
    """Return which of some precisions figures and sentences show: the default where it is there, else the lowest."""
    return min(dtypes, key=precedence)


def precedence(dtype: str) -> tuple[bool, int]:
    """Return a number that orders precisions by what is shown first: the default, then the lowest."""
    return dtype != DEFAULT, PRECISIONS.index(dtype)


def stored_in(dtype: str) -> str:
    """Return the type of arrays that hold numbers of a precision; numpy has no bfloat16."""
    return "float32" if dtype in HALVES else dtype
