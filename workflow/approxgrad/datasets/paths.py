"""Paths in the configuration: relative to the working directory, or absolute."""

from __future__ import annotations

from pathlib import Path

from approxgrad.datasets.kinds import DatasetError


def checked_path(path: str, key: str) -> str:
    """Return a path unless it is relative and leads out of the working directory.

    Parameters
    ----------
    path : str
        As written in the configuration.
    key : str
        Where it is written, for the message.

    Raises
    ------
    DatasetError
        If it has a part ``..`` without being absolute, or is no path at all.
    """
    check_text(path, key)
    if ".." in Path(path).parts and not Path(path).is_absolute():
        raise DatasetError(f"{key}: got {path!r}, expected a path without '..' or an absolute one")
    return path


def check_text(path: str, key: str) -> None:
    """Raise a DatasetError for text that names no file: empty, or with control characters."""
    if not path.strip():
        raise DatasetError(f"{key}: is empty, expected a path")
    if not path.isprintable():
        raise DatasetError(f"{key}: got {path!r}, expected printable characters")
