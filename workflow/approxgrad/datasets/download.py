"""Fetching a file with a known checksum: mirrors in order, failed transfers repeated, nothing half-written."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

import pooch
from requests import HTTPError, RequestException, Timeout
from requests.exceptions import InvalidSchema, InvalidURL, TooManyRedirects
from urllib3.exceptions import TimeoutError as TransferTimeoutError

from approxgrad.messages import one_line
from approxgrad.progress import progress_bar

logger = logging.getLogger(__name__)

CHUNK = 2**14
PAUSE = 1.0  # seconds before an address is asked for the second time; doubled before each further time
PASSING_STATUS = {408, 425, 429, 500, 502, 503, 504}  # HTTP status codes after which a server is asked again
# A server that compresses the file once more would spoil its checksum.
HEADERS = {"User-Agent": "approxgrad", "Accept-Encoding": "identity"}


class DownloadError(ValueError):
    """A file that no address delivered; the message is one line."""


def download(addresses: Sequence[str], target: Path, md5: str, *, retries: int, timeout: float) -> None:
    """Write the file with an MD5 sum to `target`, from the first of the `addresses` that delivers it.

    They are ``http://``, ``https://``, ``file:///`` or local paths. Each is asked again `retries` times after a failed
    transfer; `timeout` seconds without data are one. Until its checksum is verified, the file has a hidden name that
    ends in ``.part``. A DownloadError says what was wrong with each address.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.part")
    faults = []
    try:
        for address in addresses:
            fault = _fetch(address, part, retries, timeout)
            if not fault and (found := pooch.file_hash(str(part), "md5")) != md5.lower():
                fault = f"the MD5 sum is {found}, expected {md5}"
            if not fault:
                part.replace(target)
                return
            logger.warning("%s: %s", address, fault)
            faults.append(f"{address}: {fault}")
    finally:
        part.unlink(missing_ok=True)
    raise DownloadError(f"{target.name} could not be downloaded: {'; '.join(faults)}")


def _fetch(address: str, part: Path, retries: int, timeout: float) -> str:
    """Copy or download a file, and return why that failed; nothing if it did not."""
    parts = urlsplit(address)
    if parts.scheme not in ("http", "https"):
        return _copy(Path(url2pathname(parts.path) if parts.scheme == "file" else address), part)
    for attempt in range(retries + 1):
        try:
            with progress_bar(0, f"download {part.stem[1:]}", "B") as bar:
                fetch = pooch.HTTPDownloader(bar, CHUNK, timeout=timeout, headers=HEADERS)
                fetch(address, str(part), None)
        except RequestException as error:
            fault, passing = _explained(error, timeout)
            if not passing:
                return fault
            logger.warning("%s: %s", address, fault)
            if attempt < retries:
                time.sleep(PAUSE * 2**attempt)
        else:
            return ""
    return f"{fault}, after {retries + 1} attempts"


def _copy(source: Path, part: Path) -> str:
    try:
        shutil.copyfile(source, part)
    except FileNotFoundError:
        return "no such file"
    except OSError as error:
        return f"cannot be copied ({one_line(error.strerror or error)})"
    return ""


def _explained(error: RequestException, timeout: float) -> tuple[str, bool]:
    """Return what went wrong, and whether it may go well another time."""
    if isinstance(error, HTTPError) and error.response is not None:
        status = error.response.status_code
        return f"the server answers {status} {error.response.reason}", status in PASSING_STATUS
    if isinstance(error, Timeout) or any(isinstance(cause, TransferTimeoutError) for cause in error.args):
        return f"no data for {timeout:g} s", True
    return f"the transfer failed ({one_line(error)})", not isinstance(
        error, InvalidSchema | InvalidURL | TooManyRedirects
    )
