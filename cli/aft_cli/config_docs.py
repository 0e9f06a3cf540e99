"""Writes docs/CONFIG.md from the RunSpec schema: `python -m aft_cli.config_docs [FILE]`."""

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aft_contracts import RunSpec

DEFAULT_FILE = Path("docs/CONFIG.md")
HEAD = """# Configuration of a run

A run is described by a YAML or JSON file for `aft run CONFIG.yaml`, or by the same fields as the body of `POST /runs`.
Relative paths are taken from the folder of the file. Unknown fields are refused. Losses are in nats per token; steps
count optimizer steps attempted since the start of the data plan.

This page is generated from the schema by `make docs`; a test keeps it true.
"""
LIMITS = {
    "minimum": "≥ {}",
    "exclusiveMinimum": "> {}",
    "maximum": "≤ {}",
    "exclusiveMaximum": "< {}",
    "minLength": "at least {} characters",
    "maxLength": "at most {} characters",
    "minItems": "at least {} items",
    "minProperties": "at least {} entries",
}


@dataclass(frozen=True, kw_only=True)
class FieldLine:
    """One field as the page shows it."""

    field: str
    kind: str
    default: str
    meaning: str


def config_page() -> str:
    """The whole page, in Markdown."""
    schema = RunSpec.model_json_schema()
    defaults = RunSpec.model_fields
    parts = [HEAD]
    top = [
        _line(name, node, schema, schema) for name, node in schema["properties"].items() if not _model_in(node, schema)
    ]
    parts.append(_section("The run", schema["description"], top))
    for name, node in schema["properties"].items():
        model = _model_in(node, schema)
        if model:
            needed = "" if not defaults[name].is_required() else " Required."
            lines = list(_lines(f"{name}.", model, schema))
            parts.append(_section(f"`{name}`", f"{_described(node, schema)}{needed}", lines))
    return "\n".join(parts)


def main() -> None:
    """Write the page."""
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else DEFAULT_FILE
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(config_page(), encoding="utf-8")


def _section(title: str, words: str, lines: list[FieldLine]) -> str:
    rows = [f"| `{line.field}` | {line.kind} | {line.default} | {line.meaning} |" for line in lines]
    return "\n".join([f"## {title}", words, "", "| field | type | default | meaning |", "|---|---|---|---|", *rows, ""])


def _lines(prefix: str, model: dict[str, Any], schema: dict[str, Any]) -> Iterator[FieldLine]:
    for name, node in model.get("properties", {}).items():
        yield _line(f"{prefix}{name}", node, model, schema)
        inner = _model_in(node, schema)
        if inner:
            yield from _lines(f"{prefix}{name}.", inner, schema)
        entry = _entry_of(node)
        if entry is not None and (entry_model := _model_in(entry, schema)):
            yield from _lines(f"{prefix}{name}.NAME.", entry_model, schema)


def _line(field: str, node: dict[str, Any], owner: dict[str, Any], schema: dict[str, Any]) -> FieldLine:
    name = field.rsplit(".", 1)[-1]
    default = "required" if name in owner.get("required", ()) else _default(node)
    return FieldLine(field=field, kind=_kind(node, schema), default=default, meaning=_described(node, schema))


def _default(node: dict[str, Any]) -> str:
    value = node.get("default")
    if isinstance(value, dict) and value:
        return "its fields' defaults"
    return f"`{json.dumps(value)}`"


def _described(node: dict[str, Any], schema: dict[str, Any]) -> str:
    words: str = node.get("description") or (_model_in(node, schema) or {}).get("description", "")
    return " ".join(words.split()).replace("|", "\\|")


def _kind(node: dict[str, Any], schema: dict[str, Any]) -> str:
    if "anyOf" in node:
        return " or ".join(_kind(option, schema) for option in node["anyOf"])
    if "$ref" in node:
        target = _target(node, schema)
        return _kind(target, schema) if "enum" in target else "fields below"
    if "const" in node:
        return f"`{node['const']}`"
    if "enum" in node:
        return ", ".join(f"`{value}`" for value in node["enum"])
    entry = _entry_of(node)
    if entry is not None:
        kind = f"mapping of names to {_kind(entry, schema)}"
    elif node.get("type") == "array":
        kind = f"list of {_kind(node.get('items', {}), schema)}"
    else:
        kind = str(node.get("type", "any"))
    limits = [words.format(f"{node[key]:,}") for key, words in LIMITS.items() if key in node]
    return ", ".join([kind, *limits])


def _entry_of(node: dict[str, Any]) -> dict[str, Any] | None:
    """The schema of a mapping's values, where `node` is a mapping with free names."""
    by_pattern: dict[str, Any] | None = next(iter(node.get("patternProperties", {}).values()), None)
    free = node.get("additionalProperties")
    return by_pattern or (free if isinstance(free, dict) else None)


def _model_in(node: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any] | None:
    for option in (node, *node.get("anyOf", ())):
        if "$ref" in option and "properties" in (target := _target(option, schema)):
            return target
    return None


def _target(node: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    target: dict[str, Any] = schema["$defs"][node["$ref"].rsplit("/", 1)[-1]]
    return target


if __name__ == "__main__":
    main()
