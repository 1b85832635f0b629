"""Files asked for on the command line: refused in one line where the study has no such thing."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from approxgrad.study.choices import Choice
from approxgrad.study.configuration import ConfigError
from approxgrad.study.grid import Cell
from approxgrad.study.named_files import array_faults
from approxgrad.study.spectra import Pilots
from approxgrad.study.study import Study

NO_CHOICE = "none, because the study chooses no step"


def check_targets(study: Study, arguments: Sequence[str]) -> None:
    """Refuse a file asked for on the command line whose folders name something that the study lacks.

    Raises a ConfigError naming the part of the path and what is allowed there.
    """
    every: list[Cell | Choice | Pilots] = [
        *study.cells,
        *study.gradients.values(),
        *study.choices.values(),
        *study.spectra.values(),
    ]
    allowed: dict[str, list[str]] = {"points": []}
    for cell in every:
        for key, name in cell.keys.items():
            names = allowed.setdefault(key, [])
            names += [name] if name not in names else []
    if any(argument == "published" or argument.startswith("results/published/") for argument in arguments):
        _check_cached_arrays(study)
    shards = {path for cell in study.evaluating for path in cell.shard_paths}
    for argument in arguments:
        folder, *names = argument.split("/")
        if folder == "data" and len(names) == 2 and names[0] not in ("weights", *study.datasets):
            raise ConfigError(f"{argument}: data set is {names[0]!r}, expected one of {', '.join(study.datasets)}")
        if folder != "results" or names[:1] == ["published"]:
            continue
        if names[:1] == ["shards"] and argument not in shards:
            raise ConfigError(f"{argument}: the study has no such shard; see `shards` in the configuration")
        named = dict(part.split("=", 1) for part in names if "=" in part)
        for key, value in named.items():
            if key in allowed and value not in allowed[key]:
                expected = f"one of {', '.join(allowed[key])}" if allowed[key] else NO_CHOICE
                raise ConfigError(f"{argument}: {key} is {value!r}, expected {expected}")
        keys = [key for key in allowed if key in named]
        if tuple(named[key] for key in keys) not in {
            tuple(cell.keys.get(key) for key in keys) for cell in _cells(study, names[:1])
        }:
            raise ConfigError(f"{argument}: no experiment combines these; see `experiments` in the configuration")


def _cells(study: Study, folder: Sequence[str]) -> Iterable[Cell | Choice | Pilots]:
    """Return what the files in a folder of results are made for."""
    known: dict[str, Iterable[Cell | Choice | Pilots]] = {
        "attributions": study.cells,
        "figures": study.cells,
        "gradients": study.gradients.values(),
        "shards": study.evaluating,
        "steps": study.choices.values(),
        "spectra": study.spectra.values(),
    }
    compared = (cell for cell in study.cells if not study.is_reference(cell))
    return known.get(folder[0] if folder else "", compared)


def _check_cached_arrays(study: Study) -> None:
    if not study.config.cached_arrays:
        raise ConfigError("published: the configuration has no `cached_arrays` to draw")
    arrays = study.config.cached_arrays.items()
    faults = [fault for source, own in arrays for fault in array_faults(source, own.folder)]
    faults = faults or [
        f"cached_arrays.{source}: no file in {own.folder} fits the pattern {own.pattern}"
        for source, own in arrays
        if not study.cached_arrays(source)
    ]
    if faults:
        raise ConfigError("\n".join(faults))


def any_of(names: Iterable[str]) -> str:
    """Return a regular expression that fits just the given names; without names it fits nothing."""
    return "|".join(map(re.escape, names)) or "(?!)"
