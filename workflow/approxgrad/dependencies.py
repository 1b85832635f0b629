"""Which files of the package a script's result depends on, so that Snakemake can track them as inputs."""

from __future__ import annotations

import ast
import os
from collections.abc import Iterable
from functools import cache
from pathlib import Path

PACKAGE = "approxgrad"
PACKAGE_ROOT = Path(__file__).resolve().parent

NEUTRAL = {f"approxgrad.{name}" for name in ("runtime", "run_lock", "progress", "startup", "summaries")}
"""Modules that change logs but never a number or a figure."""


def source_files(entry: Path, extra_modules: Iterable[str] = ()) -> list[Path]:
    """Return the package's files that a script imports, directly or through other modules.

    Imports are read from the source, functions included, so nothing is executed.

    Parameters
    ----------
    entry : path
        The script.
    extra_modules : iterable of str
        Modules that the script imports by a name computed at run time.

    Returns
    -------
    list of path
        Sorted, without the script itself.
    """
    found: set[str] = set()
    waiting = [*_imports(entry), *extra_modules]
    while waiting:
        module = waiting.pop()
        if module in found or module in NEUTRAL:
            continue
        found.add(module)
        waiting += _imports(_path(module))
    return sorted(_path(module) for module in found)


def pass_on_package() -> None:
    """Let the processes that this one starts import this very package, also where it is not installed."""
    folders = [str(PACKAGE_ROOT.parent), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    os.environ["PYTHONPATH"] = os.pathsep.join(dict.fromkeys(filter(None, folders)))


def _path(module: str) -> Path:
    """Return the file of a module of the package."""
    base = PACKAGE_ROOT.joinpath(*module.split(".")[1:])
    return base / "__init__.py" if base.is_dir() else base.with_suffix(".py")


@cache
def _imports(path: Path) -> tuple[str, ...]:
    """Return the modules of the package that a file imports by name.

    The package's own ``__init__`` is left out: it holds the version and lazy names, nothing that computes.
    """
    modules = []
    for node in ast.walk(ast.parse(path.read_text(), filename=str(path))):
        if isinstance(node, ast.Import):
            modules += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            modules += [name if _path(name).exists() else node.module for name in names if name.startswith(PACKAGE)]
    return tuple(m for m in modules if m.startswith(f"{PACKAGE}.") and _path(m).exists())
