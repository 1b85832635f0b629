"""Configuration files as Snakemake merges them, the defaults first, and which default a fault comes from."""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from snakemake.utils import update_config

FILE = Path("config", "config.yaml")
"""The default study, beside the folder of the Snakefile."""
HERE = (FILE, Path("config.yaml"))
"""Where a study of one's own may lie in the working directory; the second is merged over the first."""

Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""Builds only mappings, lists and plain values; in C where libyaml is installed."""


def default_files(folder: Path | str, *, here: bool = True) -> list[Path]:
    """Return the files that a study's own configuration is merged over, each after those below it.

    They are that of the checkout whose Snakefile lies in `folder` and, if `here`, others in the working directory.
    """
    own = Path(folder).absolute().parent / FILE
    found = [path.absolute() for path in HERE if path.exists()] if here else []
    return [own, *(path for path in found if not (own.exists() and path.samefile(own)))]


def read_quietly(workflow: Any, files: Sequence[Path | str]) -> None:
    """Read configuration files as the directive ``configfile`` does, without a message about each of them."""
    logger = logging.getLogger("snakemake.logging")
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        for path in files:
            workflow.configfile(str(path))
    finally:
        logger.setLevel(level)


def read_defaults(files: Iterable[Path | str], loader: Any = Loader) -> dict[str, Any]:
    """Return the merged contents of some files, which are known to hold mappings."""
    merged: dict[str, Any] = {}
    for path in files:
        update_config(merged, _read(path, loader))
    return merged


def over_defaults(config: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration that is the given one once it is merged with the defaults: what it lacks is null."""
    result: dict[str, Any] = {key: None for key in defaults if key not in config}
    for key, value in config.items():
        below = defaults.get(key)
        result[key] = (
            over_defaults(value, below) if isinstance(value, Mapping) and isinstance(below, Mapping) else value
        )
    return result


def with_origins(lines: Sequence[str], files: Sequence[Path | str], given: Sequence[Mapping[str, Any]]) -> list[str]:
    """Add to faults of a merged configuration that they come from a default, where the user has not written the key.

    The `lines` begin with a key, as ``datasets.digits.test: ...``; `files` are the defaults, and `given` is what the
    user has written: the configuration files and options of the command line.
    """
    documents = [(_name(path), _read(path)) for path in files]
    told = []
    for line in lines:
        keys = _keys(line.partition(": ")[0])
        holders = [name for name, document in documents if _holds(document, keys)]
        if holders and (given or len(documents) > 1) and not any(_holds(document, keys) for document in given):
            line += f" (this comes from {holders[-1]}, with which other configurations are merged; null leaves it out)"
        told.append(line)
    return told


def _read(path: Path | str, loader: Any = Loader) -> Any:
    """Read a file as Snakemake does: as JSON, in which tabs are allowed, or as YAML."""
    text = Path(path).read_text(encoding="utf-8")
    try:
        return json.loads(text)
    except ValueError:
        return yaml.load(text, Loader=loader)  # noqa: S506 - a safe one


def _name(path: Path | str) -> str:
    """Return a file's name as a person in the working directory would write it."""
    path = Path(path)
    return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)


def _keys(text: str) -> list[str | int]:
    """Return the keys and list positions of a path such as ``experiments[0].samples``."""
    parts = re.findall(r"([^.\[\]]+)|\[(\d+)\]", text)
    return [int(place) if place else name for name, place in parts]


def _holds(document: Any, keys: Sequence[str | int]) -> bool:
    for key in keys:
        if isinstance(document, Mapping):
            document = {str(name): value for name, value in document.items()}
        elif not (isinstance(document, list) and isinstance(key, int) and key < len(document)):
            return False
        try:
            document = document[key]
        except KeyError:
            return False
    return True
