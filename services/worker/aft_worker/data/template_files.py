"""Template files: where models keep their chat template, of which there may be several."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aft_worker.data.chat_template import ChatTemplate
from aft_worker.data.errors import TokenizerUnusable

PLAIN_TEMPLATE = (
    "{{ bos_token }}"
    "{% for message in messages %}"
    "{{ message['role'] + ': ' + message['content'] }}"
    "{{ eos_token if message['role'] == 'assistant' }}{{ '\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ 'assistant:' }}{% endif %}"
)
"""Used for a model that brings no template: a line `role: content` a turn, the assistant's closed by end-of-text."""


def load_chat_template(model_dir: Path, tokenizer_config: Mapping[str, Any]) -> ChatTemplate:
    """The model's template; the plain one for a model without.

    `chat_template.jinja` goes before `chat_template.json`, and both before what the tokenizer's config holds. Of
    several, the one that is named `default` counts; `additional_chat_templates/NAME.jinja` are such others.

    Raises:
        TokenizerUnusable: a template cannot be read, or there are several and none is the default.
    """
    special_tokens = {
        key: token["content"] if isinstance(token, dict) else token
        for key, token in tokenizer_config.items()
        if key.endswith("_token")
        and (isinstance(token, str) or (isinstance(token, dict) and isinstance(token.get("content"), str)))
    }
    return ChatTemplate(_source(model_dir, tokenizer_config), special_tokens)


def _source(model_dir: Path, tokenizer_config: Mapping[str, Any]) -> str:
    if (beside := model_dir / "chat_template.jinja").is_file():
        return _text(beside)
    named = _named(tokenizer_config.get("chat_template"), model_dir / "tokenizer_config.json")
    if (older := model_dir / "chat_template.json").is_file():
        named |= _named(_json_template(older), older)
    others = {file.stem: file for file in model_dir.glob("additional_chat_templates/*.jinja")}
    if "default" not in named and "default" in others:
        named["default"] = _text(others["default"])
    if "default" in named or not {*named, *others}:
        return named.get("default") or PLAIN_TEMPLATE
    raise TokenizerUnusable(
        f"{model_dir} has the chat templates {sorted({*named, *others})} and none that is named `default`; "
        "copy the one to train with to chat_template.jinja.",
        path=str(model_dir),
    )


def _named(given: Any, path: Path) -> dict[str, str]:
    """Templates by name, from any of the forms that configs have had: one text, a mapping, a list of named ones."""
    if given is None:
        return {}
    if isinstance(given, str):
        return {"default": given}
    if isinstance(given, list) and all(
        isinstance(one, dict) and "template" in one and isinstance(one.get("name"), str) for one in given
    ):
        given = {one["name"]: one["template"] for one in given}
    if isinstance(given, dict) and all(isinstance(template, str) for template in given.values()):
        return dict(given)
    raise TokenizerUnusable(
        f"{path}: chat_template is {type(given).__name__}; it must be a text, a mapping of names to texts, or a list "
        "of objects with `name` and `template`.",
        path=str(path),
    )


def _json_template(path: Path) -> Any:
    try:
        fields = json.loads(_text(path))
    except (ValueError, RecursionError) as error:
        raise TokenizerUnusable(f"{path} is not JSON; repair or remove it.", path=str(path)) from error
    return fields.get("chat_template") if isinstance(fields, dict) else fields


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise TokenizerUnusable(f"{path} is not UTF-8; repair or remove it.", path=str(path)) from error
