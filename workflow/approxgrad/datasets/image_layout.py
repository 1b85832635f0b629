"""How images lie in folders: parts and classes, as people lay them out."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from approxgrad.datasets.faults import DatasetError, listed, lookalikes
from approxgrad.messages import one_line

ALL = "all"
"""The part of images that are not split."""

PARTS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
}
"""Names of folders, in lower case, and the parts that they hold."""

DEEPEST = 5
"""So many folders may be around the parts, each the only one."""


class Files(Protocol):
    """Images in a folder or an archive."""

    def entries(self, folder: str) -> list[str]:
        """Return the names in a folder, which is empty or ends in a slash; those of folders end in a slash too."""
        ...


def layout(files: Files, where: Path) -> dict[str, str]:
    """Return the folder of each part that there is: ``train``, ``test`` and perhaps ``validation``, or :data:`ALL`.

    Folders that hold nothing but one other folder are passed through. A DatasetError says what is missing.
    """
    root = ""
    for _ in range(DEEPEST):
        inside = _folders(files, root)
        if len(inside) != 1 or _part(inside[0]) or not _folders(files, inside[0]):
            break
        root = inside[0]
    folders = _folders(files, root)
    found: dict[str, str] = {}
    for folder in folders:
        part = _part(folder)
        if part in found:
            raise DatasetError(f"{where}: has both {found[part]} and {folder}, expected one of them")
        if part:
            found[part] = folder
    top = listed(name.removeprefix(root).rstrip("/") for name in files.entries(root))
    if not found or (len(found) == 1 and not _folders(files, next(iter(found.values()))) and len(folders) > 1):
        # A folder such as train/ with images and no folders in it is a class among others.
        if not folders:
            raise DatasetError(f"{where}: has no folder for each class, only {top}{_zip_hint(files, root)}")
        return {ALL: root}
    if "test" not in found and "validation" in found:
        found["test"] = found.pop("validation")
    for part in ("train", "test"):
        if part not in found or not _folders(files, found[part]):
            hint = f"; with `path` at {found['train']} they are drawn from there" if part == "test" else ""
            raise DatasetError(f"{where}: has no {part}/ with a folder for each class, only {top}{hint}")
    return {part: found[part] for part in ("train", "validation", "test") if part in found}


def class_folders(files: Files, where: Path, fewest: int = 2) -> dict[str, dict[str, list[str]]]:
    """Return the names of the image files of each part of :func:`layout` by class, both in alphabetical order.

    Files outside class folders are ignored. A DatasetError says which part or class is missing, empty, in one part only
    that is not ``train``, looks like another one or contains a folder, or that there are fewer than `fewest` classes.
    """
    parts = {part: _classes(files, folder, where) for part, folder in layout(files, where).items()}
    folders = {name: f"{part}/{name}" for part in reversed(parts) for name in parts[part]}
    for name, other in lookalikes(folders):
        raise DatasetError(
            f"{where}: has the folders {name!a} and {other!a}, which look the same; expected one spelling"
        )
    first, *others = parts
    known = listed(parts[first])
    for part in others:
        unknown = sorted(set(parts[part]) - set(parts[first]))
        if unknown:
            raise DatasetError(
                f"{where}: {part}/ has the class {one_line(unknown[0])}, expected one of train/: {known}"
            )
    if len(parts[first]) < fewest:
        has = "has" if first == ALL else f"{first}/ has"
        raise DatasetError(f"{where}: {has} the class {known} only, expected several, or the names of all as `classes`")
    return parts


def _classes(files: Files, part: str, where: Path) -> dict[str, list[str]]:
    classes = {}
    for folder in _folders(files, part):
        images = files.entries(folder)
        inner = [name for name in images if name.endswith("/")]
        shown = one_line(folder.rstrip("/"))
        if inner:
            raise DatasetError(f"{where}: {one_line(inner[0].rstrip('/'))} is a folder, expected images in {shown}")
        if not images:
            raise DatasetError(f"{where}: {shown} contains no image")
        classes[folder.removeprefix(part).rstrip("/")] = images
    return dict(sorted(classes.items()))


def _folders(files: Files, folder: str) -> list[str]:
    return [name for name in files.entries(folder) if name.endswith("/")]


def _part(folder: str) -> str:
    """Return the part that a folder is named after; empty for another one."""
    return PARTS.get(folder.rstrip("/").rpartition("/")[2].lower(), "")


def _zip_hint(files: Files, folder: str) -> str:
    inner = any(name.lower().endswith(".zip") for name in files.entries(folder))
    return "; unpack the archive inside" if inner else ""
