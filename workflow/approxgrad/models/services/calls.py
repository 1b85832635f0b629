"""Calls to a service: repeated while a failure may pass, not more often than it allows, several at once."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TypeVar, cast

from approxgrad.models.kind import ModelError

T = TypeVar("T")
Item = TypeVar("Item")

LONGEST_PAUSE = 30.0
"""Seconds up to which pauses grow."""

FIRST_PATIENCE = 15.0
"""Seconds that a service which has never answered may be away: it may not be there at all."""

FEW_TRIES = 3
"""Tries of a request whose failure is most likely the service's own fault, or the request's."""


class PassingError(Exception):
    """A failure that may pass.

    Parameters
    ----------
    line : str
        What happened.
    after : float, optional
        Seconds after which the service wants to be asked again.
    away : bool
        Whether the service could not be reached.
    tries : int, optional
        Tries after which such a failure is taken as final.
    """

    def __init__(self, line: str, *, after: float | None = None, away: bool = False, tries: int | None = None) -> None:
        super().__init__(line)
        self.after = after
        self.away = away
        self.tries = tries


class RefusedError(ModelError):
    """A request that the service does not answer, however often it is asked."""


class TooLargeError(ModelError):
    """A request with more rows than the service takes."""


class StoppedError(Exception):
    """The caller no longer waits for the answer."""


class Caller:
    """Calls one service, from any number of threads.

    Parameters
    ----------
    name : str
        The service, for messages.
    patience : float
        Seconds that a request may fail before the failure counts.
    pause : float
        Seconds before a request is repeated for the first time; doubled before each further time.
    per_second : float, optional
        Requests in a second, at most.

    Attributes
    ----------
    requests : int
        Requests sent, repeated ones included.
    """

    def __init__(self, name: str, patience: float, pause: float, per_second: float | None = None) -> None:
        self.name = name
        self.requests = 0
        self._patience, self._pause = patience, pause
        self._interval = 0.0 if per_second is None else 1 / per_second
        self._next = 0.0
        self._answered = False
        self._lock = threading.Lock()

    def call(self, attempt: Callable[[], T], stop: threading.Event) -> T:
        """Return what an attempt returns that does not raise a :class:`PassingError`.

        Raises
        ------
        ModelError
            If patience ends.
        StoppedError
            If `stop` is set meanwhile.
        """
        begin, tries = time.monotonic(), 0
        while True:
            self._wait(stop)
            if not tries:
                begin = time.monotonic()
            try:
                found = attempt()
            except PassingError as error:
                tries += 1
                pause = min(LONGEST_PAUSE, self._pause * 2 ** min(tries - 1, 20))
                if error.after is not None:
                    pause = max(pause, error.after)
                self._give_up(error, tries, time.monotonic() - begin, pause)
                if error.after is not None:
                    self._hold(pause)  # All threads: a service that is asked meanwhile may ask for still more time.
                elif stop.wait(pause):
                    raise StoppedError from None
            else:
                self._answered = True
                return found

    def _give_up(self, error: PassingError, tries: int, seconds: float, pause: float) -> None:
        never = error.away and not self._answered
        patience = min(self._patience, FIRST_PATIENCE) if never else self._patience
        if tries < (error.tries or tries + 1) and seconds + pause <= patience:
            return
        asked = "tried once" if tries == 1 else f"tried {tries} times in {seconds:.3g} s"
        if error.after is not None and seconds + pause > patience:
            asked += f"; it asks for {error.after:.3g} s more, and patience is {self._patience:g} s"
        raise ModelError(f"{self.name}: {error} ({asked})") from error

    def _wait(self, stop: threading.Event) -> None:
        """Wait until the next request may be sent."""
        while True:
            with self._lock:
                now = time.monotonic()
                if now >= self._next:
                    self._next = now + self._interval
                    self.requests += 1
                    left = 0.0
                else:
                    left = self._next - now
            if stop.wait(left) if left else stop.is_set():
                raise StoppedError
            if not left:
                return

    def _hold(self, seconds: float) -> None:
        with self._lock:
            self._next = max(self._next, time.monotonic() + seconds)


def seconds_after(header: str | None) -> float | None:
    """Return the seconds that a header ``Retry-After`` asks for, as a number or a date; None if it says neither."""
    if header is None:
        return None
    try:
        if header.strip().isdecimal():
            return float(header)
        date = parsedate_to_datetime(header)
    except (ValueError, OverflowError):
        return None
    date = date if date.tzinfo else date.replace(tzinfo=UTC)
    return max(0.0, (date - datetime.now(UTC)).total_seconds())


def in_order(
    work: Callable[[Item, threading.Event], T], items: Sequence[Item], threads: int, stop: threading.Event
) -> list[T]:
    """Return the results of some work, in the order of the items, which several threads do.

    Threads do not keep a process alive: an interrupt ends it at once, whatever they wait for.

    Parameters
    ----------
    work : callable
        Takes an item and `stop`, which is set when the results are no longer wanted.
    items : sequence
        What it is called with.
    threads : int
        How many there are at most.
    stop : Event
        Not set.

    Raises
    ------
    BaseException
        The first that is raised in a thread.
    """
    threads = min(threads, len(items))
    if threads < 2:
        return [work(item, stop) for item in items]
    waiting = iter(enumerate(items))
    taking = threading.Lock()
    ended: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()
    results: list[T | None] = [None] * len(items)

    def take() -> tuple[int, Item] | None:
        with taking:
            return next(waiting, None)

    def run() -> None:
        try:
            while not stop.is_set() and (taken := take()) is not None:
                results[taken[0]] = work(taken[1], stop)
        except BaseException as error:  # noqa: BLE001 - raised again by the thread that waits
            ended.put(error)
        else:
            ended.put(None)

    try:
        for _ in range(threads):
            threading.Thread(target=run, daemon=True).start()
        for _ in range(threads):
            error = ended.get()
            if error is not None:
                raise error
    except BaseException:
        stop.set()
        raise
    return cast(list[T], results)
