"""Rows of a JSONL file: chat, prompt with completion, or plain text, told apart by their keys."""

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aft_worker.data.errors import BadRow, DataFileMissing

EXPECTED = "an object with `messages`, or `prompt` and `completion`, or `text`"
MAX_WEIGHT = 3.4028234663852886e38
"""Largest float32: loss weights are float32, and a weight must reach the loss as it was given."""


@dataclass(frozen=True, kw_only=True)
class Chat:
    """A conversation; loss is taken on the assistant's turns."""

    messages: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True, kw_only=True)
class Completion:
    """A prompt and its answer; loss is taken on the answer."""

    prompt: str
    completion: str


@dataclass(frozen=True, kw_only=True)
class Text:
    """Plain text; loss is taken on all of it."""

    text: str


@dataclass(frozen=True, kw_only=True)
class Row:
    """One training row as it stands in its file."""

    line: int
    """Line of the file, counted from 1."""
    sample_id: str
    """The row's own `id`, or the hash of its content; rows of equal content share that hash and are one sample."""
    is_named: bool
    """Whether the id is the row's own."""
    weight: float
    """Factor on the row's loss weights."""
    content: Chat | Completion | Text


def read_rows(path: Path) -> Iterator[Row | BadRow]:
    """Every row of a JSONL file in file order, or what is wrong with it; empty lines are passed over.

    Keys beyond the expected ones are ignored. Where a row has more than one form, `messages` goes before `prompt` and
    `completion`, and those before `text`.

    Raises:
        DataFileMissing: there is no such file.
    """
    if not path.is_file():
        raise DataFileMissing(f"Data file {str(path)!r} does not exist on the worker; check the path.", path=str(path))
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                try:
                    yield _row(path, number, line)
                except BadRow as bad:
                    yield bad


def _row(path: Path, line: int, raw: bytes) -> Row:
    def bad(found: str, expected: str = EXPECTED) -> BadRow:
        return BadRow(str(path), line, found, expected)

    try:
        fields = json.loads(raw.decode("utf-8-sig"))
    # Deep nesting ends the parser in a RecursionError; for the row that is only another way of being unreadable.
    except (ValueError, RecursionError) as error:
        raise bad(f"something that is not JSON ({type(error).__name__})") from error
    if not isinstance(fields, dict):
        raise bad(f"JSON of type {type(fields).__name__}")
    try:
        content, kept = _content(fields)
        weight = _weight(fields.get("weight", 1.0))
        named = _own_id(fields.get("id"))
    except _Unexpected as unexpected:
        raise bad(*unexpected.args) from unexpected
    return Row(
        line=line,
        sample_id=named or _content_hash(kept, weight),
        is_named=named is not None,
        weight=weight,
        content=content,
    )


class _Unexpected(Exception):
    """What was found in a row; and, unless it is the usual, what was expected."""


def _content(fields: dict[str, Any]) -> tuple[Chat | Completion | Text, dict[str, Any]]:
    """The row's content, and the fields it was read from."""
    if "messages" in fields:
        return Chat(messages=_messages(fields["messages"])), {"messages": fields["messages"]}
    if "prompt" in fields and "completion" in fields:
        prompt, completion = (_text(key, fields[key]) for key in ("prompt", "completion"))
        return Completion(prompt=prompt, completion=completion), {"prompt": prompt, "completion": completion}
    if "text" in fields:
        text = _text("text", fields["text"])
        return Text(text=text), {"text": text}
    raise _Unexpected(f"an object with the keys {sorted(fields)[:8]}")


def _messages(messages: Any) -> tuple[Mapping[str, Any], ...]:
    expected = "`messages`: a list of objects, each with the strings `role` and `content`"
    if not isinstance(messages, list) or not messages:
        raise _Unexpected(f"`messages` that is {_kind(messages)}", expected)
    for index, message in enumerate(messages):
        if not isinstance(message, dict):
            raise _Unexpected(f"a message {index} that is {_kind(message)}", expected)
        for key in ("role", "content"):
            _text(f"messages[{index}].{key}", message.get(key))
    return tuple(messages)


def _text(key: str, value: Any) -> str:
    if not isinstance(value, str):
        raise _Unexpected(f"`{key}` that is {_kind(value)}", f"`{key}` to be a string")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise _Unexpected(f"`{key}` with half of a surrogate pair", f"`{key}` to be valid Unicode") from error
    return value


def _weight(value: Any) -> float:
    expected = f"`weight` to be a number from 0 to {MAX_WEIGHT:.4g}"
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _Unexpected(f"`weight` that is {_kind(value)}", expected)
    if not math.isfinite(value) or not 0 <= value <= MAX_WEIGHT:
        raise _Unexpected(f"`weight` {value}", expected)
    return float(value)


def _own_id(value: Any) -> str | None:
    expected = "`id` to be a string that is not empty, or a whole number"
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | str) or value == "":
        raise _Unexpected(f"`id` that is {_kind(value)}", expected)
    return _text("id", str(value))


def _content_hash(kept: dict[str, Any], weight: float) -> str:
    canonical = json.dumps(kept | {"weight": weight}, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def _kind(value: Any) -> str:
    """The type of a value, in words; never the value, which may be a person's text."""
    if value is None:
        return "missing or null"
    return f"an empty {type(value).__name__}" if value in ("", [], {}) else f"of type {type(value).__name__}"
