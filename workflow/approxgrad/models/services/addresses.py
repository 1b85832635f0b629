"""Addresses of services and headers of requests: what may stand in them, and what is kept secret."""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Mapping
from urllib.parse import SplitResult, parse_qsl, urlsplit

from approxgrad.models.kind import ModelError

PORTS = {"http": 80, "https": 443, "grpc": 8001, "grpcs": 443}
"""Schemes of addresses, and their ports where an address names none."""

SECRET = re.compile(
    "authori|^auth|token|secret|passw|cookie|credential|[-_]key$|^(api|access)?key$|signature|^sig$", re.IGNORECASE
)
"""Names of headers, of parameters of addresses and of entries of requests that hold secrets."""

FROM_ENVIRONMENT = re.compile(r"(?:(?P<before>[!-~]+) )?env:(?P<variable>[A-Za-z_][A-Za-z0-9_]*)")
"""Value of a header that is read from a variable, such as ``env:MY_HEADER`` or ``Bearer env:MY_TOKEN``."""

VARIABLE = "^[A-Za-z_][A-Za-z0-9_]*$"


def address_fault(address: str) -> str | None:
    """Return what is wrong with the address of a service, or None; secrets are not repeated."""
    try:
        parts = urlsplit(address)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        return f"is not an address ({error})"
    if parts.username is not None or parts.password is not None:
        return "holds a user or a password, which would stand in files; pass token_variable or headers instead"
    for name, _ in parse_qsl(parts.query, keep_blank_values=True):
        if SECRET.search(name):
            return f"holds {name}=..., which may be secret and would stand in files; pass token_variable or headers"
    if parts.scheme not in PORTS:
        return f"begins with {parts.scheme or 'no scheme'!r}, expected one of {', '.join(f'{own}://' for own in PORTS)}"
    if not host:
        return "names no host, expected such as http://127.0.0.1:8000"
    if parts.fragment:
        return "holds a fragment (#...), which is never sent"
    if parts.scheme.startswith("grpc") and (parts.path.strip("/") or parts.query):
        return "holds a path, expected grpc://host:port; pass model instead"
    return None


def split_address(address: str) -> SplitResult:
    """Return the parts of an address; a ValueError says what is wrong with it."""
    if not isinstance(address, str):
        raise TypeError(f"address: got {type(address).__name__}, expected text such as http://127.0.0.1:8000")
    if fault := address_fault(address):
        raise ValueError(f"address: {fault}")
    return urlsplit(address)


def origin(parts: SplitResult) -> tuple[str, str, int]:
    """Return what two addresses on the same host have in common: scheme, host and port."""
    return parts.scheme, parts.hostname or "", parts.port or PORTS.get(parts.scheme, 0)


def is_loopback(host: str) -> bool:
    """Whether a host is this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def header_faults(headers: Mapping[str, str], token_variable: str | None) -> list[str]:
    """Return what is wrong with headers; secrets are not repeated."""
    faults = []
    for name, value in headers.items():
        if not (isinstance(name, str) and re.fullmatch("[!#$%&'*+.^_`|~0-9A-Za-z-]+", name)):
            faults.append(f"headers: got the name {name!r}, expected the name of a header")
        elif not (isinstance(value, str) and re.fullmatch("[ -~]*", value)):
            faults.append(f"headers.{name}: expected printable text in ASCII, or env: and the name of a variable")
        elif SECRET.search(name) and not FROM_ENVIRONMENT.fullmatch(value):
            faults.append(
                f"headers.{name}: may be secret and would stand in files; expected env:MY_VARIABLE, which is read from "
                "the environment"
            )
    if token_variable is not None:
        if not (isinstance(token_variable, str) and re.fullmatch(VARIABLE, token_variable)):
            faults.append("token_variable: expected the name of an environment variable, not the token")
        if any(isinstance(name, str) and name.lower() == "authorization" for name in headers):
            faults.append("token_variable: stands beside headers.Authorization, expected one of them")
    return faults


class Headers:
    """Headers of requests, whose secrets are read from the environment for every request and kept nowhere.

    Parameters
    ----------
    headers : mapping of str to str
        Values as they are sent, or ``env:NAME``, perhaps behind a word such as ``Bearer``.
    token_variable : str, optional
        Variable with a token, which is sent as ``Authorization: Bearer ...``.

    Raises
    ------
    ValueError
        If they are not valid, or a secret is not to be read from the environment.
    """

    def __init__(self, headers: Mapping[str, str], token_variable: str | None) -> None:
        if faults := header_faults(headers, token_variable):
            raise ValueError(faults[0])
        self._written = dict(headers)
        if token_variable is not None:
            self._written["Authorization"] = f"Bearer env:{token_variable}"

    @property
    def secret(self) -> bool:
        """Whether any is read from the environment."""
        return any(FROM_ENVIRONMENT.fullmatch(value) for value in self._written.values())

    def values(self) -> dict[str, str]:
        """Return the headers of a request; a ModelError if a variable is not set, or cannot be sent."""
        return {name: self._value(name, value) for name, value in self._written.items()}

    def hide(self, text: str) -> str:
        """Return a text without the secrets, such as what a service says of a request."""
        for value in self._written.values():
            match = FROM_ENVIRONMENT.fullmatch(value)
            known = os.environ.get(match["variable"], "").strip() if match else ""
            # The last word alone too: a variable may hold "Bearer ...".
            for secret in (known, known.rpartition(" ")[2]):
                text = text.replace(secret, "***") if secret else text
        return text

    def _value(self, name: str, value: str) -> str:
        match = FROM_ENVIRONMENT.fullmatch(value)
        if match is None:
            return value
        found = os.environ.get(match["variable"], "").strip()
        if not found:
            raise ModelError(f"headers.{name}: the environment variable {match['variable']} is not set")
        if not re.fullmatch("[ -~]+", found):
            raise ModelError(
                f"headers.{name}: the environment variable {match['variable']} is not printable ASCII text"
            )
        return f"{match['before']} {found}" if match["before"] else found


def check_confidential(parts: SplitResult, headers: Headers, *, insecure: bool) -> None:
    """Refuse, by a ValueError, to send secrets unencrypted to another machine, unless that is wanted."""
    if headers.secret and parts.scheme in ("http", "grpc") and not is_loopback(parts.hostname or "") and not insecure:
        raise ValueError(
            f"address: a token would be sent unencrypted to {parts.hostname}; expected {parts.scheme}s://, or pass "
            "insecure=True"
        )
