"""Attribution maps that others cached as arrays, in the format of the original study."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from approxgrad.storage.array_files import load_arrays
from approxgrad.storage.table_checks import TableError


@dataclass(frozen=True)
class ArrayFile:
    """A file of cached maps, and what its name says about them."""

    path: Path
    method: str
    step: float
    samples: int


def find_arrays(
    folder: Path | str, pattern: str, methods: Mapping[str, str], steps: Mapping[str, float]
) -> list[ArrayFile]:
    """Return the files of a folder whose names match a pattern, one for each method and step, sorted by these.

    Of several files for one pair of :func:`matching_arrays`, the one with the most samples counts.
    """
    found: dict[tuple[str, float], ArrayFile] = {}
    for file in matching_arrays(folder, pattern, methods, steps):
        key = (file.method, file.step)
        if key not in found or file.samples > found[key].samples:
            found[key] = file
    return list(found.values())


def matching_arrays(
    folder: Path | str, pattern: str, methods: Mapping[str, str], steps: Mapping[str, float]
) -> list[ArrayFile]:
    """Return all files of a folder whose names match a pattern, sorted by method and step.

    The file name has the placeholders ``{method}``, ``{step}`` and ``{samples}``, such as
    ``CNN_{method}_{samples}_{step}.npz``; the mappings give the method and step for each text there. Subfolders are not
    searched.
    """
    groups = {"method": "|".join(map(re.escape, methods)), "step": "|".join(map(re.escape, steps)), "samples": r"\d+"}
    expression = re.escape(pattern)
    for name, choices in groups.items():
        expression = expression.replace(re.escape(f"{{{name}}}"), f"(?P<{name}>{choices})")
    found: list[ArrayFile] = []
    for path in sorted(Path(folder).glob("*")):
        match = re.fullmatch(expression, path.name)
        if match is None:
            continue
        words = match.groupdict()
        samples = int(words.get("samples") or 0)
        found.append(ArrayFile(path, methods[words["method"]], float(steps[words["step"]]), samples))
    order = list(dict.fromkeys(methods.values()))
    return sorted(found, key=lambda file: (order.index(file.method), file.step))


def read_arrays(path: Path | str, names: Mapping[str, str]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the maps ``exact`` and ``approximated`` of a ``.npz`` file, each (N, d), or raise a TableError."""
    arrays = load_arrays(path, list(names.values()))
    exact, approximated = (arrays[names[role]] for role in ("exact", "approximated"))
    if exact.shape != approximated.shape or exact.ndim != 2 or len(exact) == 0:
        raise TableError(f"{path}: expected two arrays of one shape (N, d), got {exact.shape} and {approximated.shape}")
    for name, values in arrays.items():
        if not np.issubdtype(values.dtype, np.floating) or not np.isfinite(values).all():
            raise TableError(f"{path}: array {name!r} does not hold only finite numbers")
    return exact, approximated
