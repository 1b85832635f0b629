"""Models behind a service, as callables that remember answers and notice when the model is another one."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any
from weakref import WeakSet

import numpy as np

from approxgrad.models.black_box import Array, BlackBox
from approxgrad.models.kind import ModelError
from approxgrad.models.services.answers import Answers, row_keys
from approxgrad.models.services.asking import Asking
from approxgrad.models.services.contact import Contact
from approxgrad.models.services.probes import TOLERANCE, Probes

CHECK_EVERY = 200
"""Requests between two checks that the model behind a service is still the same."""


class ServiceModel(BlackBox):
    """A model behind a service that answers by HTTP or gRPC.

    Parameters
    ----------
    address : str
        ``grpc://host:port``, ``grpcs://``, ``http://`` or ``https://``, with a path where the service has one.
    shape : tuple of int, optional
        Of one row, for services that do not say it: then the service is asked at once, not only with the first call.
    batch_size : int, optional
        Rows of a request; by default as many as the service, `max_message` and the caller allow.
    cache : path, optional
        Folder for answers (:class:`approxgrad.models.services.answers.Answers`): nothing is asked twice.
    only_model : bool
        Whether answers of another model in that folder are an error.
    probes : array, optional
        Rows whose answers tell whether the model is still the same; by default 8 rows of standard normal numbers.
    tolerance : float
        By how much these answers may change, in parts of the largest: servers take other kernels under load.
    check_every : int
        Requests between two such checks; the ``with`` statement makes a last one.
    check_rows : bool
        Whether to check, when a cache is begun, that the service's rows are independent and repeatable: later the
        cache would hide that they are not.
    transform, channels_last, round_inputs
        As of :class:`approxgrad.models.black_box.BlackBox`.
    **contact
        How the service is reached: `model`, `version`, `protocol`, `input`, `output`, `request`, `response`, `dtype`,
        `headers`, `token_variable`, `insecure`, `concurrency`, `requests_per_second`, `max_message`, `timeout`,
        `patience` and `pause`, which :class:`approxgrad.models.services.contact.Contact` describes.

    Attributes
    ----------
    requests, rows_sent, rows_from_cache : int
        Requests sent, repeated ones included; rows that were answered; rows that were not asked for.

    Raises
    ------
    ValueError, TypeError
        If an argument is not valid.
    ModelError
        If the service is not there, does not answer, or answers something else than it should. Also by calls.

    Examples
    --------
    >>> from approxgrad import FiniteDifference, ServiceModel, attribute
    >>> with ServiceModel("grpc://127.0.0.1:8001", model="cnn", cache="answers") as model:  # doctest: +SKIP
    ...     maps = attribute(model, images, target=labels, gradient=FiniteDifference(0.01, "central"))
    """

    def __init__(
        self,
        address: str,
        *,
        shape: tuple[int, ...] | None = None,
        batch_size: int | None = None,
        cache: Path | str | None = None,
        only_model: bool = False,
        probes: Array | None = None,
        tolerance: float = TOLERANCE,
        check_every: int = CHECK_EVERY,
        check_rows: bool = True,
        transform: str | Callable[[Array], Array] | None = None,
        channels_last: bool = False,
        round_inputs: bool = False,
        **contact: Any,
    ) -> None:
        super().__init__(
            transform=transform, batch_size=batch_size, channels_last=channels_last, round_inputs=round_inputs
        )
        self._contact = Contact(address=address, **contact)
        if isinstance(check_every, bool) or not isinstance(check_every, int) or check_every < 1:
            raise ValueError(f"check_every: got {check_every!r}, expected a positive number of requests")
        if shape is not None and not (isinstance(shape, tuple) and shape and all(map(_is_size, shape))):
            raise ValueError(f"shape: got {shape!r}, expected that of one row, such as (3, 32, 32)")
        self._cache, self._only_model = None if cache is None else Path(cache), only_model
        self._check_every, self._check_rows = check_every, check_rows
        self._probes = Probes(self._contact.name, tolerance)
        self._earlier = (0, 0)
        self.rows_from_cache = 0
        self._asking: Asking | None = None
        self._shared()
        self._asking = Asking(self._contact, batch_size)
        self._facts = self._asking.facts
        self.dtype = self._facts.dtype
        served = self._facts.shape
        if served is not None:
            self.shape = (served[-1], *served[:-1]) if channels_last and len(served) > 1 else served
        if shape is not None:
            self._checked(np.empty((1, *shape)))
            self.shape = tuple(shape)
            served = (*shape[1:], shape[0]) if channels_last and len(shape) > 1 else tuple(shape)
        if probes is not None:
            self._probes.rows = np.array(self._laid_out(np.asarray(probes)), order="C")
            served = self._probes.rows.shape[1:]
        if served is not None and None not in served:
            self._begin(self._asking, served)  # type: ignore[arg-type]

    def __repr__(self) -> str:
        model = f", model={self._contact.model!r}" if self._contact.model else ""
        return f"ServiceModel({self._contact.address!r}{model}, protocol={self._contact.spoken!r})"

    def __getstate__(self) -> dict[str, Any]:
        kept = {name: value for name, value in self.__dict__.items() if name != "_lock"}
        return kept | {"_asking": None, "_earlier": self._counts}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._shared()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self.check()
        finally:
            self.close()

    @property
    def requests(self) -> int:
        """Requests sent, repeated ones included."""
        return self._counts[0]

    @property
    def rows_sent(self) -> int:
        """Rows that the service answered."""
        return self._counts[1]

    def close(self) -> None:
        """Close the connections; a later call opens new ones."""
        self._earlier = self._counts
        if self._asking is not None:
            self._asking.close()
        self._asking = None

    def check(self) -> None:
        """Ask once more what was asked at the beginning.

        Raises
        ------
        ModelError
            If the service answers other numbers.
        """
        if self._probes.reference is not None:
            self._check(self._here())

    def record(self) -> dict[str, Any]:
        """Return the entry ``service``: address, model, and the answers to rows that are always the same.

        Raises
        ------
        ModelError
            If the service answers other numbers than at the beginning.
        """
        self.check()
        about = {"version": self._facts.version, "platform": self._facts.platform, "answers": self._probes.record()}
        said = self._contact.identity() | about
        return {"service": {key: value for key, value in said.items() if value not in (None, "")}}

    def outputs(self, rows: Array) -> Array:
        """Return the outputs at rows of the model's type and layout; those that are known from the cache."""
        asking = self._here()
        if self._probes.reference is None:
            with self._lock:
                if self._probes.reference is None:
                    self._begin(asking, rows.shape[1:])
        reference = np.asarray(self._probes.reference)
        found = (
            asking.ask(rows, reference) if asking.answers is None else self._remembered(asking, asking.answers, rows)
        )
        if asking.requests - asking.checked_at >= self._check_every:
            self._check(asking)
        return found

    def _in_batches(self, rows: Array) -> Array:
        return self.outputs(np.array(rows, order="C"))

    def _remembered(self, asking: Asking, answers: Answers, rows: Array) -> Array:
        """Return the outputs at some rows, of which the service is asked for those that it was never asked for."""
        keys = row_keys(rows)
        known, found = answers.find(keys)
        # The same row twice is asked once.
        missing = {key: row for row, key in enumerate(keys) if not known[row]}
        if missing:
            wanted = list(missing)
            asked = asking.ask(
                rows[list(missing.values())],
                self._probes.reference,
                lambda part, values: answers.add(wanted[part], values),
            )
            place = {key: number for number, key in enumerate(wanted)}
            for row in np.flatnonzero(~known):
                found[row] = asked[place[keys[row]]]
        with self._lock:
            self.rows_from_cache += len(rows) - len(missing)
        return found

    def _begin(self, asking: Asking, shape: tuple[int, ...]) -> None:
        """Ask what will be asked again, and look at the answers; `shape` is that of a row as the service takes it."""
        self._probes.reference = asking.ask(self._probes.drawn(shape, self.dtype))
        self._probes.warn_of_rounding()
        asking.checked_at = asking.requests
        self._open_answers(asking)

    def _open_answers(self, asking: Asking) -> None:
        if self._cache is None or self._probes.reference is None:
            return
        service = self._contact.identity() | {"probes": self._probes.digest}
        answers = Answers(
            self._cache,
            service,
            self._facts.version,
            self._probes.reference,
            self._probes.allowed,
            only=self._only_model,
        )
        self._probes.reference = answers.reference
        if self._check_rows and not answers.checked:
            asking.look_at_rows(np.asarray(self._probes.rows), self._probes.reference)
            answers.checked = True
        asking.answers = answers

    def _check(self, asking: Asking) -> None:
        try:
            self._probes.compare(asking.ask(np.asarray(self._probes.rows)))
        except ModelError:
            if asking.answers is not None:
                asking.answers.forget()
            raise
        asking.checked_at = asking.requests
        if asking.answers is not None:
            asking.answers.verify()

    def _here(self) -> Asking:
        """Return what this process holds of the service; a process that begins with a copy looks whether it fits."""
        with self._lock:
            if self._asking is None:
                asking = Asking(self._contact, self.batch_size, self._facts)
                if self._probes.reference is not None:
                    self._check(asking)
                    self._open_answers(asking)
                self._earlier, self._asking = self._counts, asking
            return self._asking

    def _shared(self) -> None:
        """Make what threads share, and processes do not."""
        self._lock = threading.RLock()
        _models.add(self)

    @property
    def _counts(self) -> tuple[int, int]:
        """Requests and rows, those before this process or connection included."""
        own = (self._asking.requests, self._asking.rows) if self._asking is not None else (0, 0)
        return self._earlier[0] + own[0], self._earlier[1] + own[1]


def _is_size(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _forked() -> None:
    """Let a process that was forked begin with locks that nobody holds, and leave the connections to its parent."""
    for model in _models:
        _inherited.append(model._asking)
        model._asking, model._lock = None, threading.RLock()


_models: WeakSet[ServiceModel] = WeakSet()
_inherited: list[Any] = []
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
