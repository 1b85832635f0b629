"""How a service is reached: all that a user says of it, checked, and the protocol that follows."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

import numpy as np

from approxgrad.models.services.addresses import Headers, check_confidential, split_address
from approxgrad.models.services.calls import Caller
from approxgrad.models.services.http_requests import Http
from approxgrad.models.services.protocols import PRESETS, JsonTemplate, Protocol, template_fault
from approxgrad.models.services.v2_grpc import GrpcV2
from approxgrad.models.services.v2_rest import DTYPES, RestV2

V2 = ("grpc", "v2", "v2-json")
PROTOCOLS = (*V2, *PRESETS, "template")

MODEL_PATH = re.compile(r"(?P<prefix>.*)/v2/models/(?P<model>[^/]+)(?:/versions/(?P<version>[^/]+))?(?:/infer)?/?")

MOST_AT_ONCE = 64


@dataclass(frozen=True, kw_only=True)
class Contact:
    """What a user says of a service; the fields are arguments of :class:`approxgrad.ServiceModel`.

    Attributes
    ----------
    address : str
        Without user and password, which would stand in files.
    model, version : str, optional
        Name and version of the model, for protocol v2; an address such as ``.../v2/models/NAME`` says it.
    protocol : str, optional
        ``grpc`` (Open Inference Protocol v2); ``v2``, the same by REST with rows as bytes, or as JSON where the service
        does not take them; ``v2-json``; ``mlflow``, ``mlflow-dataframe``, ``tensorflow``, or ``template``. By default
        what the address says.
    input, output : str, optional
        Their names in protocol v2, where there are several.
    request, response : optional
        Of the protocol ``template``: :class:`approxgrad.models.services.protocols.JsonTemplate`.
    dtype : str, optional
        Type of the rows, for services that do not say it; float32 in protocol v2, and else float64.
    headers : mapping of str to str
        Sent with each request. ``env:NAME`` is read from the environment each time, and kept nowhere.
    token_variable : str, optional
        Environment variable with a token, sent as ``Authorization: Bearer ...``.
    insecure : bool
        Whether such secrets may be sent unencrypted to another machine.
    concurrency : int
        Requests at once, at most.
    requests_per_second : float, optional
        Requests sent in a second, at most.
    max_message : int
        Bytes of a request, at most, if it has more than one row.
    timeout : float
        Seconds for one request.
    patience : float
        Seconds that the service may fail to answer a request, before that is an error.
    pause : float
        Seconds before a request is repeated; doubled each time, up to 30. A longer ``Retry-After`` is honoured.

    Raises
    ------
    ValueError, TypeError
        If one is not valid, or does not go with another.
    """

    address: str
    model: str | None = None
    version: str | None = None
    protocol: str | None = None
    input: str | None = None
    output: str | None = None
    request: Any = None
    response: str | None = None
    dtype: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    token_variable: str | None = None
    insecure: bool = False
    concurrency: int = 1
    requests_per_second: float | None = None
    max_message: int = 2**24
    timeout: float = 60.0
    patience: float = 300.0
    pause: float = 0.5

    def __post_init__(self) -> None:
        parts = split_address(self.address)
        for key in ("model", "version", "input", "output", "response", "dtype"):
            value = getattr(self, key)
            if not (value is None or isinstance(value, str)):
                raise TypeError(f"{key}: got {value!r}, expected text")
        if self.protocol is not None and self.protocol not in PROTOCOLS:
            raise ValueError(f"protocol: got {self.protocol!r}, expected one of {', '.join(PROTOCOLS)}")
        if (fault := self._fault()) is not None:
            raise ValueError(fault)
        for key, least in (("timeout", 0.001), ("patience", 0), ("pause", 0), ("requests_per_second", 1e-9)):
            value = getattr(self, key)
            number = isinstance(value, (int, float)) and not isinstance(value, bool)
            if value is not None and not (number and math.isfinite(value) and value >= least):
                raise ValueError(f"{key}: got {value!r}, expected a number {'above 0' if least else 'from 0 on'}")
        for key, most in (("concurrency", MOST_AT_ONCE), ("max_message", 2**31 - 1)):
            value = getattr(self, key)
            if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
                raise ValueError(f"{key}: got {value!r}, expected a whole number from 1 to {most}")
        check_confidential(parts, Headers(self.headers, self.token_variable), insecure=self.insecure)

    @property
    def name(self) -> str:
        """The service, for messages."""
        model = self.model_name
        return f"service {self.address}" + (f", model {model}" if model and model not in self.address else "")

    @property
    def spoken(self) -> str | None:
        """The protocol; None if nothing says it."""
        parts = split_address(self.address)
        if self.protocol is not None or parts.scheme.startswith("grpc"):
            return self.protocol or "grpc"
        if self.request is not None:
            return "template"
        if parts.path.endswith("/invocations"):
            return "mlflow"
        if parts.path.endswith(":predict"):
            return "tensorflow"
        return "v2" if self.model is not None or MODEL_PATH.fullmatch(parts.path) else None

    @property
    def model_name(self) -> str | None:
        """Name of the model at the service, which the address may hold."""
        return self.model or self.in_path("model")

    @property
    def number_type(self) -> np.dtype[Any]:
        """Type of the rows for a protocol without metadata."""
        return np.dtype(self.dtype or "float64")

    def identity(self) -> dict[str, Any]:
        """Return what tells the model from those behind other services; nothing in it is secret."""
        keys = ("address", "model", "version", "input", "output", "request", "response", "dtype")
        # Headers as they are written: one of them may choose the model.
        return {"protocol": self.spoken, "headers": dict(self.headers)} | {key: getattr(self, key) for key in keys}

    def in_path(self, part: str) -> str | None:
        """Return ``prefix``, ``model`` or ``version`` from an address such as ``.../v2/models/NAME``."""
        match = MODEL_PATH.fullmatch(split_address(self.address).path)
        found = match[part] if match else None
        return None if found is None else unquote(found)

    def _fault(self) -> str | None:
        """Return what does not go together."""
        spoken, scheme = self.spoken, split_address(self.address).scheme
        if spoken is None:
            return (
                f"protocol: {self.address} does not say it; expected model, for protocol v2, or one of "
                f"{', '.join(PROTOCOLS)}"
            )
        if scheme.startswith("grpc") != (spoken == "grpc"):
            return (
                f"protocol: got {spoken} with {scheme}://, expected grpc with grpc:// or grpcs:// and others with http"
            )
        if spoken in V2 and not self.model_name:
            return "model: is missing, expected its name at the service"
        templates = [] if spoken == "template" else ["request", "response"]
        names = [] if spoken in V2 else ["model", "version", "input", "output"]
        for key in templates + names:
            if getattr(self, key) is not None:
                return f"{key}: has no meaning for protocol {spoken}, leave it out"
        if spoken == "template":
            if self.request is None or self.response is None:
                missing = "request" if self.request is None else "response"
                return f"{missing}: is missing, expected the {missing} of protocol template"
            if fault := template_fault(self.request):
                return fault
        try:
            known = self.dtype is None or np.dtype(self.dtype) in map(np.dtype, DTYPES.values())
        except TypeError:
            known = False
        return None if known else f"dtype: got {self.dtype!r}, expected a type of numbers such as float32"


def connected(contact: Contact) -> tuple[Protocol, Caller]:
    """Return the protocol of a service, and what calls it; nothing is sent yet.

    Raises a ModelError if a library is missing.
    """
    parts = split_address(contact.address)
    headers = Headers(contact.headers, contact.token_variable)
    caller = Caller(contact.name, contact.patience, contact.pause, contact.requests_per_second)
    spoken = str(contact.spoken)
    dtype = None if contact.dtype is None else np.dtype(contact.dtype)
    version = contact.version or contact.in_path("version") or ""
    described = (contact.name, contact.model_name or "", version, contact.input, contact.output, dtype)
    if spoken == "grpc":
        return GrpcV2(parts, headers, caller, contact.timeout, *described), caller
    http = Http(parts, headers, caller, contact.timeout, contact.concurrency)
    if spoken in V2:
        prefix = contact.in_path("prefix")
        path = parts.path.rstrip("/").removesuffix("/v2") if prefix is None else prefix
        return RestV2(http, path, parts.query, *described, binary=spoken == "v2"), caller
    request, response = PRESETS.get(spoken, (contact.request, contact.response))
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return JsonTemplate(contact.name, http, path, request, str(response), contact.number_type), caller
