"""Settings of torch that hold for all threads, changed while somebody needs it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock

Restore = list[Callable[[], object]]
"""What puts settings back, last first."""


class SharedSettings:
    """Changes settings when the first of all threads enters, and puts them back when the last one leaves.

    Parameters
    ----------
    change : callable
        Changes them, and returns what puts them back.
    """

    def __init__(self, change: Callable[[], Restore]) -> None:
        self._change, self._lock, self._inside = change, Lock(), 0
        self._restore: Restore = []

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """Hold the changed settings."""
        with self._lock:
            if not self._inside:
                self._restore = self._change()
            self._inside += 1
        try:
            yield
        finally:
            with self._lock:
                self._inside -= 1
                while not self._inside and self._restore:
                    self._restore.pop()()
