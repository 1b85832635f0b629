"""The Open Inference Protocol, version 2, of Triton, KServe, MLServer, Seldon and others; here by REST."""

from __future__ import annotations

import json
import threading
import warnings
from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ClassVar
from urllib.parse import quote

import numpy as np

from approxgrad.messages import one_line
from approxgrad.models.kind import ModelError
from approxgrad.models.services.calls import FEW_TRIES, PassingError, RefusedError, TooLargeError
from approxgrad.models.services.http_requests import Http, Reply
from approxgrad.models.services.protocols import Array, Facts, Protocol, numbers, read_json

DTYPES = {
    **{"BOOL": "?", "FP16": "<f2", "FP32": "<f4", "FP64": "<f8"},
    **{f"{sign}INT{bits}": f"<{code}{bits // 8}" for sign, code in (("", "i"), ("U", "u")) for bits in (8, 16, 32, 64)},
}
"""Types of numbers by the protocol's names for them."""

JSON_HEADERS = {"Content-Type": "application/json"}
BINARY_HEADER = "Inference-Header-Content-Length"


class V2(Protocol):
    """What REST and gRPC have in common.

    Parameters
    ----------
    name : str
        The service, for messages.
    model, version : str
        Of the model; no version for the newest.
    input, output : str, optional
        Names of the input and the output; they may be left out where there is only one.
    dtype : numpy dtype, optional
        Of the input, for a service that does not say it.
    """

    def __init__(
        self,
        name: str,
        model: str,
        version: str,
        input: str | None,
        output: str | None,
        dtype: np.dtype[Any] | None,
    ) -> None:
        self._name, self._model, self._version = name, model, version
        self._input, self._output, self._dtype = input, output, dtype

    @abstractmethod
    def _metadata(self, stop: threading.Event) -> Mapping[str, Any]:
        """Return what the service says of the model, as REST writes it."""

    @abstractmethod
    def _largest_batch(self, stop: threading.Event) -> int:
        """Return the largest batch; 0 if the service does not say it."""

    def facts(self, stop: threading.Event) -> Facts:
        """Return names, types and shapes from the metadata of the model."""
        said = self._metadata(stop)
        given = self._chosen(said.get("inputs") or [], self._input, "input")
        wanted = self._chosen(said.get("outputs") or [], self._output, "output")
        datatype = given.get("datatype") or (_datatype(self._dtype) if self._dtype is not None else "FP32")
        if datatype not in DTYPES:
            raise ModelError(f"{self._name}: input {given['name']} takes {datatype}, expected numbers of numpy")
        sizes = [int(size) for size in given.get("shape") or []]
        largest = self._largest_batch(stop)
        fixed = bool(sizes) and sizes[0] > 0
        return Facts(
            np.dtype(DTYPES[datatype]),
            tuple(None if size < 0 else size for size in sizes[1:]) if sizes else None,
            sizes[0] if fixed else largest or None,
            fixed,
            {"input": given["name"], "datatype": datatype, "output": wanted.get("name")},
            self._version or ", ".join(map(str, said.get("versions") or [])),
            str(said.get("platform") or ""),
        )

    def _chosen(self, tensors: list[Any], name: str | None, key: str) -> dict[str, Any]:
        """Return what is said of the input or the output."""
        known = [str(tensor["name"]) for tensor in tensors]
        if name is None and len(known) > 1:
            raise ModelError(f"{self._name}: {key}: is missing, expected one of {', '.join(known)}")
        if name is not None and known and name not in known:
            raise ModelError(f"{self._name}: {key}: got {name!r}, expected one of {', '.join(known)}")
        if key == "input" and len(known) > 1:
            raise ModelError(f"{self._name}: the model takes {len(known)} inputs ({', '.join(known)}), expected one")
        if tensors:
            return dict(tensors[known.index(name)] if name is not None else tensors[0])
        if key == "input" and name is None:
            raise ModelError(f"{self._name}: input: is missing, and the service does not say how its input is called")
        return {"name": name} if name else {}

    def _picked(self, outputs: list[Any], facts: Facts, name: Callable[[Any], str]) -> int:
        """Return the place of the wanted output among those of a reply."""
        names = [name(output) for output in outputs]
        wanted = facts.names["output"]
        if wanted is None and len(names) == 1:
            return 0
        if wanted not in names:
            raise ModelError(f"{self._name}: output: got {wanted!r}, expected one of {', '.join(names)}")
        return names.index(wanted)

    def _from_bytes(self, content: bytes | memoryview, datatype: str, shape: list[int]) -> Array:
        """Return an output from its bytes; too few or too many count as a cut answer."""
        if datatype == "BF16":
            found = (np.frombuffer(content, "<u2").astype("<u4") << 16).view("<f4")
        elif datatype in DTYPES:
            kind = np.dtype(DTYPES[datatype])
            if len(content) % kind.itemsize:
                raise PassingError("the answer was cut", tries=FEW_TRIES)
            found = np.frombuffer(content, kind)
        else:
            raise ModelError(f"{self._name}: answers {datatype}, such as text; expected numbers such as logits")
        if found.size != np.prod(shape, dtype=np.int64):
            raise PassingError("the answer was cut", tries=FEW_TRIES)
        return found.reshape(shape)


