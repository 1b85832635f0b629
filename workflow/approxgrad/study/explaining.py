"""Faults that pydantic finds in a configuration, as one line each: key, what it got, what is allowed."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, get_args, get_type_hints

from pydantic import ValidationError

from approxgrad.descriptions import key as spelled
from approxgrad.messages import one_line

KINDS = {
    "int_type": "an integer",
    "int_from_float": "an integer",
    "float_type": "a finite number",
    "finite_number": "a finite number",
    "string_type": "text",
    "bool_type": "true or false",
    "dict_type": "a mapping",
    "dataclass_type": "a mapping",
    "tuple_type": "a list",
    "list_type": "a list",
}
"""What was expected, by pydantic's type of an error."""

BOUNDS = {
    "greater_than": ("more than", "gt"),
    "greater_than_equal": ("at least", "ge"),
    "less_than": ("less than", "lt"),
    "less_than_equal": ("at most", "le"),
}

KEY = "[key]"
"""How pydantic marks a fault of a key and not of what stands under it."""

LENGTHS = {"too_short": ("at least", "min_length"), "too_long": ("at most", "max_length")}


def explain(
    error: ValidationError, description: Any, options: Any, key: str = "", extra: Iterable[str] = ()
) -> list[str]:
    """Return one line for each thing that is wrong with the options of a description.

    Parameters
    ----------
    error : ValidationError
        What pydantic says.
    description : type
        The class whose options they are.
    options : Any
        What was validated.
    key : str
        Where the options stand in the configuration.
    extra : iterable of str
        Keys that are allowed beside the fields of the class, such as the one that names it.
    """
    found: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for fault in error.errors():
        # A union adds the names of its members to the place, and keys of a mapping are marked.
        path, value = _followed(fault["loc"], options)
        if not fault["loc"]:
            # What options say together: the message begins with the name of one.
            return [joined(key, one_line(fault["ctx"]["error"]))]
        missing = fault["type"] in ("missing", "unexpected_keyword_argument")
        place = (*path, fault["loc"][-1]) if missing and path != tuple(fault["loc"]) else path
        found.setdefault((place, fault["loc"][-1] == KEY), []).append({**fault, "value": value})
    lines = []
    # What is wrong inside a list or mapping says more than that the list as a whole does not fit.
    within = {place[:end] for place, _ in found for end in range(len(place))}
    for (place, is_key), faults in found.items():
        if place in within and faults[0]["type"] not in ("unexpected_keyword_argument", "missing") and not is_key:
            continue
        where = _key(place[:-1] if is_key else place, key)
        got = shortened(place[-1] if is_key else faults[0]["value"])
        owner, line = _class_at(description, (*place[:-1], KEY) if is_key else place)
        lines.append(_line(where, got, faults, owner, line, extra if owner is description else ()))
    return lines


def _line(
    where: str, got: str, faults: Sequence[Mapping[str, Any]], owner: Any, line: str, extra: Iterable[str]
) -> str:
    kind, context = faults[0]["type"], faults[0].get("ctx", {})
    if kind == "missing":
        return f"{where}: is missing"
    if kind == "unexpected_keyword_argument":
        allowed = sorted([*(spelled(field.name) for field in dataclasses.fields(owner)), *extra])
        return unknown_key(where, str(faults[0]["loc"][-1]), allowed)
    if kind == "dataclass_type" and len(faults) == 1 and dataclasses.is_dataclass(owner):
        keys = ", ".join(spelled(own.name) for own in dataclasses.fields(owner))
        return f"{where}: got {got}, expected a mapping with {keys}"
    if kind in BOUNDS and len(faults) == 1:
        words, name = BOUNDS[kind]
        return f"{where}: got {got}, expected {words} {context[name]:g}"
    if kind in LENGTHS:
        words, name = LENGTHS[kind]
        return f"{where}: got {got}, expected {words} {context[name]} value(s)"
    if kind in ("string_too_short", "string_too_long"):
        words, name = LENGTHS[kind.removeprefix("string_")]
        return f"{where}: got {got}, expected {words} {context[name]} character(s)"
    if kind == "string_pattern_mismatch":
        return f"{where}: got {got}, expected: {line}"
    if kind == "value_error":
        return f"{where}: got {got}, {one_line(context['error'])}"
    allowed = list(dict.fromkeys(name for fault in faults for name in _expected(fault)))
    if kind == "literal_error" and len(faults) == 1 and len(allowed) > 1:
        return f"{where}: got {got}, expected one of {', '.join(allowed)}"
    return f"{where}: got {got}, expected {' or '.join(filter(None, [', '.join(allowed[:-1]), allowed[-1]]))}"


def _expected(fault: Mapping[str, Any]) -> list[str]:
    """Return what would be allowed in place of what is wrong."""
    kind, context = fault["type"], fault.get("ctx", {})
    if kind == "literal_error":
        return str(context["expected"]).replace("'", "").replace(" or ", ", ").split(", ")
    if kind in BOUNDS:
        words, name = BOUNDS[kind]
        return [f"a number of {words} {context[name]:g}"]
    return [KINDS.get(kind) or one_line(fault["msg"])]


def unknown_key(where: str, name: str, allowed: Sequence[str]) -> str:
    """Return the line about a key that does not exist, with the one that may have been meant."""
    close = difflib.get_close_matches(name, allowed, n=1)
    hint = f" (did you mean {close[0]}?)" if close else ""
    return f"{where}: unknown key, expected one of {', '.join(allowed)}{hint}"


def _followed(path: Sequence[Any], value: Any) -> tuple[tuple[Any, ...], Any]:
    """Return the part of a place that leads into a value, and what stands there."""
    own: list[Any] = []
    for part in path:
        inside = isinstance(value, Mapping) and part in value
        inside = inside or (isinstance(value, (list, tuple)) and isinstance(part, int) and part < len(value))
        if inside:
            own.append(part)
            value = value[part]
    return tuple(own), value


def _class_at(description: Any, place: Sequence[Any]) -> tuple[Any, str]:
    """Return the innermost class of options that holds a place, and the line of the option there."""
    hint, owner, line = description, description, ""
    for part in place:
        if dataclasses.is_dataclass(hint):
            owner = hint
            hints = get_type_hints(hint, include_extras=True)
            hint = {spelled(name): own for name, own in hints.items()}.get(part, Any)
        else:
            members = get_args(hint) or (Any,)
            hint = members[0] if part == KEY or len(members) == 1 or members[-1] is ... else members[-1]
        line = next((own.description for own in getattr(hint, "__metadata__", ()) if own.description), line)
        hint = _inner(hint)
    return (hint if dataclasses.is_dataclass(hint) else owner), line


def _inner(hint: Any) -> Any:
    """Return the class or container behind an annotation and ``| None``."""
    while hasattr(hint, "__metadata__"):
        hint = hint.__origin__
    members = [member for member in get_args(hint) if dataclasses.is_dataclass(_bare(member))]
    return _bare(members[0]) if len(members) == 1 and not hasattr(hint, "_name") else hint


def _bare(hint: Any) -> Any:
    return hint.__origin__ if hasattr(hint, "__metadata__") else hint


def _key(place: Sequence[Any], key: str) -> str:
    for part in place:
        key = f"{key}[{part}]" if isinstance(part, int) else joined(key, str(part))
    return key or "config"


def joined(key: str, name: str) -> str:
    """Return the key of an entry inside another."""
    name = name if name.isprintable() and name else repr(name)
    return name if key in ("", "config") else f"{key}.{name}"


def shortened(value: Any) -> str:
    """Return a value as text of at most 60 characters."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
