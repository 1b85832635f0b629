"""Options for a user's own code as they stand in the configuration files, which YAML 1.1 and merging would change.

A number such as 1e-3, which YAML 1.1 takes for text, stays a number unless it is quoted, and a date stays text.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date
from pathlib import Path
from typing import Any

import yaml

from approxgrad.study.configuration import EXPONENT_NUMBER
from approxgrad.study.defaults import read_defaults

TIMESTAMP, FLOAT = (f"tag:yaml.org,2002:{name}" for name in ("timestamp", "float"))


class _Loader(yaml.SafeLoader):
    """Reads numbers with an exponent as such, and dates as text."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - as the class above
        first: [known for known in resolvers if known[0] != TIMESTAMP]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


_Loader.add_implicit_resolver(FLOAT, EXPONENT_NUMBER, list("+-.0123456789"))


def keep_written_options(config: dict[str, Any], paths: Iterable[Path | str]) -> None:
    """Put the `options` of models, as they are written, into a configuration that Snakemake has merged from files.

    The configuration is changed in place. Missing files are skipped; the others are known to hold mappings.
    """
    files = dict.fromkeys(Path(path).absolute() for path in paths)
    written = _mapping(read_defaults((path for path in files if path.exists()), _Loader).get("models"))
    for name, model in _mapping(config.get("models")).items():
        if isinstance(model, dict) and isinstance(model.get("options"), dict):
            model["options"] = _as_written(model["options"], _mapping(written.get(name)).get("options"))


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
