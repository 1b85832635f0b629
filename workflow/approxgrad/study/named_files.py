"""A user's own files that the configuration names: there and readable, or one line with the key.

Snakemake takes results for given, and passes over all that has changed, if a file that they were made from is gone.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.machinery import PathFinder
from importlib.util import find_spec
from pathlib import Path

from approxgrad.datasets.kind import DatasetKind
from approxgrad.messages import one_line
from approxgrad.models.kind import WEIGHTS_FILE, ModelKind


class NamedFileError(ValueError):
    """A user's own file that a job cannot use, with the key that names it."""


def dataset_keys(name: str, dataset: DatasetKind) -> dict[str, str]:
    """Return the paths of a user's own files from which a data set is made, by the keys that name them."""
    return {f"datasets.{name}.{key}": path for key, path in dataset.own_files.items()}


def dataset_faults(name: str, dataset: DatasetKind) -> list[str]:
    """Return a line for each file of a data set that cannot be read."""
    found = {key: _fault(path, folders=dataset.folders) for key, path in dataset_keys(name, dataset).items()}
    return [f"{key}: {fault}" for key, fault in found.items() if fault]


def weight_faults(name: str, model: ModelKind) -> list[str]:
    """Return a line if a user's own weights cannot be read."""
    return _model_faults(name, {key: files for key, files in model.own_files.items() if key == WEIGHTS_FILE})


def factory_faults(name: str, model: ModelKind) -> list[str]:
    """Return a line for each of a user's own files of a model, besides weights, that is missing or cannot be read."""
    if model.module and not model.own_files[model.name] and not _installed(model.module.partition(".")[0]):
        here = f"no module {model.module} in {Path.cwd()}, and none of that name is installed"
        return [f"models.{name}.{model.name}: {here}"]
    return _model_faults(name, {key: files for key, files in model.own_files.items() if key != WEIGHTS_FILE})


def _model_faults(name: str, files: Mapping[str, Sequence[str]]) -> list[str]:
    found = [(key, _fault(path)) for key, paths in files.items() for path in paths]
    return [f"models.{name}.{key}: {fault}" for key, fault in found if fault]


def array_faults(name: str, folder: str) -> list[str]:
    """Return a line if the folder of cached arrays cannot be read."""
    fault = _fault(folder, folders=True, files=False)
    return [f"cached_arrays.{name}.folder: {fault}"] if fault else []


@contextmanager
def named_by(keys: Mapping[str, str]) -> Iterator[None]:
    """Say of an error that begins with the path of a file which of the keys names it, by a NamedFileError."""
    try:
        yield
    except ValueError as error:
        for key, path in keys.items():
            if str(error).startswith(f"{Path(path)}: "):
                raise NamedFileError(f"{key}: {error}") from error
        raise


def _fault(path: str, *, folders: bool = False, files: bool = True) -> str:
    """Say why what a path leads to cannot be read; nothing if it can."""
    expected = " or ".join(["a file"] * files + ["a folder"] * folders)
    try:
        mode = Path(path).stat().st_mode
        if stat.S_ISDIR(mode) and folders:
            os.scandir(path).close()
        elif stat.S_ISREG(mode) and files:
            Path(path).open("rb").close()
        else:
            return f"{path}: is {_kind(mode)}, expected {expected}"
    except FileNotFoundError:
        if Path(path).is_symlink():
            return f"{path}: is a link to {one_line(Path(path).readlink())}, which is not there; expected {expected}"
        return f"{path}: no such {'file or folder' if folders and files else expected.removeprefix('a ')}{_hint(path)}"
    except (OSError, ValueError) as error:
        return f"{path}: cannot be read ({one_line(getattr(error, 'strerror', None) or error)})"
    return ""


def _kind(mode: int) -> str:
    if stat.S_ISDIR(mode):
        return "a folder"
    return "a file" if stat.S_ISREG(mode) else "a pipe, socket or device"


def _hint(path: str) -> str:
    """Say where a path that is not there was looked for, or what in it is taken as it is written."""
    if "://" in path:
        return "; an address is not followed, so download the file first"
    if path.startswith("~") or "$" in path:
        return "; ~ and variables are not expanded, so write the path in full"
    return "" if Path(path).is_absolute() else f" in {Path.cwd()}"


def _installed(module: str) -> bool:
    try:
        return (find_spec(module) or PathFinder.find_spec(module, [str(Path.cwd())])) is not None
    except (ImportError, ValueError):
        return False
