"""Requests to a service by HTTP: each by itself, with failures told apart that may pass and that will not."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, urljoin, urlsplit
from urllib.request import getproxies, proxy_bypass

from approxgrad.messages import one_line
from approxgrad.models.kind import ModelError
from approxgrad.models.libraries import needing
from approxgrad.models.services.addresses import Headers, is_loopback, origin
from approxgrad.models.services.calls import (
    FEW_TRIES,
    Caller,
    PassingError,
    RefusedError,
    TooLargeError,
    seconds_after,
)

if TYPE_CHECKING:
    import urllib3

PASSING = {408, 425, 429, 502, 503, 504}
"""Status codes after which a service is asked again."""

REDIRECTS, MOST_REDIRECTS = (307, 308), 5
"""Status codes of redirects that repeat the request elsewhere; others would turn it into one without rows."""

LONGEST_CONNECTING = 10.0
"""Seconds after which a host that does not take a connection is away."""

CHUNK = 2**20
NOTHING: Mapping[str, str] = {}
QUOTED = 200
"""Characters of what a service says that an error repeats."""


@dataclass(frozen=True)
class Reply:
    """What a service answers to a request."""

    headers: Mapping[str, str]
    body: bytes


class Http:
    """Asks one host, from any number of threads.

    Parameters
    ----------
    address : SplitResult
        Of the service.
    headers : Headers
        Sent to this host only.
    caller : Caller
        Repeats requests.
    timeout : float
        Seconds that a request may take.
    connections : int
        How many are kept.
    """

    def __init__(
        self, address: SplitResult, headers: Headers, caller: Caller, timeout: float, connections: int
    ) -> None:
        with needing("serving"):
            import urllib3
        self._library = urllib3
        self._address, self._headers, self.caller, self._timeout = address, headers, caller, timeout
        self._pools = self._new_pools(connections)

    def close(self) -> None:
        """Close all connections that are not in use."""
        self._pools.clear()

    def attempt(self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] = NOTHING) -> Reply:
        """Return the reply to one request.

        Parameters
        ----------
        method : str
            Such as ``POST``.
        path : str
            Path and query on the host.
        body, headers
            Of the request.

        Raises
        ------
        PassingError
            If it is worth another try, by :meth:`approxgrad.models.services.calls.Caller.call`.
        RefusedError
            With the first words of what the service says.
        TooLargeError
            If the service does not take so large a body.
        """
        home = self._address._replace(path="", query="")
        url = f"{home.geturl()}{path}"
        deadline = time.monotonic() + self._timeout
        for _ in range(MOST_REDIRECTS + 1):
            # To another host goes what the request needs, and nothing that was meant for this one.
            own = self._headers.values() if origin(urlsplit(url)) == origin(home) else {}
            status, found, content = self._sent(method, url, body, {**own, **headers}, deadline)
            if status not in REDIRECTS or "location" not in found:
                return self._judged(status, found, content)
            url = urljoin(url, found["location"])
            if urlsplit(url).scheme not in ("http", "https") or url.startswith("http:") > home.geturl().startswith(
                "http:"
            ):
                raise RefusedError(f"{self.caller.name}: redirects to {self._quoted(url)}, which is not followed")
        raise RefusedError(f"{self.caller.name}: redirects more than {MOST_REDIRECTS} times")

    def _sent(
        self, method: str, url: str, body: bytes | None, headers: Mapping[str, str], deadline: float
    ) -> tuple[int, Mapping[str, str], bytes]:
        """Return status, headers and body of the reply to one request."""
        errors = self._library.exceptions
        left = max(0.001, deadline - time.monotonic())
        limit = self._library.Timeout(connect=min(LONGEST_CONNECTING, left), total=left)
        try:
            reply = self._pools.request(
                method,
                url,
                body=body,
                headers={"User-Agent": "approxgrad", **headers},
                timeout=limit,
                retries=False,
                redirect=False,
                preload_content=False,
                assert_same_host=False,
            )
            try:
                content = self._content(reply, deadline)
            except BaseException:
                reply.close()
                raise
            reply.release_conn()
        except errors.SSLError as error:
            raise RefusedError(
                f"{self.caller.name}: the encrypted connection failed ({one_line(error, QUOTED)}); the environment "
                f"variable SSL_CERT_FILE names a file with the certificates to trust"
            ) from error
        except (
            errors.NameResolutionError,
            errors.NewConnectionError,
            errors.ConnectTimeoutError,
            errors.ProxyError,
        ) as error:
            self._pools.clear()
            raise PassingError(_unreachable(error), away=True) from error
        except errors.TimeoutError as error:
            self._pools.clear()
            raise PassingError(f"no answer within {self._timeout:g} s") from error
        except (errors.HTTPError, OSError) as error:
            # Other idle connections are most likely dead as well: the next request takes a fresh one.
            self._pools.clear()
            raise PassingError(f"the connection broke ({one_line(error, QUOTED)})") from error
        return reply.status, reply.headers, content

    def _content(self, reply: Any, deadline: float) -> bytes:
        parts = []
        while part := reply.read1(CHUNK):
            parts.append(part)
            if time.monotonic() > deadline:
                raise self._library.exceptions.TimeoutError
        return b"".join(parts)

    def _judged(self, status: int, headers: Mapping[str, str], content: bytes) -> Reply:
        if 200 <= status < 300:
            return Reply(headers, content)
        line = f"answers {status}{self._said(content)}"
        if status in PASSING:
            raise PassingError(line, after=seconds_after(headers.get("retry-after")))
        if status >= 500:
            raise PassingError(line, after=seconds_after(headers.get("retry-after")), tries=FEW_TRIES)
        if status == 413:
            raise TooLargeError(f"{self.caller.name}: {line}")
        raise RefusedError(f"{self.caller.name}: {line}{self._helps(status, headers)}")

    def _helps(self, status: int, headers: Mapping[str, str]) -> str:
        if status in (401, 403):
            return "; token_variable names the environment variable with the token"
        if status // 100 == 3 and "location" in headers:
            return f"; it points to {self._quoted(headers['location'])}, so write that address if it is the service"
        return ""

    def _said(self, content: bytes) -> str:
        """Return the first words of what a service says in a body, in brackets."""
        text = content[: 2**16].decode(errors="replace")
        try:
            said = json.loads(text)
        except ValueError:
            # Of a traceback the last line says what happened.
            said = text.strip().rpartition("\n")[2] if "Traceback (most" in text else re.sub("<[^>]*>", " ", text)
        if isinstance(said, dict):
            said = next((said[key] for key in ("error", "message", "detail", "error_message") if key in said), said)
        return f" ({self._quoted(said)})" if str(said).strip() else ""

    def _quoted(self, said: object) -> str:
        return one_line(self._headers.hide(str(said)), QUOTED)

    def _new_pools(self, connections: int) -> urllib3.PoolManager:
        """Return what keeps connections: through a proxy if the environment names one for the host."""
        host = self._address.hostname or ""
        proxy = None if is_loopback(host) or proxy_bypass(host) else getproxies().get(self._address.scheme)
        if proxy is None:
            return self._library.PoolManager(maxsize=connections)
        parts = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
        login = f"{parts.username}:{parts.password or ''}" if parts.username else None
        plain = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
        if parts.scheme not in ("http", "https"):
            raise ModelError(
                f"{self.caller.name}: the environment names a proxy that begins with {parts.scheme or 'nothing'}://, "
                "expected http:// or https://; no_proxy names hosts that need none"
            )
        headers = self._library.make_headers(proxy_basic_auth=login)
        return self._library.ProxyManager(plain, maxsize=connections, proxy_headers=headers)


def _unreachable(error: Exception) -> str:
    text = one_line(error, 1000)
    if "timed out" in text or "Timeout" in text:
        return "nothing takes the connection at this address"
    if "resolve" in text or "Name or service" in text:
        return "no such host"
    if "refused" in text:
        return "nothing answers at this address (connection refused)"
    return f"cannot be reached ({text.rpartition('): ')[2][:QUOTED]})"
