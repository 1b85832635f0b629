"""Which columns of a file are meant: names, patterns, ranges, or all."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterable, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Literal

from approxgrad.datasets.faults import DatasetError, listed
from approxgrad.messages import one_line

Wanted = Sequence[str] | Literal["all"]

OTHER_SEPARATORS = (";", "\t", "|", ",")

ROW_NUMBERS = re.compile(r"Unnamed: \d+|__index_level_\d+__")
"""What pandas calls columns without a name that it has read, and row names that it writes to Parquet."""


def is_open(wanted: Wanted) -> bool:
    """Return whether only the file tells how many columns are meant."""
    return wanted == "all" or any(_is_pattern(entry) or ":" in entry for entry in wanted)


def chosen_columns(
    wanted: Wanted, found: Sequence[str], path: Path, *, without: Collection[str] = (), key: str = "features"
) -> tuple[str, ...]:
    """Return the columns that are meant, each once.

    Parameters
    ----------
    wanted : sequence of str or "all"
        Names; patterns with ``*``, ``?`` and ``[...]``; ranges ``first:last`` in the order of the file. What is itself
        the name of a column is that column. Names that programs give to numbers of rows must be written out.
    found : sequence of str
        Names of the file's columns, empty where they have none.
    path : path
        The file, for messages.
    without : collection of str
        Columns that patterns, ranges and ``all`` leave out.
    key : str
        The option, for messages.

    Raises
    ------
    DatasetError
        If there is no such column, or none is left.
    """
    chosen: list[str] = []
    for entry in ["*"] if wanted == "all" else wanted:
        if entry in found:
            chosen.append(entry)
            continue
        first, _, last = entry.partition(":")
        if _is_pattern(entry):
            matching = [name for name in found if _is_named(name) and fnmatchcase(name, entry)]
        elif first in found and last in found:
            start, end = found.index(first), found.index(last)
            if end < start:
                raise DatasetError(f"{path}: {key}: got {entry!r}, but {last!r} stands before {first!r}")
            matching = [name for name in found[start : end + 1] if _is_named(name)]
        else:
            check_names(path, [entry], found)
        own = [name for name in matching if name not in without]
        if not own:
            reason = "which are used otherwise" if matching else "which no column has"
            shown = "all" if wanted == "all" else repr(entry)
            raise DatasetError(f"{path}: {key}: got {shown}, {reason}; the columns are {listed(filter(None, found))}")
        chosen += own
    return tuple(dict.fromkeys(chosen))


def check_names(path: Path, wanted: Iterable[str], found: Iterable[str]) -> None:
    """Refuse names that no column has, or several; a DatasetError lists the columns, and what may be meant."""
    known = [name for name in found if name]
    for name in wanted:
        if known.count(name) > 1:
            raise DatasetError(f"{path}: has the column {name!r} {known.count(name)} times, expected it once")
        if name not in known:
            raise DatasetError(f"{path}: has no column {name!r}, only {listed(known)}{_hint(name, known)}")


def _hint(name: str, known: list[str]) -> str:
    if known and known[0].startswith("\u00ef\u00bb\u00bf"):
        return " (the text is UTF-8: leave out `csv: {encoding: ...}`)"
    if any("\0" in own for own in known):
        return " (perhaps `csv: {encoding: utf-16-le}`)"
    if known and known[0].startswith(("#", "%", "sep=")):
        return " (is the first line no header? `csv: {skip: 1}` passes over it)"
    other = [mark for mark in OTHER_SEPARATORS if len(known) == 1 and mark in known[0]]
    if other:
        mark = "tab" if other[0] == "\t" else other[0]
        return f" (are they one? `csv: {{separator: '{mark}'}}` splits them)"
    if known and all(re.fullmatch(r"[-+]?[\d.]+(\.\d+)?", own) for own in known):
        return " (are these numbers? `csv: {header: false}` is for files without names of columns)"
    if len(known) == 1:
        return " (is the first line no header? `csv: {skip: 1}` passes over it)"
    alike = [own for own in known if own.strip().casefold() == name.strip().casefold()]
    for close in alike or difflib.get_close_matches(name, known, n=1):
        # White space around a name is seen only in quotes.
        return f" (did you mean {repr(close) if close.strip() == name else one_line(close)}?)"
    return ""


def _is_named(name: str) -> bool:
    return bool(name) and not ROW_NUMBERS.fullmatch(name)


def _is_pattern(entry: str) -> bool:
    return any(mark in entry for mark in "*?[")
