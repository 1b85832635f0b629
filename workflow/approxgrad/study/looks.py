"""How readers see what a study has: names of data sets, models and methods, and looks of gradient sources."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from approxgrad.gradients.source import SOURCES, Source

if TYPE_CHECKING:
    from approxgrad.study.sections import Config


def families(used: Iterable[Source]) -> dict[str, dict[str, Any]]:
    """Return how figures show the families of some gradient sources, in drawing order: the exact one first.

    By family they are ``label``, ``setting_name``, ``setting_label``, ``symbol``, ``colour``, ``marker``, ``exact`` and
    ``settings``, the numbers in ascending order. What is the same for all sources stands in their description.
    """
    own = dict.fromkeys(used)
    looks: dict[str, dict[str, Any]] = {}
    for source in sorted(own, key=_drawing_order):
        kind = source.kind
        if source.family in looks:
            known = looks[source.family]["settings"]
            known += [source.number] if source.number not in (None, *known) else []
            continue
        looks[source.family] = {
            "label": kind.label,
            "setting_name": kind.setting_name,
            "setting_label": kind.setting_label,
            "symbol": kind.symbol,
            "colour": kind.colours.get(source.family, ""),
            "marker": kind.markers.get(source.family, ""),
            "exact": kind.exact,
            "settings": [] if source.number is None else [source.number],
        }
    for look in looks.values():
        look["settings"].sort()
    return looks


def labels(config: Config) -> dict[str, dict[str, str]]:
    """Return the names of a study's data sets, models and methods for readers, by `dataset`, `model` and `method`."""
    methods: dict[str, str] = {}
    for name, method in config.methods.items():
        methods[name] = f"{method.title}, {name}" if method.title in methods.values() else method.title
    kinds = {"dataset": config.datasets, "model": config.models}
    return {
        **{key: {name: _label(name, own) for name, own in members.items()} for key, members in kinds.items()},
        "method": methods,
    }


def _drawing_order(source: Source) -> tuple[bool, int, int, str]:
    """Return the place of a source in figures: the exact one first, then in the order of the descriptions."""
    known = [*source.kind.colours, source.family]
    return not source.is_exact, list(SOURCES).index(source.kind.name), known.index(source.family), source.family


def _label(name: str, member: Any) -> str:
    return (
        str(getattr(member, "label", ""))
        if name == member.name and getattr(member, "label", "")
        else name.replace("_", " ")
    )
