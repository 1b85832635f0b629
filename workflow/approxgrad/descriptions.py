"""How things of one sort are described: a class for each, with typed options, in a registry by name.

A description is a frozen dataclass. Its class attributes say what it is called and what it offers; its fields are its
options, which a configuration sets. Written with :func:`option`, a field has bounds and a line of text, so that
validation, defaults, the schema for editors and the reference page all come from the class.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Annotated, Any, ClassVar, Protocol, TypeVar

try:  # The Python interface works without pydantic, which only checks configurations.
    from pydantic import AfterValidator, Field
except ImportError:

    def Field(**_bounds: Any) -> Any:  # type: ignore[no-redef]  # noqa: N802 - in place of pydantic's
        """Return nothing: without pydantic no configuration is checked."""

    def AfterValidator(_check: Any) -> Any:  # type: ignore[no-redef]  # noqa: N802 - in place of pydantic's
        """Return nothing, as above."""


D = TypeVar("D", bound="Named")
T = TypeVar("T")


def option(line: str, **bounds: Any) -> Any:
    """Return what is known of an option, for the second place of ``Annotated``.

    Parameters
    ----------
    line : str
        What the option means.
    **bounds
        What pydantic's ``Field`` takes: ``gt``, ``ge``, ``lt``, ``le``, ``min_length``, ``pattern`` and others.
    """
    return Field(description=line, **bounds)


Integer = Annotated[int, Field(strict=True)]
Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Text = Annotated[str, Field(strict=True)]
Flag = Annotated[bool, Field(strict=True)]
"""Types of options that are taken as they are written: 2.0 is not an integer, and "yes" is not true."""


def _once(values: tuple[Any, ...]) -> tuple[Any, ...]:
    for place, value in enumerate(values):
        if value in values[:place]:
            raise ValueError(f"expected no value twice ({value!r} is)")
    return values


Once = AfterValidator(_once)
"""Refuses a list that has a value twice, as a further place of ``Annotated``."""


def key(field: str) -> str:
    """Return how a configuration spells a field: an underscore at the end tells the field from a word of Python."""
    return field.rstrip("_")


class Description:
    """Base of everything that a configuration describes; options that a class does not have are refused."""

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid", "allow_inf_nan": False, "alias_generator": key}


class Named(Protocol):
    """What a registry holds: classes, or objects, with a name."""

    name: Any


class Registry(Mapping[str, D]):
    """Descriptions of one sort by name; those of this package are imported when they are first asked for.

    Parameters
    ----------
    noun : str
        What is described, for messages.
    package : str
        The package whose modules describe the members.
    modules : mapping of str to str
        Name of the module, in the package, that describes each member of this package.
    """

    def __init__(self, noun: str, package: str, modules: Mapping[str, str]) -> None:
        self.noun = noun
        self._modules = {name: f"{package}.{module}" for name, module in modules.items()}
        self._members: dict[str, D] = {}

    def add(self, member: D) -> D:
        """Put a description into the registry under its ``name``; a class decorator.

        Raises
        ------
        ValueError
            If another description has that name.
        """
        module = sys._getframe(1).f_globals["__name__"]
        if member.name in self._members or self._modules.get(member.name, module) != module:
            raise ValueError(f"the name {member.name} is taken by another {self.noun}")
        self._members[member.name] = member
        self._modules[member.name] = module
        return member

    def __getitem__(self, name: str) -> D:
        if name not in self._members:
            import_module(self._modules[name])
        return self._members[name]

    def __contains__(self, name: object) -> bool:
        return name in self._modules

    def __iter__(self) -> Iterator[str]:
        return iter(self._modules)

    def __len__(self) -> int:
        return len(self._modules)

    def module(self, name: str) -> str:
        """Return the module that describes a member, so that jobs which need it can be made to depend on its file."""
        return self._modules[name]


def written(description: Any) -> dict[str, Any]:
    """Return the options of a description as plain values, as a configuration writes them; unset ones are left out."""
    values = {key(field.name): getattr(description, field.name) for field in dataclasses.fields(description)}
    return {name: plain(value) for name, value in values.items() if value is not None}


def plain(value: Any) -> Any:
    """Return a value with dictionaries and lists in place of descriptions, other mappings and tuples."""
    if dataclasses.is_dataclass(value):
        return written(value)
    if isinstance(value, Mapping):
        return {name: plain(item) for name, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def read(description: type[T], options: Mapping[str, Any]) -> T:
    """Return a description with options from a configuration or a job's parameters.

    Raises
    ------
    pydantic.ValidationError
        If an option is unknown, missing, of another type or out of bounds.
    """
    from pydantic import TypeAdapter

    return TypeAdapter(description).validate_python(dict(options))
