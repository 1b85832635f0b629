"""What makes a file now, according to the rules of the workflow; the provenance in the file says what made it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Origin:
    """The parameters of a rule, its script and the package's files that it depends on, and its other inputs by name."""

    parameters: Mapping[str, Any]
    code: Sequence[str]
    inputs: Mapping[str, Any]


def origin(rules: Iterable[Any], path: str) -> Origin:
    """Return what makes a file, from all rules of a workflow; a ValueError if none of them does."""
    # Only Snakemake's own process needs this import.
    from snakemake.jobs import Wildcards

    for rule in rules:
        if rule.is_producer(path):
            wildcards = Wildcards(fromdict=rule.get_wildcards(path))
            files = rule.expand_input(wildcards)[0]
            parameters = rule.expand_params(wildcards, files, rule.expand_output(wildcards)[0], None)[0]
            inputs = {name: _plain(value) for name, value in files.items()}
            code = inputs.pop("code")
            return Origin(dict(parameters.items()), [code] if isinstance(code, str) else code, inputs)
    raise ValueError(f"{path}: no rule makes it")


def _plain(value: Any) -> str | list[str]:
    """Return paths as plain text."""
    return str(value) if isinstance(value, str) else [str(path) for path in value]
