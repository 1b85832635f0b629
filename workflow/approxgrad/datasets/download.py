"""Fetching a file whose checksum is known: mirrors in order, resumed where it broke off, never trusted half."""

from __future__ import annotations

import hashlib
import http.client
import logging
import os
import re
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from approxgrad.progress import progress_bar

logger = logging.getLogger(__name__)

CHUNK = 2**18
SLOWEST = 1024
"""Bytes per second; a server that delivers less over a whole timeout counts as stalled."""
PAUSE = 1.0
"""Seconds before the first new attempt; doubled before every further one."""
PASSING_STATUS = {408, 425, 429, 500, 502, 503, 504}
"""HTTP status codes after which a server is asked again."""


class DownloadError(ValueError):
    """A file that no address delivered, or an address that cannot be used; the message is one line."""


class _RefusedError(Exception):
    """An address that will not deliver the file, however often it is asked."""


class _InterruptedError(Exception):
    """A transfer that broke off and may succeed later."""


def check_address(address: str) -> None:
    """Raise a DownloadError unless an address is ``http://``, ``https://``, ``file:///`` or a local path."""
    parts = urlsplit(address)
    if "://" not in address:
        wrong = not address.strip() or (".." in Path(address).parts and not Path(address).is_absolute())
    elif parts.scheme == "file":
        wrong = parts.netloc not in ("", "localhost") or not parts.path
    else:
        wrong = parts.scheme not in ("http", "https") or not parts.hostname
    if wrong:
        raise DownloadError(
            f"got {address!r}, expected https://, http://, file:/// or a local path (absolute, or without '..')"
        )


def download(addresses: Sequence[str], target: Path, md5: str, *, retries: int, timeout: float) -> None:
    """Write the file with an MD5 sum to `target`, from the first address that delivers it.

    What has arrived is kept beside `target`, in a hidden file that ends in ``.part``, and used by a later call. It gets
    its final name only when its checksum is right.

    Parameters
    ----------
    addresses : sequence of str
        Tried in order.
    target : path
        Where the file goes.
    md5 : str
        Its MD5 sum in hexadecimal digits.
    retries : int
        How often an address is asked again after a transfer that broke off.
    timeout : float
        Seconds without data after which a transfer has broken off.

    Raises
    ------
    DownloadError
        If no address delivers the file; says what was wrong with each of them.
    """
    for address in addresses:
        check_address(address)
    part = target.with_name(f".{target.name}.part")
    part.parent.mkdir(parents=True, exist_ok=True)
    # An earlier call may have been stopped between the last byte and the renaming.
    if part.exists() and _md5(part) == md5.lower():
        part.replace(target)
        return
    faults = []
    for address in addresses:
        try:
            _download_from(address, part, md5, retries, timeout)
        except _RefusedError as fault:
            logger.warning("%s: %s", address, fault)
            faults.append(f"{address}: {fault}")
        else:
            part.replace(target)
            return
    raise DownloadError(f"{target.name} could not be downloaded: {'; '.join(faults)}")


def _download_from(address: str, part: Path, md5: str, retries: int, timeout: float) -> None:
    """Complete `part` from one address, or delete it and raise _RefusedError if its checksum is wrong."""
    attempt, restarted = 0, False
    while True:
        try:
            logger.info("%s: attempt %d", address, attempt + 1)
            resumed = _fetch(address, part, timeout)
        except _InterruptedError as fault:
            if attempt == retries:
                raise _RefusedError(f"{fault}, after {attempt + 1} attempts") from None
            logger.warning("%s: %s", address, fault)
            time.sleep(PAUSE * 2**attempt)
            attempt += 1
            continue
        got = _md5(part)
        if got == md5.lower():
            return
        part.unlink()
        if not resumed or restarted:
            raise _RefusedError(f"the MD5 sum is {got}, expected {md5}")
        # The pieces may come from different versions of the file.
        logger.warning("%s: the MD5 sum of the resumed file is %s, expected %s; starting afresh", address, got, md5)
        restarted = True


