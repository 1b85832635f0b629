"""How a batch of rows is asked of a service: what all protocols have in common, and JSON by a template."""

from __future__ import annotations

import json
import threading
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from approxgrad.messages import one_line
from approxgrad.models.kind import ModelError
from approxgrad.models.services.addresses import SECRET
from approxgrad.models.services.calls import FEW_TRIES, PassingError
from approxgrad.models.services.http_requests import Http

Array = NDArray[Any]

DIGITS = 22
"""Bytes of a number in JSON, at most: float64 with all digits, sign, exponent and comma."""

ROWS, ROW, COLUMNS = "$rows", "$row", "$columns"
"""What stands in a template for all rows, for one of them, and for the numbers of the columns."""

PRESETS: dict[str, tuple[Any, str]] = {
    "mlflow": ({"inputs": ROWS}, "predictions"),
    "mlflow-dataframe": ({"dataframe_split": {"columns": COLUMNS, "data": ROWS}}, "predictions"),
    "tensorflow": ({"instances": ROWS}, "predictions"),
}
"""Templates of requests, and places of the answers, by the name of a protocol."""


@dataclass(frozen=True)
class Facts:
    """What a service says of its model, or what is taken for granted where it says nothing.

    Attributes
    ----------
    dtype : numpy dtype
        Of the input.
    shape : tuple or None
        Shape of one row, with None for an axis of any length; None if it is not known.
    batch : int or None
        Largest number of rows of a request; None for any.
    fixed : bool
        Whether each request needs just `batch` rows.
    names : mapping
        ``input``, ``datatype`` and ``output`` of protocols that name them.
    version, platform : str
        As the service says.
    """

    dtype: np.dtype[Any]
    shape: tuple[int | None, ...] | None = None
    batch: int | None = None
    fixed: bool = False
    names: Mapping[str, str | None] = field(default_factory=dict)
    version: str = ""
    platform: str = ""


class Protocol(ABC):
    """A way to ask for outputs; it keeps connections, and may be used by several threads."""

    json: ClassVar[bool] = True
    """Whether rows are written as JSON, which has no numbers that are not finite."""

    @abstractmethod
    def facts(self, stop: threading.Event) -> Facts:
        """Return what is known of the model; a ModelError if the service is not there or has no such model."""

    @abstractmethod
    def ask(self, rows: Array, facts: Facts, stop: threading.Event) -> Array:
        """Return the outputs for rows of the model's type.

        Raises a ModelError if the service does not answer, or answers with something else.
        """

    @abstractmethod
    def close(self) -> None:
        """Close the connections."""

    def row_bytes(self, row: Array) -> int:
        """Return the bytes of one row in a request, at most."""
        return DIGITS * row.size if self.json else row.nbytes


class JsonTemplate(Protocol):
    """Asks a plain service by JSON of any form.

    Parameters
    ----------
    name : str
        The service, for messages.
    http : Http
        Sends the requests.
    path : str
        Where they go.
    request : object
        What is sent as JSON: ``$rows`` stands for a list of all rows. A list with one entry in which ``$row`` stands is
        repeated for every row; ``$row`` elsewhere means one row for each request. ``$columns`` stands for the numbers
        of the columns.
    response : str
        Where the outputs stand in the reply: keys and places with dots between them, and ``*`` for each entry of a
        list; empty for the reply itself.
    dtype : numpy dtype
        Of the rows.
    """

    def __init__(self, name: str, http: Http, path: str, request: Any, response: str, dtype: np.dtype[Any]) -> None:
        self._name, self._http, self._path = name, http, path
        self._request, self._response, self._dtype = request, response, dtype

    def facts(self, stop: threading.Event) -> Facts:
        """Return what the template says: plain services have no metadata."""
        return Facts(self._dtype, batch=None if takes_many(self._request) else 1)

    def ask(self, rows: Array, facts: Facts, stop: threading.Event) -> Array:
        """Return the outputs for some rows."""
        filled = _filled(self._request, rows.tolist(), int(np.prod(rows.shape[1:])))
        headers = {"Content-Type": "application/json", "Accept": "application/json"}

        def answer() -> Any:
            reply = self._http.attempt("POST", self._path, json.dumps(filled).encode(), headers)
            return read_json(reply.body)

        found = self._placed(self._http.caller.call(answer, stop))
        return numbers(found if takes_many(self._request) else [found], self._name)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def _placed(self, document: Any) -> Any:
        """Return the outputs in a reply."""
        found = document
        steps = self._response.split(".") if self._response else []
        try:
            return _followed(found, steps)
        except (KeyError, IndexError, TypeError, ValueError):
            there = f"the keys {', '.join(map(str, found))}" if isinstance(found, dict) else f"a {type(found).__name__}"
            raise ModelError(
                f"{self._name}: response: found nothing at {self._response!r} in the answer, which has "
                f"{one_line(there, 200)}"
            ) from None


