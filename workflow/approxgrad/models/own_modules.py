"""Users' own modules: those in the working directory, which find each other before installed ones.

They are imported below the package :data:`ROOT`. So a file with the name of an installed or loaded module is found, and
does not hide that module from the libraries that need it.
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
    """Import a module from the working directory, or else an installed one."""
    folder = Path.cwd()
    # Installed modules may ask for one that lies here, such as a pickle for its class.
    if str(folder) not in sys.path:
        sys.path.append(str(folder))
    if not _is_own(folder, name):
        return import_module(name)
    _stand_for(folder)
    return import_module(f"{ROOT}.{name}")


def _stand_for(folder: Path) -> None:
    """Let :data:`ROOT` stand for a folder, and forget what was imported from another one."""
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
    """Finds modules below :data:`ROOT` as Python does, but loads them so that their own imports look there first."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if not name.startswith(f"{ROOT}."):
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and type(spec.loader) is SourceFileLoader:
            spec.loader = _OwnLoader(spec.loader.name, spec.loader.path)
        return spec


class _OwnLoader(SourceFileLoader):
    def exec_module(self, module: ModuleType) -> None:
        # Python takes `__import__` from the built-ins of the importing module, so no other module is affected.
        module.__dict__["__builtins__"] = vars(builtins) | {"__import__": _import_own_first}
        super().exec_module(module)


def _import_own_first(
    name: str, globals: Any = None, locals: Any = None, fromlist: Sequence[str] | None = (), level: int = 0
) -> Any:
    """Import from the working directory, or else as usual."""
    folder, members = Path(sys.modules[ROOT].__path__[0]), fromlist or ()
    if level or not _is_own(folder, name, members):
        return builtins.__import__(name, globals, locals, members, level)
    leaf = builtins.__import__(f"{ROOT}.{name}", globals, locals, members, 0)
    return leaf if members else sys.modules[f"{ROOT}.{name.partition('.')[0]}"]


def _is_own(folder: Path, name: str, members: Sequence[str] = ()) -> bool:
    """Whether a folder holds a module, or members of a module without a file of its own."""
    parts = name.split(".")
    whole = folder.joinpath(*parts)
    places = (folder / parts[0], whole, *(whole / member for member in members))
    return any(path.with_name(f"{path.name}.py").is_file() or (path / "__init__.py").is_file() for path in places)
