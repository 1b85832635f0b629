"""Reading a configuration: checked against the schema, defaults filled in, errors as one line each."""

from __future__ import annotations

import copy
import difflib
import math
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import yaml

from approxgrad.messages import one_line
from approxgrad.study.names import check_name

SCHEMA_PATH = Path(__file__).resolve().parents[2] / "schemas" / "config.schema.yaml"

Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""Builds nothing but mappings, lists and values; in C where there is libyaml."""

EXPONENT_NUMBER = re.compile(r"[+-]?\d+(\.\d*)?[eE][+-]?\d+")

OPTIONS = ("models", "*", "options")
"""Keys under which the options of a factory stand."""


class ConfigError(ValueError):
    """A configuration that no study can be made of; the message has one line for each fault."""


@cache
def load_schema() -> dict[str, Any]:
    """Return the JSON schema of the configuration, which is not to be changed."""
    schema: dict[str, Any] = yaml.load(SCHEMA_PATH.read_text(), Loader=Loader)  # noqa: S506 - is a safe one
    return schema


def validated(config: dict[str, Any]) -> dict[str, Any]:
    """Return a copy of a configuration with defaults filled in.

    Raises
    ------
    ConfigError
        If it does not fit the schema; every fault is named with its key and what is allowed.
    """
    try:
        config = _cleaned(copy.deepcopy(config))
    except RecursionError:
        raise ConfigError("config: is nested too deeply, or holds itself") from None
    validator = _filling_validator(load_schema())
    faults = sorted({line for error in validator.iter_errors(config) for line in _explain(error)})
    if faults:
        raise ConfigError("\n".join(faults))
    return config


def in_order(config: dict[str, Any]) -> dict[str, Any]:
    """Return a configuration with its keys in alphabetical order, so that nothing depends on how they are written.

    A network of the user's own may do so, on the order of what lies inside its options.
    """
    ordered: dict[str, Any] = _ordered(config)
    for name, model in config["models"].items():
        if "options" in model:
            ordered["models"][name]["options"] = {
                key: model["options"][key] for key in sorted(model["options"], key=str)
            }
    return ordered


def _ordered(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _ordered(value[key]) for key in sorted(value, key=str)}
    return [_ordered(item) for item in value] if isinstance(value, list) else value


def _cleaned(value: Any, place: tuple[str, ...] = ()) -> Any:
    """Turn text such as 1e-4, which YAML 1.1 does not read as a number, into one, and drop keys set to null.

    The options of a factory are left as they are.
    """
    if isinstance(value, dict):
        if len(place) == len(OPTIONS) and place[0] == OPTIONS[0] and place[2] == OPTIONS[2]:
            return _plain(value)
        return {str(key): _cleaned(item, (*place, str(key))) for key, item in value.items() if item is not None}
    if isinstance(value, (list, tuple)):
        return [_cleaned(item) for item in value]
    if isinstance(value, str) and EXPONENT_NUMBER.fullmatch(value):
        return float(value)
    return value


def _plain(value: Any) -> Any:
    """Return a value with its mappings as dictionaries, whatever its keys are."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def _filling_validator(schema: dict[str, Any]) -> Any:
    base = jsonschema.Draft202012Validator

    def fill(validator: Any, properties: dict[str, Any], instance: Any, parent: dict[str, Any]) -> Iterator[Any]:
        if isinstance(instance, dict):
            for name, subschema in properties.items():
                if isinstance(subschema, dict) and "default" in subschema:
                    instance.setdefault(name, copy.deepcopy(subschema["default"]))
        yield from base.VALIDATORS["properties"](validator, properties, instance, parent)

    # JSON Schema takes 2.0 for an integer and knows neither NaN nor infinity; a study does not compute with those.
    types = base.TYPE_CHECKER.redefine_many({"integer": _is_integer, "number": _is_finite})
    formats = jsonschema.FormatChecker(formats=())
    formats.checks("name", raises=ValueError)(lambda value: not isinstance(value, str) or check_name(value))
    extended = jsonschema.validators.extend(base, {"properties": fill}, type_checker=types)
    return extended(schema, format_checker=formats)


def _is_integer(_checker: Any, value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_finite(_checker: Any, value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def _explain(error: Any) -> list[str]:
    """Return one line for each thing that is wrong, with the key and what is allowed there."""
    key = _key(error.absolute_path)
    got = _shortened(error.instance)
    match error.validator:
        case "additionalProperties":
            allowed = sorted(error.schema.get("properties", {}))
            unknown = [name for name in error.instance if name not in allowed]
            return [_unknown_key(_join(key, name), name, allowed) for name in unknown]
        case "required":
            missing = [name for name in error.validator_value if name not in error.instance]
            return [f"{_join(key, name)}: is missing" for name in missing]
        case "enum":
            return [f"{key}: got {got}, expected one of {', '.join(map(str, error.validator_value))}"]
        case "type":
            return [f"{key}: got {got}, expected {_article(str(error.validator_value))}"]
        case "minimum" | "exclusiveMinimum" | "maximum" | "exclusiveMaximum":
            words = {
                "minimum": "at least",
                "exclusiveMinimum": "more than",
                "maximum": "at most",
                "exclusiveMaximum": "less than",
            }
            return [f"{key}: got {got}, expected {words[error.validator]} {error.validator_value}"]
        case "uniqueItems":
            twice = next(item for place, item in enumerate(error.instance) if item in error.instance[:place])
            return [f"{key}: got {got}, expected no value twice ({_shortened(twice)} is)"]
        case "minItems" | "minProperties":
            return [f"{key}: got {got}, expected at least {error.validator_value} value(s)"]
        case "maxItems":
            return [f"{key}: got {got}, expected at most {error.validator_value} value(s)"]
        case "minLength" | "maxLength":
            bound = "at least" if error.validator == "minLength" else "at most"
            return [f"{key}: got {got}, expected {bound} {error.validator_value} character(s)"]
        case "pattern":
            return [f"{key}: got {got}, expected: {error.schema['description']}"]
        case "format":
            return [f"{key}: got {got}, {error.cause}"]
        case "oneOf":
            return [f"{key}: got {got}, expected zero, mean, a number or a list of numbers"]
        case _:
            return [f"{key}: {one_line(error.message)}"]


def _unknown_key(key: str, name: str, allowed: list[str]) -> str:
    close = difflib.get_close_matches(name, allowed, n=1)
    hint = f" (did you mean {close[0]}?)" if close else ""
    return f"{key}: unknown key, expected one of {', '.join(allowed)}{hint}"


def _printable(name: str) -> str:
    return name if name.isprintable() and name else repr(name)


def _key(path: Any) -> str:
    text = ""
    for part in path:
        text = f"{text}[{part}]" if isinstance(part, int) else _join(text, str(part))
    return text or "config"


def _join(key: str, name: str) -> str:
    name = _printable(name)
    return name if key in ("", "config") else f"{key}.{name}"


def _article(name: str) -> str:
    names = {
        "object": "a mapping",
        "array": "a list",
        "integer": "an integer",
        "number": "a finite number",
        "string": "text",
        "boolean": "true or false",
    }
    return names.get(name, name)


def _shortened(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
