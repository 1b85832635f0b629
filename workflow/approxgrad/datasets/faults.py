"""Faults of a data set, each as one line: options that contradict each other, files that cannot be read."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from urllib.parse import urlsplit

from approxgrad.messages import one_line
from approxgrad.storage.damage import DAMAGES


class DatasetError(ValueError):
    """Options or files from which no data set can be made."""


@contextmanager
def reading(fault: str, missing: str = "", errors: tuple[type[Exception], ...] = DAMAGES) -> Iterator[None]:
    """Turn what decoders raise into a DatasetError that says `fault` and the reason, or `missing` without a file."""
    try:
        yield
    except DatasetError:
        raise
    except errors as error:
        if missing and isinstance(error, FileNotFoundError):
            raise DatasetError(missing) from None
        raise DatasetError(f"{fault} ({one_line(error)})") from None


def refuse(faults: list[str]) -> None:
    """Raise a DatasetError with the first of the faults, if there are any."""
    if faults:
        raise DatasetError(faults[0])


def text_faults(key: str, path: str) -> list[str]:
    """Return why text cannot name a file: it is empty or has control characters."""
    if not path.strip():
        return [f"{key}: is empty, expected a path"]
    return [] if path.isprintable() else [f"{key}: got {path!r}, expected printable characters"]


def path_faults(key: str, path: str) -> list[str]:
    """Return why a path cannot be used: it names no file, or is relative and leaves the working directory."""
    if _leaves(path):
        return [f"{key}: got {path!r}, expected a path without '..' or an absolute one"]
    return text_faults(key, path)


def address_faults(key: str, address: str) -> list[str]:
    """Return why an address cannot be used: it is not ``http://``, ``https://``, ``file:///`` or a local path."""
    parts = urlsplit(address)
    if "://" not in address:
        wrong = not address.strip() or _leaves(address)
    elif parts.scheme == "file":
        wrong = parts.netloc not in ("", "localhost") or not parts.path
    else:
        wrong = parts.scheme not in ("http", "https") or not parts.hostname
    allowed = "https://, http://, file:/// or a local path (absolute, or without '..')"
    return [f"{key}: got {address!r}, expected {allowed}"] if wrong else []


def unique_faults(key: str, names: Iterable[str]) -> list[str]:
    """Return the first name that is repeated."""
    given = list(names)
    repeated = [name for place, name in enumerate(given) if name in given[:place]]
    return [f"{key}: got {name!r} twice, expected it once" for name in repeated[:1]]


def lookalikes(labels: dict[str, str]) -> list[tuple[str, str]]:
    """Return pairs of what is said of labels that differ in white space, coding of accents or a distant end only."""
    shown = sorted((unicodedata.normalize("NFC", one_line(label)), said) for label, said in labels.items())
    return [(said, other) for (name, said), (other_name, other) in pairwise(shown) if name == other_name]


def listed(names: Iterable[str]) -> str:
    """Return names for a message: the first ten."""
    shown = list(names)
    return one_line(", ".join(shown[:10]) + (", ..." if len(shown) > 10 else "")) if shown else "nothing"


def _leaves(path: str) -> bool:
    return ".." in Path(path).parts and not Path(path).is_absolute()
