"""Reading a configuration: checked against the classes of its sections, with errors of one line each."""

from __future__ import annotations

import copy
import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from approxgrad.datasets.kind import DATASETS
from approxgrad.descriptions import Registry, plain, read, written
from approxgrad.gradients.source import SOURCES
from approxgrad.methods.method import METHODS
from approxgrad.models.kind import MODELS
from approxgrad.study.explaining import explain, joined, shortened
from approxgrad.study.sections import Config

EXPONENT_NUMBER = re.compile(r"^[+-]?(\d+(\.\d*)?|\.\d+)[eE][+-]?\d+$")
"""A number that YAML 1.1 reads as text."""


class ConfigError(ValueError):
    """A configuration that no study can be made of; the message has one line for each fault."""


def refuse(faults: Sequence[str]) -> None:
    """Raise a ConfigError with a line for each fault, if there are any."""
    if faults:
        raise ConfigError("\n".join(dict.fromkeys(faults)))


@dataclass(frozen=True)
class Section:
    """A section of named entries: where its descriptions are, and the key that names an entry's kind.

    Without such a key the kind is the one whose name is itself a key of the entry.
    """

    registry: Registry[Any]
    key: str | None = None

    @property
    def kinds(self) -> list[str]:
        """The kinds that an entry can name; the exact gradient is not configured."""
        return [name for name in self.registry if self.key or not self.names_by_key(name)]

    def kind(self, entry: Mapping[str, Any]) -> str | None:
        """Return the name of an entry's kind; None if it names none."""
        if self.key is not None and self.key in entry:
            given = entry[self.key]
            return given if isinstance(given, str) and given in self.registry else None
        return next((name for name in self.registry if name in entry and not self.names_by_key(name)), None)

    def expanded(self, entry: Any) -> Any:
        """Return an entry with `timm: resnet18` in place of `architecture: timm/resnet18`, for kinds that allow it."""
        given = entry.get(self.key) if isinstance(entry, Mapping) else None
        kind, slash, value = given.partition("/") if isinstance(given, str) else ("", "", "")
        if not slash or kind not in self.registry or not getattr(self.registry[kind], "keyed", False) or kind in entry:
            return entry
        return {kind: value, **self.options(entry)}

    def options(self, entry: Mapping[str, Any]) -> dict[str, Any]:
        """Return the options of an entry, without the key that names its kind."""
        return {key: value for key, value in entry.items() if key != self.key}

    def written(self, member: Any) -> dict[str, Any]:
        """Return an entry that describes a member."""
        own = {self.key: member.name} if self.key and self.names_by_key(member.name) else {}
        return own | written(member)

    def names_by_key(self, name: str) -> bool:
        """Return whether a kind is named by the key of the section, and not by a field of its own."""
        return name not in {own.name for own in dataclasses.fields(self.registry[name])}

    def expected(self) -> str:
        """Return what an entry must say, for messages."""
        keyed = [name for name in self.kinds if self.names_by_key(name)]
        named = [name for name in self.registry if not self.names_by_key(name)]
        own = [f"{self.key}: one of {', '.join(keyed)}"] if keyed else []
        return " or ".join([*own, *(f"the key {name}" for name in named)])


SECTIONS = {
    "datasets": Section(DATASETS, "kind"),
    "models": Section(MODELS, "architecture"),
    "methods": Section(METHODS, "attribution"),
    "gradients": Section(SOURCES),
}

OPTIONS = ("models", "*", "options")
"""Keys under which the options of a user's own code stand."""


