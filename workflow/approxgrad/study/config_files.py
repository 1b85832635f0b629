"""Faults of configuration files that Snakemake would ignore or report without naming the file."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from approxgrad.messages import one_line
from approxgrad.storage.damage import DAMAGES
from approxgrad.study.configuration import ConfigError
from approxgrad.study.defaults import with_origins

MOST_BYTES = 500_000
"""Size of one file; reading it takes some seconds."""

MOST_VALUES = 100_000
"""Values of one file with aliases expanded; a study has some hundred."""

LONGEST_VALUE = 10_000
"""Characters of one value; longer numbers take long to read."""

MOST_FAULTS = 20
"""Lines about one file."""

TEMPLATE_KEYS = ("__use_yte__", "__definitions__", "__variables__")
"""With the first of them, Snakemake runs Python code from the file."""


@contextmanager
def one_line_each(
    defaults: Sequence[Path | str] = (), given: Callable[[], Sequence[Mapping[str, Any]]] = list
) -> Iterator[None]:
    """End the program with one line for each fault of a configuration, instead of a traceback.

    Faults that come from one of the `defaults`, over which the configuration is merged, say so. `given` returns what
    the user has written; it is called only if there is a fault.
    """
    try:
        yield
    except ConfigError as error:
        lines = with_origins(str(error).splitlines(), defaults, given())
        sys.exit("\n".join(f"Configuration error: {line}" for line in lines))


def check_config_files(paths: Iterable[Path | str]) -> None:
    """Refuse files that have :func:`file_faults`; missing ones are skipped.

    Raises a ConfigError with one line for each fault, which names file, line and key.
    """
    found = dict.fromkeys(Path(path).absolute() for path in paths)
    faults = [fault for path in found if path.exists() for fault in file_faults(path)]
    if faults:
        raise ConfigError("\n".join(faults))


def file_faults(path: Path) -> list[str]:
    """Return what is wrong with a YAML or JSON file, one line for each fault.

    Refused are large files, devices, anything but a mapping from text to plain values, code to be run, and repeated
    keys, of which YAML would keep the last. Time and memory are bounded, whatever the file contains.
    """
    name = one_line(os.path.relpath(path) if path.absolute().is_relative_to(Path.cwd()) else path)
    try:
        if not path.is_file():
            # A pipe can be read only once, and Snakemake reads it again.
            kind = "a folder" if path.is_dir() else "a pipe or a device"
            return [f"{name}: is {kind}, expected a YAML or JSON file"]
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
        if len(content) > MOST_BYTES:
            return [f"{name}: is larger than a configuration may be, {MOST_BYTES:,} bytes"]
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        return [f"{name}: is not encoded in UTF-8 (byte {error.start + 1}), expected YAML or JSON"]
    except OSError as error:
        return [f"{name}: cannot be read ({error.strerror})"]
    try:
        faults = _document_faults(text, name)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = name if mark is None else f"{name}, line {mark.line + 1}"
        reason = getattr(error, "problem", None) or getattr(error, "reason", None) or error
        if reason == "but found another document":
            return [f"{where}: a second document begins, expected one"]
        return [f"{where}: is not valid YAML or JSON ({one_line(reason)})"]
    except RecursionError:
        return [f"{name}: is nested too deeply"]
    except DAMAGES as error:
        return [f"{name}: has an invalid value ({one_line(error)})"]
    more = len(faults) - MOST_FAULTS
    return [*faults[:MOST_FAULTS], f"{name}: has {more:,} more faults"] if more > 0 else faults


def _document_faults(text: str, name: str) -> list[str]:
    """Return the faults of a document that YAML can read, or raise what reading it raises."""
    # The parser that Snakemake uses; the one in C accepts more.
    loader = yaml.SafeLoader(_as_yaml(text))
    document = loader.get_single_node()
    if not isinstance(document, yaml.MappingNode):
        return [f"{name}: holds {_kind(document)}, expected a mapping from keys such as `seed` to values"]
    faults: list[str] = []
    if _count(document, "", name, faults, {}) > MOST_VALUES:
        return [f"{name}: stands for more than {MOST_VALUES:,} values once its aliases are expanded"]
    faults += [
        f"{name}, line {word.start_mark.line + 1}: {word.value} makes a template of the file, expected plain values"
        for word, _ in document.value
        if word.value in TEMPLATE_KEYS
    ]
    if not faults:
        loader.construct_document(document)
    return faults


def _as_yaml(text: str) -> str:
    """Return JSON without the tabs that YAML forbids, and other text as it is."""
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return text
    return text.replace("\t", " ")


def _count(node: Any, key: str, name: str, faults: list[str], counts: dict[int, int]) -> int:
    """Return how many values a node stands for, and note repeated keys and long values as faults."""
    if id(node) in counts:
        return counts[id(node)]
    # A node that contains itself is found here while it is being counted.
    counts[id(node)] = MOST_VALUES + 1
    total = 1
    if isinstance(node, yaml.ScalarNode) and len(node.value) > LONGEST_VALUE:
        where = f"{name}, line {node.start_mark.line + 1}"
        faults.append(f"{where}: a value has {len(node.value):,} characters, expected at most {LONGEST_VALUE:,}")
    if isinstance(node, yaml.MappingNode):
        lines: dict[str, int] = {}
        for word, value in node.value:
            text, line = str(word.value) if isinstance(word, yaml.ScalarNode) else "", word.start_mark.line + 1
            if text in lines and text != "<<":
                own = one_line(f"{key}.{text}" if key else text)
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
