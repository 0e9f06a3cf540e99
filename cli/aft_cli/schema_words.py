"""A JSON schema in the words of a table: types, limits, defaults, meanings."""

import json
from typing import Any

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
FORMATS = {"password": "secret", "path": "path", "ipvanynetwork": "network"}


def default_words(node: dict[str, Any]) -> str:
    """A field's default."""
    value = node.get("default")
    if isinstance(value, dict) and value:
        return "its fields' defaults"
    return f"`{json.dumps(value)}`"


def described(node: dict[str, Any], schema: dict[str, Any]) -> str:
    """What a field means, on one line of a table."""
    words: str = node.get("description") or (model_in(node, schema) or {}).get("description", "")
    return " ".join(words.split()).replace("|", "\\|")


def kind_words(node: dict[str, Any], schema: dict[str, Any]) -> str:
    """A field's type and limits."""
    if "anyOf" in node:
        return " or ".join(kind_words(option, schema) for option in node["anyOf"])
    if "$ref" in node:
        target = _target(node, schema)
        return kind_words(target, schema) if "enum" in target else "fields below"
    if "const" in node:
        return f"`{node['const']}`"
    if "enum" in node:
        return ", ".join(f"`{value}`" for value in node["enum"])
    entry = entry_of(node)
    if entry is not None:
        kind = f"mapping of names to {kind_words(entry, schema)}"
    elif node.get("type") == "array":
        kind = f"list of {kind_words(node.get('items', {}), schema)}"
    else:
        kind = FORMATS.get(node.get("format", ""), str(node.get("type", "any")))
    limits = [words.format(f"{node[key]:,}") for key, words in LIMITS.items() if key in node]
    return ", ".join([kind, *limits])


def entry_of(node: dict[str, Any]) -> dict[str, Any] | None:
    """The schema of a mapping's values, where `node` is a mapping with free names."""
    by_pattern: dict[str, Any] | None = next(iter(node.get("patternProperties", {}).values()), None)
    free = node.get("additionalProperties")
    return by_pattern or (free if isinstance(free, dict) else None)


def model_in(node: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any] | None:
    """The schema of the fields below a field, where it has some."""
    for option in (node, *node.get("anyOf", ())):
        if "$ref" in option and "properties" in (target := _target(option, schema)):
            return target
    return None


def _target(node: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    target: dict[str, Any] = schema["$defs"][node["$ref"].rsplit("/", 1)[-1]]
    return target
