"""Libraries that only some models need."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from approxgrad.messages import one_line
from approxgrad.models.kind import ModelError


@contextmanager
def needing(extra: str) -> Iterator[None]:
    """Say of a library that cannot be imported with which extra of this package it comes; raises a ModelError."""
    try:
        yield
    except ImportError as error:
        # Not by the name of the package, which is on no index of packages.
        line = f"{one_line(error)}; it comes with: pip install '.[{extra}]' in a clone of approxgrad"
        raise ModelError(line) from error
