"""Asking a service for any number of rows: in requests that it takes, several at once; answers are checked."""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np

from approxgrad.models.kind import ModelError
from approxgrad.models.services.answers import Answers
from approxgrad.models.services.calls import TooLargeError, in_order
from approxgrad.models.services.contact import Contact, connected
from approxgrad.models.services.protocols import Array, Facts

Keep = Callable[[slice, Array], None]
"""Called with each part of the rows that was answered, and the answers."""


class Asking:
    """What a process holds of a service: never pickled, and not taken over by a process that is forked.

    Parameters
    ----------
    contact : Contact
        How the service is reached.
    batch_size : int, optional
        Rows of a request, at most.
    facts : Facts, optional
        What is known of the model; the service is asked if nothing is.

    Attributes
    ----------
    answers : Answers or None
        What it answered before.
    rows : int
        Rows that it answered.
    checked_at : int
        Requests before the last check of its model.
    """

    def __init__(self, contact: Contact, batch_size: int | None, facts: Facts | None = None) -> None:
        self.answers: Answers | None = None
        self.rows = self.checked_at = 0
        self._contact, self._batch_size = contact, batch_size
        self._protocol, self._caller = connected(contact)
        self._lock = threading.Lock()
        self._most_rows: int | None = None
        self.facts = facts or self._protocol.facts(threading.Event())

    @property
    def requests(self) -> int:
        """Requests sent, repeated ones included."""
        return self._caller.requests

    def close(self) -> None:
        """Close the connections."""
        self._protocol.close()

    def ask(self, rows: Array, like: Array | None = None, keep: Keep | None = None) -> Array:
        """Return the answers to some rows.

        Parameters
        ----------
        rows : ndarray
            Of the model's type and layout, at least one.
        like : ndarray, optional
            Earlier answers, whose type and shape these have to have.
        keep : callable, optional
            Told of each part as soon as it is answered.

        Raises
        ------
        ModelError
            If the service does not answer, or answers something else than finite numbers for each row.
        """
        size = self._rows_at_once(rows)
        parts = [slice(start, start + size) for start in range(0, len(rows), size)]

        def answered(part: slice, stop: threading.Event) -> Array:
            found = self._answered(rows[part], like, stop)
            if keep is not None:
                keep(part, found)
            return found

        found = in_order(answered, parts, self._contact.concurrency, threading.Event())
        return found[0] if len(found) == 1 else np.concatenate(found)

    def look_at_rows(self, rows: Array, like: Array) -> None:
        """Refuse, by a RowError, a service whose answers to some rows are not independent and repeatable."""
        import torch

        from approxgrad.gradients.evaluating.rows import check_rows

        def model(inputs: torch.Tensor) -> torch.Tensor:
            return torch.from_numpy(np.array(self.ask(inputs.numpy(), like)))

        check_rows(model, torch.from_numpy(np.array(rows)), batch_size=self._batch_size)

    def _answered(self, rows: Array, like: Array | None, stop: threading.Event) -> Array:
        """Return the answer to one request, or to several where the service does not take so many rows."""
        number, facts = len(rows), self.facts
        if facts.fixed and facts.batch and number < facts.batch:
            rows = np.concatenate([rows, np.repeat(rows[-1:], facts.batch - number, axis=0)])
        try:
            found = self._protocol.ask(rows, facts, stop)
        except TooLargeError:
            if number == 1 or facts.fixed:
                raise
            half = number // 2
            with self._lock:
                self._most_rows = min(half, self._most_rows or half)
            return np.concatenate([self._answered(part, like, stop) for part in (rows[:half], rows[half:])])
        self._check(found, len(rows), like)
        with self._lock:
            self.rows += number
        return found[:number] if like is None else found[:number].astype(like.dtype, copy=False)

    def _check(self, found: Array, rows: int, like: Array | None) -> None:
        name = self._contact.name
        if found.ndim == 0 or len(found) != rows:
            count = f"{len(found)} rows" if found.ndim else "one number"
            raise ModelError(f"{name}: answers {count} for {rows}, expected an output for each row")
        if like is not None and found.shape[1:] != like.shape[1:]:
            raise ModelError(f"{name}: answers shape {found.shape}, expected {(rows, *like.shape[1:])} as at first")
        if found.dtype.kind == "f" and not np.isfinite(found).all():
            row = int(np.flatnonzero(~np.isfinite(found).reshape(rows, -1).all(axis=1))[0])
            first = found[row][~np.isfinite(found[row])].ravel()[0]
            raise ModelError(f"{name}: answers {first} for row {row} of {rows}, expected finite numbers")

    def _rows_at_once(self, rows: Array) -> int:
        """Return how many rows stand in a request."""
        if self.facts.fixed and self.facts.batch:
            return self.facts.batch
        limits = (self._batch_size, self.facts.batch, self._most_rows)
        by_size = max(1, self._contact.max_message // max(1, self._protocol.row_bytes(rows[0])))
        return min(len(rows), by_size, *(limit for limit in limits if limit))
