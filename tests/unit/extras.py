"""What the package requires, by its extras; one of them may name others."""

from __future__ import annotations

import tomllib
from pathlib import Path

from packaging.requirements import Requirement

PROJECT = tomllib.loads((Path(__file__).resolve().parents[2] / "pyproject.toml").read_text())["project"]


def required(*extras: str) -> list[str]:
    """Return the requirements of the package with some extras, each once and sorted."""
    found, waiting, seen = set(PROJECT["dependencies"]), list(extras), set()
    while waiting:
        name = waiting.pop()
        seen.add(name)
        for text in PROJECT["optional-dependencies"][name]:
            own = Requirement(text)
            if own.name == PROJECT["name"]:
                waiting += own.extras - seen
            else:
                found.add(text)
    return sorted(found)
