"""Names of weights as training scripts save them, and as a model has them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from approxgrad.messages import one_line

NAMES_IN_MESSAGE = 3

ADDED = ("module", "_orig_mod")
"""Parts of names that torch adds: for several devices, and for compiled modules."""


def plain_names(weights: dict[str, Any], own: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    """Return weights by the names of a model as far as these can be told, and a line about what was left out.

    Names that do not fit are tried without what torch adds to them (:data:`ADDED`) and without what they all begin
    with. Beside the network a training script saves losses, metrics and counters: if just one first part of the names
    has all names of the model and no more, that is taken.

    Parameters
    ----------
    weights : dict
        Tensors by the names of a file.
    own : mapping
        The state dictionary of the model.
    """
    part, note = _part(weights, own)
    return (part, note) if note else _shortened(weights, own)


def _shortened(weights: dict[str, Any], own: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    """Return weights without what torch adds to names, and without what all of them begin with."""
    removed: list[str] = []
    bare = {".".join(part for part in name.split(".") if part not in ADDED): value for name, value in weights.items()}
    if not weights.keys() <= own.keys() and len(bare) == len(weights) and _fitting(bare, own) > _fitting(weights, own):
        removed = [part for part in ADDED if any(part in name.split(".") for name in weights)]
        weights = bare
    outer: list[str] = []
    inner = weights
    while inner and not _fitting(inner, own) and len({name.partition(".")[0] for name in inner}) == 1:
        if not all("." in name for name in inner):
            break
        outer.append(next(iter(inner)).partition(".")[0])
        inner = {name.partition(".")[2]: value for name, value in inner.items()}
    if outer and _fitting(inner, own):
        removed += outer
        weights = inner
    return weights, f"names without {' and '.join(f'{part}.' for part in removed)}" if removed else ""


def _part(weights: dict[str, Any], own: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    """Return the weights under the only first part of their names that has just those of a model, beside others."""
    found = {}
    for first in dict.fromkeys(name.partition(".")[0] for name in weights):
        inner = {name.partition(".")[2]: value for name, value in weights.items() if name.startswith(f"{first}.")}
        if inner and len(inner) < len(weights) and inner.keys() == own.keys():
            found[first] = inner
    if len(found) != 1 or _fitting(weights, own):
        return weights, ""
    ((first, inner),) = found.items()
    rest = [name for name in weights if not name.startswith(f"{first}.")]
    return inner, f"names without {first}., and left out {one_line(some(rest))}"


def _fitting(weights: Mapping[str, Any], own: Mapping[str, Any]) -> int:
    return sum(name in own for name in weights)


def some(names: Sequence[str]) -> str:
    """Return names for a message: the first few, and how many more there are."""
    rest = len(names) - NAMES_IN_MESSAGE
    return ", ".join(names[:NAMES_IN_MESSAGE]) + (f" and {rest} more" if rest > 0 else "")
