"""Reads a run's YAML or JSON file, and says field by field what is wrong with it."""

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from aft_contracts import DataFormat, RunSpec, SourceSpec

LONGEST_VALUE = 60


@dataclass(frozen=True, kw_only=True)
class FieldFault:
    """One field that cannot be used."""

    field: str
    given: str
    expected: str


class ConfigError(Exception):
    """A config file, or a JSON argument, cannot be used."""

    def __init__(self, source: Path | str, faults: Sequence[FieldFault]) -> None:
        self.source, self.faults = str(source), tuple(faults)
        super().__init__(f"{source}: " + "; ".join(f"{fault.field}: {fault.expected}" for fault in faults))


def read_spec(path: Path) -> RunSpec:
    """The run that `path` describes, its relative paths taken from the folder that `path` lies in.

    Raises:
        ConfigError: the file cannot be read, or some of its fields cannot be used.
    """
    values = _read_mapping(path)
    try:
        spec = RunSpec.model_validate(values)
    except ValidationError as refused:
        raise ConfigError(path, faults_of(refused, values, RunSpec)) from refused
    return _with_absolute_paths(spec, path.resolve().parent)


def faults_of(refused: ValidationError, values: Any, model: type[BaseModel]) -> list[FieldFault]:
    """What is wrong, one fault a field; the alternatives of a union are joined."""
    expected: dict[str, list[str]] = {}
    given: dict[str, str] = {}
    for error in refused.errors(include_url=False):
        parts = _written_parts(error["loc"], values, error["type"])
        field = ".".join(parts) or "(file)"
        given.setdefault(field, "nothing" if error["type"] == "missing" else _shown(error["input"]))
        words = _in_words(error["type"], error["msg"], parts, model)
        if words not in expected.setdefault(field, []):
            expected[field].append(words)
    return [
        FieldFault(field=field, given=given[field], expected=", or ".join(words)) for field, words in expected.items()
    ]


def _read_mapping(path: Path) -> dict[str, Any]:
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as unreadable:
        raise _whole_file(path, unreadable.strerror or str(unreadable), "a file that can be read") from unreadable
    except UnicodeDecodeError as binary:
        raise _whole_file(path, "bytes that are not UTF-8", "a text file in UTF-8") from binary
    except (yaml.YAMLError, ValueError) as broken:  # ValueError: a date of no calendar
        raise _whole_file(path, str(broken), "YAML or JSON") from broken
    except RecursionError as deep:
        raise _whole_file(path, "lists or mappings too deep to read", "YAML or JSON") from deep
    if not isinstance(values, dict):
        raise _whole_file(path, _shown(values), "fields and their values, as in `model: {path: …}`")
    return values


def _whole_file(path: Path, given: str, expected: str) -> ConfigError:
    return ConfigError(path, [FieldFault(field="(file)", given=given, expected=expected)])


def _with_absolute_paths(spec: RunSpec, folder: Path) -> RunSpec:
    data = spec.data
    domains = {name: domain.model_copy(update=_placed(domain, folder)) for name, domain in data.domains.items()}
    evaluation = {name: source.model_copy(update=_placed(source, folder)) for name, source in data.evaluation.items()}
    return spec.model_copy(
        update={
            "model": spec.model.model_copy(update={"path": str(_absolute(spec.model.path, folder))}),
            "data": data.model_copy(update={"domains": domains, "evaluation": evaluation}),
        }
    )


def _placed(source: SourceSpec, folder: Path) -> dict[str, str]:
    """The source's path made absolute, unless it is the id of a data set on the hub."""
    path = _absolute(source.path, folder)
    looks_like_an_id = source.path[0] not in "./~" and source.path.count("/") <= 1
    if source.format is DataFormat.DATASET and looks_like_an_id and not path.exists():
        return {}
    return {"path": str(path)}


def _absolute(given: str, folder: Path) -> Path:
    return (folder / Path(given).expanduser()).resolve()


def _written_parts(location: Sequence[str | int], values: Any, error_type: str) -> list[str]:
    # pydantic mixes the names of union members into the location; only what the user wrote belongs here.
    parts: list[str] = []
    here = values
    for depth, part in enumerate(location):
        if part in here if isinstance(here, Mapping) else isinstance(here, list) and part in range(len(here)):
            here = here[part]
        elif not (error_type == "missing" and depth == len(location) - 1):
            continue
        parts.append(str(part))
    return parts


def _in_words(error_type: str, message: str, parts: Sequence[str], model: type[BaseModel]) -> str:
    if error_type == "missing":
        return "a value: this field has no default"
    if error_type == "extra_forbidden":
        return _nearest_field(parts, model)
    if error_type in {"model_type", "dict_type"}:
        return "a mapping of fields and their values"
    if error_type == "tuple_type":
        return "a list"
    words = re.sub(r"^(Value error, )?((Input|String) should )?(be (a valid )?)?", "", message)
    return re.sub(r", unable to parse .*", "", words)


def _nearest_field(parts: Sequence[str], model: type[BaseModel]) -> str:
    *parents, name = parts
    known = _fields_at(model.model_json_schema(), parents)
    near = difflib.get_close_matches(name, known, n=1)
    if near:
        return f"a known field; did you mean {'.'.join([*parents, near[0]])}?"
    return f"a known field: {', '.join(sorted(known))}" if known else "no field of this name"


def _fields_at(schema: dict[str, Any], parents: Sequence[str]) -> list[str]:
    node = schema
    for parent in parents:
        node = _resolved(_child(node, parent), schema)
    return list(node.get("properties", {}))


def _child(node: dict[str, Any], name: str) -> dict[str, Any]:
    named: dict[str, Any] | None = node.get("properties", {}).get(name)
    by_pattern = next(iter(node.get("patternProperties", {}).values()), None)
    return named or by_pattern or node.get("additionalProperties") or {}


def _resolved(node: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    reference = next((option["$ref"] for option in (node, *node.get("anyOf", ())) if "$ref" in option), None)
    target: dict[str, Any] = schema["$defs"][reference.rsplit("/", 1)[-1]] if reference else node
    return target


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= LONGEST_VALUE else text[: LONGEST_VALUE - 1] + "…"
