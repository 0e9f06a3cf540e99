"""Messages: a conversation as a list of roles and contents, whichever dialect it is written in."""

import json
from typing import Any

from aft_worker.data.content import Message
from aft_worker.data.values import Unexpected, kind_of, text_of

ROLES = {
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "assistant": "assistant",
    "model": "assistant",
    "bot": "assistant",
    "system": "system",
    "tool": "tool",
    "function": "tool",
    "observation": "tool",
}
"""Roles by the names that ShareGPT's `from` has for them."""

PLAIN_KEYS = ("role", "content")
"""What every message has."""


def messages_of(column: str, value: Any) -> tuple[Message, ...]:
    """The messages of a column: a list, or the same list as JSON text, as CSV has to carry it.

    Keys that are null are left out: Parquet gives every message the keys of all.
    """
    expected = f"`{column}`: a list of objects, each with the strings `role` and `content`, or `from` and `value`"
    if isinstance(value, str) and value:
        value = _parsed(column, value)
    if not isinstance(value, list) or not value:
        raise Unexpected(f"`{column}` that is {kind_of(value)}", expected)
    return tuple(_message(f"{column}[{index}]", index, message, expected) for index, message in enumerate(value))


def _parsed(column: str, text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Unexpected(f"`{column}` that is text but not JSON", f"`{column}` to be a list of messages") from error


def _message(name: str, index: int, message: Any, expected: str) -> Message:
    if not isinstance(message, dict):
        raise Unexpected(f"a message {index} that is {kind_of(message)}", expected)
    if "role" not in message and "from" in message:
        speaker = text_of(f"{name}.from", message["from"])
        if speaker.lower() not in ROLES:
            raise Unexpected(f"`{name}.from` that is nobody's name", f"one of {', '.join(ROLES)}")
        return {"role": ROLES[speaker.lower()], "content": text_of(f"{name}.value", message.get("value"))}
    for key in PLAIN_KEYS:
        text_of(f"{name}.{key}", message.get(key))
    known: Message = _without_nulls(message)
    if len(known) > len(PLAIN_KEYS):
        # Templates write out other keys too, such as tool calls; they must be text that a tokenizer takes.
        text_of(name, json.dumps(known, ensure_ascii=False, default=str))
    return known


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(inner) for key, inner in value.items() if inner is not None}
    return [_without_nulls(inner) for inner in value] if isinstance(value, list) else value