class RestV2(V2):
    """By REST: rows as bytes, or as JSON if the service does not take these.

    Parameters
    ----------
    http : Http
        Sends the requests.
    prefix : str
        Path before ``/v2``.
    query : str
        Behind each path, such as for a gateway.
    binary : bool
        Whether rows are sent as bytes, by the binary tensor extension.
    others
        As of :class:`V2`.
    """

    json: ClassVar[bool] = True

    def __init__(self, http: Http, prefix: str, query: str, *others: Any, binary: bool) -> None:
        super().__init__(*others)
        self._http = http
        self._home = f"{prefix}/v2/models/{quote(self._model, safe='')}"
        if self._version:
            self._home += f"/versions/{quote(self._version, safe='')}"
        self._query = f"?{query}" if query else ""
        self._binary, self._seen_binary = binary, False

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def row_bytes(self, row: Array) -> int:
        """Return the bytes of one row in a request."""
        return row.nbytes if self._binary else super().row_bytes(row)

    def _metadata(self, stop: threading.Event) -> Mapping[str, Any]:
        found = self._http.caller.call(
            lambda: read_json(self._http.attempt("GET", f"{self._home}{self._query}").body), stop
        )
        if not isinstance(found, dict):
            raise ModelError(
                f"{self._name}: says nothing of a model at {self._home}, expected a service of protocol v2"
            )
        return found

    def _largest_batch(self, stop: threading.Event) -> int:
        try:
            found = self._http.caller.call(
                lambda: read_json(self._http.attempt("GET", f"{self._home}/config{self._query}").body), stop
            )
        except ModelError:  # Only Triton has this.
            return 0
        return int(found.get("max_batch_size") or 0) if isinstance(found, dict) else 0

    def ask(self, rows: Array, facts: Facts, stop: threading.Event) -> Array:
        """Return the outputs for some rows."""
        if self._binary and self._seen_binary:
            return self._http.caller.call(lambda: self._outputs(self._sent_bytes(rows, facts), facts), stop)
        if self._binary:
            try:
                found = self._http.caller.call(lambda: self._first_by_bytes(rows, facts), stop)
            except _NoBytesError as error:
                reason = str(error)
            else:
                self._seen_binary = True
                return found
        found = self._http.caller.call(lambda: self._by_json(rows, facts), stop)
        if self._binary:
            self._binary = False
            warnings.warn(
                f"{self._name}: does not take rows as bytes ({reason}); they are sent as JSON, which is slower",
                stacklevel=2,
            )
        return found

    def _first_by_bytes(self, rows: Array, facts: Facts) -> Array:
        """Return the outputs if the service takes bytes; whatever else than a passing failure says that it may not."""
        try:
            reply = self._sent_bytes(rows, facts)
        except TooLargeError:
            raise
        except (RefusedError, PassingError) as error:
            if isinstance(error, PassingError) and error.tries is None:
                raise
            raise _NoBytesError(str(error).removeprefix(f"{self._name}: ")) from error
        return self._outputs(reply, facts)

    def _sent_bytes(self, rows: Array, facts: Facts) -> Reply:
        content = np.ascontiguousarray(rows).data.cast("B")
        head = self._head(rows, facts, {"parameters": {"binary_data_size": content.nbytes}})
        if "outputs" in head:
            head["outputs"][0]["parameters"] = {"binary_data": True}
        else:
            head["parameters"] = {"binary_data_output": True}
        first = json.dumps(head).encode()
        headers = {"Content-Type": "application/octet-stream", BINARY_HEADER: str(len(first))}
        return self._http.attempt("POST", f"{self._home}/infer{self._query}", b"".join([first, content]), headers)

    def _by_json(self, rows: Array, facts: Facts) -> Array:
        body = self._head(rows, facts, {"data": rows.ravel().tolist()})
        reply = self._http.attempt("POST", f"{self._home}/infer{self._query}", json.dumps(body).encode(), JSON_HEADERS)
        return self._outputs(reply, facts)

    def _head(self, rows: Array, facts: Facts, data: Mapping[str, Any]) -> dict[str, Any]:
        names = facts.names
        tensor = {"name": names["input"], "shape": list(rows.shape), "datatype": names["datatype"], **data}
        return {"inputs": [tensor]} | ({"outputs": [{"name": names["output"]}]} if names["output"] else {})

    def _outputs(self, reply: Reply, facts: Facts) -> Array:
        """Return the wanted output of a reply, from bytes or from JSON."""
        size = reply.headers.get(BINARY_HEADER)
        head, rest = (reply.body, b"") if size is None else (reply.body[: int(size)], reply.body[int(size) :])
        document = read_json(head)
        outputs = document.get("outputs") if isinstance(document, dict) else None
        if not outputs:
            raise ModelError(f"{self._name}: answers no outputs, but {one_line(document, 100)}")
        place = self._picked(outputs, facts, lambda output: str(output["name"]))
        sizes = [int((output.get("parameters") or {}).get("binary_data_size", 0)) for output in outputs]
        chosen = outputs[place]
        if "data" not in chosen:
            begin = sum(sizes[:place])
            return self._from_bytes(rest[begin : begin + sizes[place]], chosen["datatype"], chosen["shape"])
        found = numbers(chosen["data"], self._name)
        if found.size != np.prod(chosen["shape"], dtype=np.int64):
            raise ModelError(
                f"{self._name}: answers {found.size} numbers, and says that their shape is {chosen['shape']}"
            )
        return found.astype(DTYPES.get(chosen["datatype"], "<f8")).reshape(chosen["shape"])


class _NoBytesError(Exception):
    """A service that may not take rows as bytes."""


def _datatype(dtype: np.dtype[Any]) -> str:
    return next((name for name, code in DTYPES.items() if np.dtype(code) == dtype), "FP32")
