"""The configuration that a study starts from, and what of it stands in a fault."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from snakemake.utils import update_config

from approxgrad.study.configuration import Loader

FILE = "config.yaml"


def default_files(checkout: Path | str, *, here: bool = True) -> list[Path]:
    """Return the files that a study's own configuration is merged with, each after those that it is merged over.

    They are the one beside the Snakefile and, unless that is the same or not wanted, the one in the working directory.
    """
    own, other = Path(checkout, FILE), Path(FILE).absolute()
    if not here or not other.exists() or (own.exists() and other.samefile(own)):
        return [own]
    return [own, other]


def read_quietly(workflow: Any, files: Sequence[Path | str]) -> None:
    """Read configuration files as the directive ``configfile`` does, without a message about each of them."""
    logger = logging.getLogger("snakemake.logging")
    logger.addFilter(_no_merge)
    try:
        for path in files:
            workflow.configfile(str(path))
    finally:
        logger.removeFilter(_no_merge)


def _no_merge(record: logging.LogRecord) -> bool:
    return "additional config specified via the command line" not in record.getMessage()


def read_defaults(files: Sequence[Path | str]) -> dict[str, Any]:
    """Return what stands in some files, each merged with those before; they are known to hold mappings."""
    merged: dict[str, Any] = {}
    for path in files:
        update_config(merged, _read(path))
    return merged


def over_defaults(config: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration that is the given one once it is merged with the defaults: what it lacks is null."""
    result: dict[str, Any] = {key: None for key in defaults if key not in config}
    for key, value in config.items():
        below = defaults.get(key)
        if isinstance(value, Mapping) and isinstance(below, Mapping):
            value = over_defaults(value, below)
        result[key] = value
    return result


def with_origins(lines: Sequence[str], files: Sequence[Path | str], given: Sequence[Mapping[str, Any]]) -> list[str]:
    """Say in faults of a merged configuration which of them come from a default that the user has not written.

    Parameters
    ----------
    lines : sequence of str
        Faults that begin with a key, as ``datasets.digits.test: ...``.
    files : sequence of path
        The defaults.
    given : sequence of mapping
        What the user has written: the configuration files and options of the command line.
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


def _read(path: Path | str) -> Any:
    return yaml.load(Path(path).read_text(encoding="utf-8"), Loader=Loader)  # noqa: S506 - is a safe one


def _name(path: Path | str) -> str:
    """Return a file's name as a person in the working directory would write it."""
    path = Path(path)
    return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)


def _keys(text: str) -> list[str | int]:
    """Return the keys and places of a path such as ``experiments[0].steps``."""
    parts = re.findall(r"([^.\[\]]+)|\[(\d+)\]", text)
    return [int(place) if place else name for name, place in parts]


def _holds(document: Any, keys: Sequence[str | int]) -> bool:
    for key in keys:
        if isinstance(document, Mapping):
            named = {str(name): value for name, value in document.items()}
            if key not in named:
                return False
            document = named[str(key)]
        elif isinstance(document, list) and isinstance(key, int) and key < len(document):
            document = document[key]
        else:
            return False
    return True
