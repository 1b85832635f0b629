"""Options of a factory as they stand in the configuration files, which YAML 1.1 and merging would change.

A number such as 1e-3, which YAML 1.1 takes for text, is one unless it is quoted, and a date is text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from datetime import date
from pathlib import Path
from typing import Any

import yaml

EXPONENT_NUMBER = re.compile(r"^[+-]?(\d+(\.\d*)?|\.\d+)[eE][+-]?\d+$")

TIMESTAMP, FLOAT = (f"tag:yaml.org,2002:{name}" for name in ("timestamp", "float"))


class _Loader(yaml.SafeLoader):
    """Reads numbers with an exponent as such, and dates as text."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - as the class above
        first: [known for known in resolvers if known[0] != TIMESTAMP]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


_Loader.add_implicit_resolver(FLOAT, EXPONENT_NUMBER, list("+-.0123456789"))


def keep_written_options(config: dict[str, Any], paths: Iterable[Path | str]) -> None:
    """Put options of factories into a configuration as they are written.

    Parameters
    ----------
    config : dict
        The configuration as Snakemake merged it; changed in place.
    paths : iterable of path
        The files that it was merged from, in this order, each known to hold a mapping; those that do not exist are
        passed over.
    """
    written: Any = {}
    for path in dict.fromkeys(Path(path).absolute() for path in paths):
        if path.exists():
            written = _merged(written, _mapping(_read(path).get("models")))
    for name, model in _mapping(config.get("models")).items():
        options = _mapping(written.get(name)).get("options")
        if isinstance(model, dict) and isinstance(model.get("options"), dict):
            model["options"] = _as_written(model["options"], options)


def _read(path: Path) -> dict[str, Any]:
    text = path.read_text(encoding="utf-8")
    try:
        document = json.loads(text)
    except ValueError:
        document = yaml.load(text, Loader=_Loader)  # noqa: S506 - is a safe one
    return _mapping(document)


def _merged(first: Any, second: Any) -> Any:
    """Return what Snakemake makes of two values for a key: mappings are merged, of others the second counts."""
    if not isinstance(first, dict) or not isinstance(second, dict):
        return second
    return first | {key: _merged(first.get(key), value) for key, value in second.items()}


def _as_written(merged: Any, written: Any) -> Any:
    """Return a merged value, with what the files say where that is the same value read in another way."""
    if isinstance(merged, dict) and isinstance(written, Mapping):
        return {key: _as_written(item, written.get(key, item)) for key, item in merged.items()}
    if isinstance(merged, list) and isinstance(written, list) and len(merged) == len(written):
        return [_as_written(*pair) for pair in zip(merged, written, strict=True)]
    if isinstance(merged, str) and isinstance(written, float) and EXPONENT_NUMBER.match(merged):
        return written if float(merged) == written else merged
    if isinstance(merged, date) and isinstance(written, str):
        return written
    return merged


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
