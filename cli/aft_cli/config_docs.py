"""Writes docs/CONFIG.md from the RunSpec schema: `python -m aft_cli.config_docs [FILE]`."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aft_cli.schema_words import default_words, described, entry_of, kind_words, model_in
from aft_contracts import RunSpec

DEFAULT_FILE = Path("docs/CONFIG.md")
HEAD = """# Configuration of a run

A run is described by a YAML or JSON file for `aft run CONFIG.yaml`, or by the same fields as the body of `POST /runs`.
Relative paths are taken from the folder of the file. Unknown fields are refused. Losses are in nats per token; steps
count optimizer steps attempted since the start of the data plan.

This page is generated from the schema by `make docs`; a test keeps it true.
"""


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
        _line(name, node, schema, schema) for name, node in schema["properties"].items() if not model_in(node, schema)
    ]
    parts.append(_section("The run", schema["description"], top))
    for name, node in schema["properties"].items():
        model = model_in(node, schema)
        if model:
            needed = "" if not defaults[name].is_required() else " Required."
            lines = list(_lines(f"{name}.", model, schema))
            parts.append(_section(f"`{name}`", f"{described(node, schema)}{needed}", lines))
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
        inner = model_in(node, schema)
        if inner:
            yield from _lines(f"{prefix}{name}.", inner, schema)
        entry = entry_of(node)
        if entry is not None and (entry_model := model_in(entry, schema)):
            yield from _lines(f"{prefix}{name}.NAME.", entry_model, schema)


def _line(field: str, node: dict[str, Any], owner: dict[str, Any], schema: dict[str, Any]) -> FieldLine:
    name = field.rsplit(".", 1)[-1]
    default = "required" if name in owner.get("required", ()) else default_words(node)
    return FieldLine(field=field, kind=kind_words(node, schema), default=default, meaning=described(node, schema))


if __name__ == "__main__":
    main()