def template_fault(request: Any) -> str | None:
    """Return what is wrong with the template of a request, or None."""
    texts = _texts(request)
    if not {ROWS, ROW} & set(texts):
        return f"request: holds neither {ROWS} nor {ROW}, one of which stands for the rows"
    if {ROWS, ROW} <= set(texts):
        return f"request: holds both {ROWS} and {ROW}, expected one of them"
    try:
        json.dumps(request, allow_nan=False)
    except (TypeError, ValueError) as error:
        return f"request: is not JSON ({error})"
    secret = _secret(request)
    return (
        f"request: holds {secret}, which may be secret and would stand in files; pass headers instead"
        if secret
        else None
    )


def takes_many(request: Any) -> bool:
    """Whether a template has room for several rows."""
    if isinstance(request, dict):
        return any(map(takes_many, request.values()))
    if isinstance(request, list):
        return (len(request) == 1 and ROW in _texts(request)) or any(map(takes_many, request))
    return request == ROWS


def _filled(template: Any, rows: list[Any], features: int) -> Any:
    if isinstance(template, dict):
        return {key: _filled(value, rows, features) for key, value in template.items()}
    if isinstance(template, list):
        if len(template) == 1 and ROW in _texts(template):
            return [_filled(template[0], [row], features) for row in rows]
        return [_filled(value, rows, features) for value in template]
    if isinstance(template, str):
        return {ROWS: rows, ROW: rows[0], COLUMNS: list(range(features))}.get(template, template)
    return template


def _texts(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [text for item in value.values() for text in _texts(item)]
    if isinstance(value, list):
        return [text for item in value for text in _texts(item)]
    return [value] if isinstance(value, str) else []


def _secret(value: Any) -> str | None:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        if isinstance(item, str) and SECRET.search(str(key)):
            return str(key)
        if found := _secret(item):
            return found
    return None


def _followed(document: Any, steps: list[str]) -> Any:
    for number, step in enumerate(steps):
        if step == "*":
            if not isinstance(document, list):
                raise TypeError
            return [_followed(item, steps[number + 1 :]) for item in document]
        document = document[int(step)] if isinstance(document, list) else document[step]
    return document


def read_json(body: bytes) -> Any:
    """Return what a body says; one that is cut or is not JSON counts as a failure that may pass."""
    try:
        return json.loads(body)
    except ValueError:
        begin = one_line(body[:60].decode(errors="replace"), 60) if body.strip() else "nothing"
        raise PassingError(f"the answer is not JSON, or was cut; it begins with {begin!r}", tries=FEW_TRIES) from None


def numbers(found: Any, name: str) -> Array:
    """Return outputs from JSON as float64, NaN where there is none.

    Raises a ModelError if they are not numbers, or not as many in each row.
    """
    try:
        array = np.array(found)
    except ValueError:
        raise ModelError(f"{name}: answers lists of different lengths, expected as many outputs for each row") from None
    if array.dtype.kind in "US":
        raise ModelError(f"{name}: answers text ({one_line(array.flat[0], 40)!r}), expected numbers such as logits")
    try:
        return array.astype(np.float64)
    except (TypeError, ValueError, OverflowError):
        kind = type(array.flat[0]).__name__ if array.size else "nothing"
        raise ModelError(
            f"{name}: answers entries of the type {kind}, expected numbers; response names their place, such as "
            "predictions.*.score"
        ) from None