def _fetch(address: str, part: Path, timeout: float) -> bool:
    """Append what is missing to `part`, and return whether it holds more than this transfer delivered."""
    local = _local_path(address)
    if local is not None:
        try:
            with local.open("rb") as file:
                _write(part, "wb", iter(lambda: file.read(CHUNK), b""), local.stat().st_size)
        except FileNotFoundError:
            raise _RefusedError("no such file") from None
        except (PermissionError, IsADirectoryError) as error:
            raise _RefusedError(f"cannot be read ({error.strerror})") from None
        return False
    start = part.stat().st_size if part.exists() else 0
    with _open(address, start, timeout) as response:
        if start and response.status != http.HTTPStatus.PARTIAL_CONTENT:
            start = 0
        length = int(response.headers.get("Content-Length") or 0)
        expected = start + length if length else 0
        size = _write(part, "ab" if start else "wb", _chunks(response, timeout), expected, start)
    if expected and size != expected:
        raise _InterruptedError(f"the transfer ended after {size} of {expected} bytes")
    return start > 0


def _local_path(address: str) -> Path | None:
    if "://" not in address:
        return Path(address)
    parts = urlsplit(address)
    return Path(urllib.request.url2pathname(parts.path)) if parts.scheme == "file" else None


def _open(address: str, start: int, timeout: float) -> Any:
    """Return the response from byte `start` on, or from the beginning if the server cannot do that."""
    headers = {"User-Agent": "approxgrad", "Accept-Encoding": "identity"}
    ranged = {**headers, "Range": f"bytes={start}-"} if start else headers
    try:
        # The schemes were checked, and redirections are.
        response = _OPENER.open(urllib.request.Request(address, headers=ranged), timeout=timeout)  # noqa: S310
        if start and response.status == http.HTTPStatus.PARTIAL_CONTENT:
            match = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
            if match is None or int(match[1]) != start:
                response.close()
                return _open(address, 0, timeout)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and start:
            return _open(address, 0, timeout)
        fault = _InterruptedError if error.code in PASSING_STATUS else _RefusedError
        raise fault(f"the server answers {error.code} {error.reason}") from None
    except TimeoutError:
        raise _InterruptedError(f"no answer for {timeout:g} s") from None
    except (http.client.HTTPException, OSError) as error:
        reason = getattr(error, "reason", error)
        text = f"no answer for {timeout:g} s" if isinstance(reason, TimeoutError) else f"no connection ({reason})"
        raise _InterruptedError(text) from None
    return response


def _chunks(response: Any, timeout: float) -> Iterator[bytes]:
    """Yield what arrives; a server that trickles is no better than one that is silent."""
    since, received = time.monotonic(), 0
    while True:
        try:
            chunk = response.read1(CHUNK)
        except TimeoutError:
            raise _InterruptedError(f"no data for {timeout:g} s") from None
        except (http.client.HTTPException, OSError) as error:
            raise _InterruptedError(f"the connection broke off ({error})") from None
        if not chunk:
            return
        yield chunk
        received += len(chunk)
        now = time.monotonic()
        if now - since > timeout:
            if received < SLOWEST * timeout:
                raise _InterruptedError(f"only {received} bytes in {now - since:.0f} s")
            since, received = now, 0


def _write(part: Path, mode: str, chunks: Iterator[bytes], expected: int, start: int = 0) -> int:
    """Write chunks safely to disk and return the size of the file."""
    with part.open(mode) as file, progress_bar(expected, f"download {part.stem[1:]}", "B") as bar:
        bar.update(start)
        for chunk in chunks:
            file.write(chunk)
            bar.update(len(chunk))
        file.flush()
        os.fsync(file.fileno())
        return file.tell()


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


class _Redirections(urllib.request.HTTPRedirectHandler):
    """Follows to http and https only, and from https to https only."""

    def redirect_request(
        self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> Any:
        scheme = urlsplit(newurl).scheme
        if scheme not in ("http", "https") or (req.type == "https" and scheme != "https"):
            raise _RefusedError(f"the server redirects to {newurl}, which is not followed")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _opener() -> urllib.request.OpenerDirector:
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        _Redirections(),
    ):
        opener.add_handler(handler)
    return opener


_OPENER = _opener()
