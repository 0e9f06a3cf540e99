"""Content: what a row teaches, once it is understood: a chat, a prompt with its completion, or plain text."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Message = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Chat:
    """A conversation; loss is taken on the assistant's turns."""

    messages: tuple[Message, ...]
    """Each with `role` and `content`, and whatever else the chat template may look at; no key is null."""
    prompt_turns: int = 0
    """Messages at the beginning that are given, so that no loss is taken on them."""


@dataclass(frozen=True, kw_only=True)
class Completion:
    """A prompt and its answer; loss is taken on the answer."""

    prompt: str
    completion: str


@dataclass(frozen=True, kw_only=True)
class Text:
    """Plain text; loss is taken on all of it."""

    text: str


Content = Chat | Completion | Text


def content_hash(content: Content, **more: Any) -> str:
    """The first 64 bits of the sha256 of the content's canonical JSON, in hex, and of `more` beside it.

    It does not depend on the file format: an absent key and a null one are the same, and so are 1 and 1.0.
    """
    canonical = json.dumps(_parts(content) | more, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def _parts(content: Content) -> dict[str, Any]:
    match content:
        case Chat(messages=messages, prompt_turns=0):
            return {"messages": _canonical(messages)}
        case Chat(messages=messages, prompt_turns=turns):
            return {"prompt": _canonical(messages[:turns]), "completion": _canonical(messages[turns:])}
        case Completion(prompt=prompt, completion=completion):
            return {"prompt": prompt, "completion": completion}
        case Text(text=text):
            return {"text": text}


def _canonical(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _canonical(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_canonical(inner) for inner in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
