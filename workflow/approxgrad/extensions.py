"""A user's own methods, gradient sources, kinds, metrics and figures: Python files that register descriptions."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

from approxgrad.messages import one_line


class ExtensionError(ValueError):
    """A file of extensions that cannot be imported; the message is one line."""


def extension_paths(config: Mapping[str, Any]) -> list[str]:
    """Return the files that a configuration names as `extensions`, as far as they are text."""
    named = config.get("extensions") or []
    return [path for path in named if isinstance(path, str)] if isinstance(named, (list, tuple)) else []


def load_extensions(config: Mapping[str, Any]) -> None:
    """Import the files of extensions that a configuration names, each once.

    Raises an ExtensionError if a file is not there, or fails when it is imported.
    """
    load(extension_paths(config))


def load(paths: Iterable[str]) -> None:
    """Import files of extensions, each once, as modules with the names of the files."""
    for name in paths:
        path = Path(name)
        if path.stem in sys.modules and _file(path.stem) == path.resolve():
            continue
        if not path.is_file():
            raise ExtensionError(f"extensions: there is no file {one_line(name)} in {Path.cwd()}")
        if path.stem in sys.modules or not path.stem.isidentifier() or path.suffix != ".py":
            raise ExtensionError(
                f"extensions: {one_line(name)} cannot be imported as {path.stem!r}; expected a name such as "
                "my_methods.py that no other module has"
            )
        folder = str(path.resolve().parent)
        if folder not in sys.path:
            sys.path.append(folder)
        specification = spec_from_file_location(path.stem, path.resolve())
        if specification is None or specification.loader is None:
            raise ExtensionError(f"extensions: {one_line(name)} is not a Python file")
        module = module_from_spec(specification)
        sys.modules[path.stem] = module
        try:
            specification.loader.exec_module(module)
        except BaseException as error:
            del sys.modules[path.stem]
            if isinstance(error, KeyboardInterrupt):
                raise
            line = one_line(f"{type(error).__name__}: {error}")
            raise ExtensionError(f"extensions: {one_line(name)} cannot be imported ({line})") from error


def _file(module: str) -> Path | None:
    own = getattr(sys.modules[module], "__file__", None)
    return Path(own).resolve() if own else None
