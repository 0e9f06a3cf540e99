"""Writes docs/SETTINGS.md from the settings of the API and the worker: `python -m aft_cli.settings_docs [FILE]`."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic_settings import BaseSettings

from aft_cli.schema_words import described, kind_words

DEFAULT_FILE = Path("docs/SETTINGS.md")
HEAD = """# Settings of the processes

Environment variables, read once when a process starts. Lists and mappings are given as JSON. What a run does is said by
its spec and not here: [CONFIG.md](CONFIG.md).

This page is generated from the settings by `make docs`; a test keeps it true.
"""
COMMAND_LINE = """## The command line

| variable | type | default | meaning |
|---|---|---|---|
| `AFT_API_URL` | string | `http://127.0.0.1:8800` | The API's base URL; `--api` overrides it. |
| `AFT_TOKEN` | secret | unset | What it sends as `Authorization: Bearer …`, where the API asks for tokens. |
"""


def settings_page() -> str:
    """The whole page, in Markdown."""
    # Only here: the command line does without the services.
    from aft_api.settings import Settings
    from aft_worker.settings import WorkerSettings

    tables = [
        _table("The API", "`python -m aft_api`", Settings),
        _table("A worker", "`python -m aft_worker`", WorkerSettings),
    ]
    return "\n".join([HEAD, *tables, COMMAND_LINE])


def main() -> None:
    """Write the page."""
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else DEFAULT_FILE
    target.write_text(settings_page(), encoding="utf-8")


def _table(title: str, command: str, settings: type[BaseSettings]) -> str:
    schema = settings.model_json_schema()
    prefix = settings.model_config["env_prefix"]
    lines = [f"| `{prefix}{name.upper()}` | {words} |" for name, words in _lines(schema)]
    head = ["| variable | type | default | meaning |", "|---|---|---|---|"]
    return "\n".join([f"## {title}", f"{command}. {schema['description']}", "", *head, *lines, ""])


def _lines(schema: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for name, node in schema["properties"].items():
        kinds = [kind_words(option, schema) for option in node.get("anyOf", [node]) if option.get("type") != "null"]
        yield name, f"{' or '.join(kinds)} | {_default(node)} | {described(node, schema)}"


def _default(node: dict[str, Any]) -> str:
    value = node.get("default")
    if "default" not in node:
        return "see there"
    if value is None:
        return "unset"
    return f"`{value if isinstance(value, str) else json.dumps(value)}`"


if __name__ == "__main__":
    main()
