"""Modules of a user that lie in the working directory: what they import is looked for beside them first.

They are imported under names of their own, below :data:`ROOT`, so that a file named like an installed module, or like
one that is already loaded, is neither hidden by that nor hides it from the libraries that need it.
"""

from __future__ import annotations

import builtins
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = "approxgrad_own"
"""Package that stands for the working directory."""


def imported(name: str) -> ModuleType:
    """Import a module: the one of the working directory if it lies there, or else an installed one."""
    folder = Path.cwd()
    if not _is_own(folder, name):
        # Installed modules may ask for one that lies here, such as a pickle of a class.
        if str(folder) not in sys.path:
            sys.path.append(str(folder))
        return import_module(name)
    _stand_for(folder)
    return import_module(f"{ROOT}.{name}")


def _stand_for(folder: Path) -> None:
    """Let :data:`ROOT` stand for a folder; what was imported from another one is forgotten."""
    if str(folder) not in sys.path:
        sys.path.append(str(folder))
    root = sys.modules.get(ROOT)
    if root is not None and list(root.__path__) == [str(folder)]:
        return
    for loaded in [name for name in sys.modules if name.startswith(f"{ROOT}.")]:
        del sys.modules[loaded]
    root = ModuleType(ROOT)
    root.__path__ = [str(folder)]
    sys.modules[ROOT] = root
    if not any(isinstance(finder, _OwnFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _OwnFinder())


class _OwnFinder(MetaPathFinder):
    """Finds modules below :data:`ROOT` as Python does, and lets their own imports look beside them first."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if not name.startswith(f"{ROOT}."):
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and type(spec.loader) is SourceFileLoader:
            spec.loader = _OwnLoader(spec.loader.name, spec.loader.path)
        return spec


class _OwnLoader(SourceFileLoader):
    def exec_module(self, module: ModuleType) -> None:
        # Python takes `__import__` from the built-ins of the module whose code imports, so no other module is affected.
        module.__dict__["__builtins__"] = vars(builtins) | {"__import__": _import_own_first}
        super().exec_module(module)


def _import_own_first(
    name: str, globals: Any = None, locals: Any = None, fromlist: Sequence[str] | None = (), level: int = 0
) -> Any:
    """Import as a module of the user does: from the working directory, or else as usual."""
    folder = Path(sys.modules[ROOT].__path__[0])
    if level or not _is_own(folder, name, fromlist or ()):
        return builtins.__import__(name, globals, locals, fromlist or (), level)
    leaf = builtins.__import__(f"{ROOT}.{name}", globals, locals, fromlist or (), 0)
    return leaf if fromlist else sys.modules[f"{ROOT}.{name.partition('.')[0]}"]


def _is_own(folder: Path, name: str, members: Sequence[str] = ()) -> bool:
    """Whether a module lies in a folder; members of one without a file of its own may."""
    first, *_ = parts = name.split(".")
    whole = folder.joinpath(*parts)
    return any(_is_module(path) for path in (folder / first, whole, *(whole / member for member in members)))


def _is_module(path: Path) -> bool:
    return path.with_name(f"{path.name}.py").is_file() or (path / "__init__.py").is_file()
