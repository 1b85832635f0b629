"""Configuration files before Snakemake merges them: what it would pass over or report without the file's name."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from approxgrad.messages import one_line
from approxgrad.storage.damage import DAMAGES
from approxgrad.study.configuration import ConfigError

MOST_VALUES = 100_000
"""Values of one file, aliases written out; a study has some hundred."""


@contextmanager
def one_line_each() -> Iterator[None]:
    """End the program with one line for each fault of a configuration, instead of a traceback."""
    try:
        yield
    except ConfigError as error:
        sys.exit("\n".join(f"Configuration error: {line}" for line in str(error).splitlines()))


def check_config_files(paths: Iterable[Path | str]) -> None:
    """Refuse files that hold no mapping of text or give a key twice, of which YAML would keep the last one.

    Parameters
    ----------
    paths : iterable of path
        YAML or JSON files; those that do not exist are passed over.

    Raises
    ------
    ConfigError
        Naming file, line and key; one line for each fault.
    """
    found = dict.fromkeys(Path(path).absolute() for path in paths)
    faults = [fault for path in found if path.exists() for fault in _faults(path)]
    if faults:
        raise ConfigError("\n".join(faults))


def _faults(path: Path) -> list[str]:
    name = os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        return [f"{name}: is not encoded in UTF-8 (byte {error.start + 1}), expected YAML or JSON"]
    except OSError as error:
        return [f"{name}: cannot be read ({error.strerror})"]
    try:
        # As Snakemake reads it; the parser in C takes more for valid.
        loader = yaml.SafeLoader(_as_yaml(text))
        document = loader.get_single_node()
        if not isinstance(document, yaml.MappingNode):
            return [f"{name}: holds {_kind(document)}, expected a mapping from keys such as `seed` to values"]
        faults: list[str] = []
        if _count(document, "", name, faults, {}) > MOST_VALUES:
            return [f"{name}: stands for more than {MOST_VALUES:,} values once its aliases are written out"]
        loader.construct_document(document)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = name if mark is None else f"{name}, line {mark.line + 1}"
        reason = getattr(error, "problem", None) or getattr(error, "reason", None) or error
        return [f"{where}: is no valid YAML or JSON ({one_line(reason)})"]
    except RecursionError:
        return [f"{name}: is nested too deeply"]
    except DAMAGES as error:
        return [f"{name}: holds a value that is none ({one_line(error)})"]
    return faults


def _as_yaml(text: str) -> str:
    """Return JSON without the tabs that YAML forbids, and other text as it is."""
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return text
    return text.replace("\t", " ")


def _count(node: Any, key: str, name: str, faults: list[str], counts: dict[int, int]) -> int:
    """Return how many values a node stands for, and note the keys that stand twice in a mapping."""
    if id(node) in counts:
        return counts[id(node)]
    # A node that holds itself is found here while it is being counted.
    counts[id(node)] = MOST_VALUES + 1
    total = 1
    if isinstance(node, yaml.MappingNode):
        lines: dict[str, int] = {}
        for word, value in node.value:
            text, line = str(word.value) if isinstance(word, yaml.ScalarNode) else "", word.start_mark.line + 1
            if text in lines and text != "<<":
                own = f"{key}.{text}" if key else text
                faults.append(f"{name}, line {line}: {own} stands twice, first in line {lines[text]}; expected it once")
            if isinstance(word, yaml.ScalarNode):
                lines.setdefault(text, line)
            total += _count(word, key, name, faults, counts)
            total += _count(value, f"{key}.{text}" if key else text, name, faults, counts)
    elif isinstance(node, yaml.SequenceNode):
        total += sum(_count(value, f"{key}[{place}]", name, faults, counts) for place, value in enumerate(node.value))
    counts[id(node)] = total
    return total


def _kind(document: Any) -> str:
    if document is None:
        return "nothing"
    return "a list" if isinstance(document, yaml.SequenceNode) else "a single value"
