"""The JSON schema for editors and the reference page of the configuration, both made from its classes.

``python -m approxgrad.study.reference`` writes them.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from pydantic import TypeAdapter

from approxgrad.study.configuration import SECTIONS, Section
from approxgrad.study.sections import Config

ROOT = Path(__file__).resolve().parents[3]

SCHEMA = ROOT / "workflow" / "schemas" / "config.schema.yaml"

PAGE = ROOT / "docs" / "configuration.md"

NOTE = "made from the classes of the package by: python -m approxgrad.study.reference"

OPENING = f"""# The configuration, key by key

<!-- {NOTE} -->

A study is one YAML file. What you leave out has the default that is given here; what your file says is merged with
`config/config.yaml` (mappings key by key, lists as a whole; `null` leaves a default out). An entry of
`datasets`, `models`, `methods` and `gradients` has a name of your choice, which appears in paths and tables, a kind,
and the options of that kind.
"""


def schema() -> dict[str, Any]:
    """Return the JSON schema of a configuration."""
    whole = TypeAdapter(Config).json_schema()
    definitions = whole.pop("$defs", {})
    for name, section in SECTIONS.items():
        patterns = whole["properties"][name]["patternProperties"]
        entry = {"anyOf": [_entry(section, kind, definitions) for kind in section.kinds]}
        patterns.update(dict.fromkeys(patterns, entry))
    for own in whole["properties"].values():
        if "patternProperties" in own:
            own["additionalProperties"] = False
    whole["title"] = "Configuration of a study"
    ordered = {"$schema": "https://json-schema.org/draft/2020-12/schema", **whole, "$defs": definitions}
    result: dict[str, Any] = _without_titles(ordered)
    return result


def _entry(section: Section, kind: str, definitions: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of an entry of some kind; what it refers to goes to the definitions."""
    own = TypeAdapter(section.registry[kind]).json_schema()
    definitions.update(own.pop("$defs", {}))
    if section.names_by_key(kind):
        own["properties"] = {section.key: {"const": kind}, **own.get("properties", {})}
        own["required"] = [section.key, *own.get("required", [])]
    if getattr(section.registry[kind], "keyed", False):
        own["properties"] = {section.key: {"type": "string", "pattern": f"^{kind}/"}, **own["properties"]}
        own["required"].remove(kind)
        own["oneOf"] = [{"required": [section.key]}, {"required": [kind]}]
    return own


def _without_titles(value: Any) -> Any:
    """Drop the titles that pydantic makes from names."""
    if isinstance(value, dict):
        return {
            key: _without_titles(item) for key, item in value.items() if key != "title" or not isinstance(item, str)
        }
    return [_without_titles(item) for item in value] if isinstance(value, list) else value


def page() -> str:
    """Return the reference page in Markdown."""
    whole = schema()
    definitions = whole["$defs"]
    lines = [OPENING, "## At the top", "", *_rows(whole, definitions, set(SECTIONS) | {"experiments"})]
    for name, section in SECTIONS.items():
        lines += [f"## `{name}`", ""]
        for kind in section.kinds:
            own = _entry(section, kind, definitions)
            key = f"`{section.key}: {kind}`" if section.names_by_key(kind) else f"`{kind}:`"
            first = (own.get("description") or "").split("\n\n")[0].replace("\n", " ")
            lines += [f"### {key}", "", first, "", *_rows(own, definitions, {section.key})]
    lines += ["## `experiments`", "", "A list; each entry is a product.", ""]
    lines += _rows(definitions["Experiment"], definitions, set())
    return "\n".join(lines).rstrip() + "\n"


def _rows(own: dict[str, Any], definitions: dict[str, Any], without: set[Any]) -> list[str]:
    rows = list(_options(own, definitions, "", without))
    if not rows:
        return ["No options.", ""]
    head = ["| key | what it may be | default | meaning |", "|---|---|---|---|"]
    return [*head, *(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in rows), ""]


def _options(
    own: dict[str, Any], definitions: dict[str, Any], prefix: str, without: set[Any]
) -> Iterator[tuple[str, str, str, str]]:
    for name, option in own.get("properties", {}).items():
        if name in without:
            continue
        inner = _resolved(option, definitions)
        default = "required" if name in own.get("required", []) else _default(option)
        line = (option.get("description") or inner.get("description") or "").replace("\n", " ")
        yield f"`{prefix}{name}`", _kind(option, definitions), default, line
        yield from _options(inner, definitions, f"{prefix}{name}.", set())
        for entry in option.get("patternProperties", {}).values():
            yield from _options(_resolved(entry, definitions), definitions, f"{prefix}{name}.*.", set())


def _default(option: dict[str, Any]) -> str:
    value = option.get("default")
    return "" if value in (None, {}, []) else f"`{yaml.safe_dump(value, default_flow_style=True).splitlines()[0]}`"


def _resolved(option: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    """Return what an option refers to, through ``anyOf`` with null as well."""
    for member in [option, *option.get("anyOf", []), *option.get("allOf", [])]:
        if "$ref" in member:
            return dict(definitions[member["$ref"].rpartition("/")[2]])
    return option


def _kind(option: dict[str, Any], definitions: dict[str, Any]) -> str:
    """Return in words what an option may be."""
    if "$ref" in option or any("$ref" in member for member in option.get("allOf", [])):
        return "a mapping"
    if "anyOf" in option:
        members = [member for member in option["anyOf"] if member.get("type") != "null"]
        return " or ".join(dict.fromkeys(_kind(member, definitions) for member in members))
    if "const" in option or "enum" in option:
        return ", ".join(f"`{value}`" for value in option.get("enum", [option.get("const")]))
    words = {
        "integer": "an integer",
        "number": "a number",
        "string": "text",
        "boolean": "true or false",
        "object": "a mapping",
        "array": "a list",
    }
    bounds = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    own = [f"{sign} {option[name]:,}" for name, sign in bounds.items() if name in option]
    text = words.get(str(option.get("type")), "anything")
    if option.get("type") == "array" and "items" in option:
        text += f", each {_kind(option['items'], definitions)}"
    return " ".join([text, ", ".join(own)]).strip()


def texts() -> dict[Path, str]:
    """Return what stands in the files that are made here."""
    document = yaml.safe_dump(schema(), sort_keys=False, allow_unicode=True, width=120)
    return {SCHEMA: f"# {NOTE[0].upper()}{NOTE[1:]}\n{document}", PAGE: page()}


def main() -> None:
    """Write the files."""
    for path, text in texts().items():
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