def configured(config: Mapping[str, Any]) -> Config:
    """Return a configuration as typed classes, with defaults filled in.

    Raises a ConfigError if it does not fit; every fault is named with its key and what is allowed.
    """
    try:
        raw = _cleaned(copy.deepcopy(dict(config)))
    except RecursionError:
        raise ConfigError("config: is nested too deeply, or contains itself") from None
    faults, raw = _moved(raw)
    try:
        result = read(Config, raw)
    except ValidationError as error:
        faults += explain(error, Config, raw)
        result = None
    members: dict[str, dict[str, Any]] = {}
    for name, section in SECTIONS.items():
        entries = raw.get(name)
        members[name] = {}
        for entry, options in sorted(entries.items()) if isinstance(entries, dict) else ():
            own = _member(section, joined(name, entry), section.expanded(options), faults)
            if own is not None:
                members[name][entry] = own
    if faults or result is None:
        raise ConfigError("\n".join(sorted(set(faults))))
    sections: Any = members
    return dataclasses.replace(result, **sections)


def _member(section: Section, key: str, options: Any, faults: list[str]) -> Any:
    if not isinstance(options, Mapping):
        faults.append(f"{key}: got {shortened(options)}, expected a mapping")
        return None
    kind = section.kind(options)
    if kind is None:
        if section.key in options:
            allowed = ", ".join(filter(section.names_by_key, section.registry))
            faults.append(f"{key}.{section.key}: got {shortened(options[section.key])}, expected one of {allowed}")
        else:
            faults.append(f"{key}: expected {section.expected()}")
        return None
    own = section.options(options)
    try:
        return read(section.registry[kind], own)
    except ValidationError as error:
        faults += explain(error, section.registry[kind], own, key, [section.key] if section.key else [])
        return None


def _moved(raw: dict[str, Any]) -> tuple[list[str], dict[str, Any]]:
    """Say what to write where an experiment still names schemes and steps, and leave that out."""
    faults = []
    experiments = raw.get("experiments")
    for number, experiment in enumerate(experiments if isinstance(experiments, list) else []):
        old = [key for key in ("schemes", "steps", "dtypes") if isinstance(experiment, dict) and key in experiment]
        if old:
            schemes = experiment.get("schemes", ["forward"])
            scheme = schemes[0] if isinstance(schemes, list) and schemes else "forward"
            key = "steps" if "steps" in old else old[-1]
            steps = shortened(experiment.get("steps", [0.01]))
            faults.append(
                f"experiments[{number}].{key}: gradient sources have a section of their own now; write "
                f"`gradients: {{{scheme}: {{difference: {scheme}, steps: {steps}}}}}` at the top and "
                f"`gradients: [{scheme}]` here"
            )
            for key in old:
                del experiment[key]
            experiment.setdefault("gradients", ["moved"])
            raw.setdefault("gradients", {"moved": {"difference": "forward", "steps": [1.0]}})
    return faults, raw


def document(config: Config) -> dict[str, Any]:
    """Return a configuration as plain values, as it could be written in a file."""
    empty: Any = {name: {} for name in SECTIONS}
    own = written(dataclasses.replace(config, **empty))
    for name, section in SECTIONS.items():
        own[name] = {entry: section.written(member) for entry, member in getattr(config, name).items()}
    for experiment in own["experiments"]:
        if not experiment["gradients"]:
            del experiment["gradients"]  # where no method takes gradients: an empty list is refused
    return own


def _cleaned(value: Any, place: tuple[str, ...] = ()) -> Any:
    """Turn text such as 1e-4, which YAML 1.1 does not read as a number, into one, and drop keys set to null.

    The options of a user's own code are left as they are.
    """
    if isinstance(value, dict):
        if len(place) == len(OPTIONS) and place[0] == OPTIONS[0] and place[2] == OPTIONS[2]:
            # In alphabetical order, so that nothing depends on how a file is written; what lies deeper may matter.
            return {key: plain(value[key]) for key in sorted(value, key=str)}
        return {str(key): _cleaned(item, (*place, str(key))) for key, item in value.items() if item is not None}
    if isinstance(value, (list, tuple)):
        return [_cleaned(item) for item in value]
    if isinstance(value, str) and EXPONENT_NUMBER.fullmatch(value):
        return float(value)
    return value
