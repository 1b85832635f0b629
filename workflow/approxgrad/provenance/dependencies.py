"""Which files and libraries a script's result depends on, so that Snakemake can track them."""

from __future__ import annotations

import ast
import os
import sys
from collections.abc import Iterable
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGE = "approxgrad"
PACKAGE_ROOT = Path(__file__).resolve().parents[1]

NEUTRAL = tuple(f"{PACKAGE}.{name}" for name in ("messages", "progress", "provenance", "running", "study.named_files"))
"""Modules and subpackages that change logs or the description of a result but never a number or a figure."""

CARRIERS = {"grpc", "huggingface_hub", "pyarrow", "pydantic", "safetensors", "tqdm", "tritonclient", "urllib3"}
"""Libraries that pass numbers on unchanged, so that their version does not matter for a result."""

TABLES_ONLY = {"approxgrad.models.training": {"pandas"}}
"""Modules that use a library only for the form of a table; none of their numbers depends on it."""

DISTRIBUTIONS = {"PIL": "pillow", "sklearn": "scikit-learn", "vl_convert": "vl-convert-python", "yaml": "pyyaml"}
"""Names under which libraries are installed, where their modules have another name."""


def source_files(entry: Path, extra_modules: Iterable[str] = ()) -> list[Path]:
    """Return the package's files that a script imports, directly or through other modules.

    Imports are read from the source, including those in functions; nothing is executed. The result is sorted, without
    the script; `extra_modules` are those that the script imports by a name computed at run time.
    """
    return sorted(map(_path, _modules(entry, extra_modules)))


def library_versions(entry: Path, extra_modules: Iterable[str] = (), own_modules: Iterable[str] = ()) -> dict[str, str]:
    """Return the versions of the libraries that can change a script's numbers or figures, by distribution.

    These are the libraries that the script, :func:`source_files` and the files of a user's own modules import, and the
    distributions of the latter, except :data:`CARRIERS`. Versions come from the installed metadata; nothing is
    imported. Modules that belong to no distribution are left out.
    """
    own = [name for name in own_modules if name]
    used = set().union(*map(_libraries, [entry, *(path for name in own for path in user_files(name, Path()))]))
    used |= {name.partition(".")[0] for name in own}
    for module in _modules(entry, extra_modules):
        used |= _libraries(_path(module)) - TABLES_ONLY.get(module, set())
    versions = {name: _version(name) for name in sorted(DISTRIBUTIONS.get(name, name) for name in used - CARRIERS)}
    return {name: number for name, number in versions.items() if number is not None}


def user_files(module: str, root: Path) -> list[Path]:
    """Return the files of a user's module and of the modules beside it that it imports, sorted and relative to `root`.

    A module that is not in the folder `root` is an installed one, and not followed.
    """
    found: set[Path] = set()
    waiting = [module] if module else []
    while waiting:
        for path in _user_paths(waiting.pop(), root) - found:
            found.add(path)
            waiting += [_absolute(name, path.relative_to(root)) for name in imported_names(path)]
    return sorted(path.relative_to(root) for path in found)


@cache
def imported_names(path: Path) -> tuple[str, ...]:
    """Return all names that a file imports when it runs; relative ones begin with a dot for each level.

    What only type checkers import is left out. A file that is not valid Python imports nothing; the job that runs it
    reports the error.
    """
    try:
        tree = ast.parse(path.read_bytes(), filename=str(path))
    except (SyntaxError, ValueError):
        return ()
    names: list[str] = []
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        typing_only = isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")
        waiting += node.orelse if typing_only and isinstance(node, ast.If) else ast.iter_child_nodes(node)
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = "." * node.level + (f"{node.module}." if node.module else "")
            names += [f"{base}{alias.name}" for alias in node.names]
    return tuple(names)


def pass_on_package() -> None:
    """Let the processes that this one starts import this package, even where it is not installed."""
    folders = [str(PACKAGE_ROOT.parent), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    os.environ["PYTHONPATH"] = os.pathsep.join(dict.fromkeys(filter(None, folders)))


def _modules(entry: Path, extra_modules: Iterable[str]) -> set[str]:
    """Return the package's modules that a script depends on."""
    found: set[str] = set()
    waiting = [*_imports(entry), *extra_modules]
    while waiting:
        module = waiting.pop()
        if module not in found and not f"{module}.".startswith(tuple(f"{name}." for name in NEUTRAL)):
            found.add(module)
            waiting += _imports(_path(module))
    return found


def _path(module: str) -> Path:
    """Return the file of a module of the package."""
    return PACKAGE_ROOT.joinpath(*module.split(".")[1:]).with_suffix(".py")


def _user_paths(name: str, root: Path) -> set[Path]:
    """Return the files that importing a name from a folder may execute: the module and the packages around it."""
    parts = name.split(".")
    places = [root.joinpath(*parts[: number + 1]) for number in range(len(parts))]
    candidates = {path for place in places for path in (place.with_suffix(".py"), place / "__init__.py")}
    return {path for path in candidates if path.is_file()}


def _absolute(name: str, importer: Path) -> str:
    """Return the full name of a perhaps relative import."""
    dots = len(name) - len(name.lstrip("."))
    package = importer.parents[dots - 1].parts if 0 < dots <= len(importer.parents) else ()
    return ".".join([*package, *name.lstrip(".").split(".")])


def _imports(path: Path) -> tuple[str, ...]:
    """Return the modules of the package that a file imports; never an ``__init__``, which computes nothing."""
    names = [name for name in imported_names(path) if name.startswith(f"{PACKAGE}.")]
    # The last part may be a name that a module defines.
    modules = [name if _path(name).exists() else name.rpartition(".")[0] for name in names]
    return tuple(m for m in modules if m.startswith(f"{PACKAGE}.") and _path(m).exists())


def _libraries(path: Path) -> set[str]:
    """Return the top-level modules that a file imports and that belong neither to Python nor to this package."""
    names = {name.partition(".")[0] for name in imported_names(path)} - {"", PACKAGE}
    return {name for name in names if name not in sys.stdlib_module_names}


@cache
def _version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None
