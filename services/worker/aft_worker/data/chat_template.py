"""Chat templates: conversation to text, and where in that text the assistant speaks."""

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

from jinja2 import TemplateError, nodes
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

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

TEMPLATE_DATE = date(2024, 7, 26)
"""What `strftime_now` answers: a template that prints the day would otherwise train on other tokens after midnight."""

Message = Mapping[str, Any]


class UnrenderableChat(Exception):
    """The template refuses a conversation, or renders it so that the assistant's turns cannot be traced."""


class ChatTemplate:
    """A model's chat template, rendered as transformers renders it."""

    def __init__(self, source: str, special_tokens: Mapping[str, str]) -> None:
        self.special_tokens = {"bos_token": "", "eos_token": "", **special_tokens}
        try:
            self._template = _environment().from_string(source)
        except TemplateError as error:
            raise TokenizerUnusable(f"The chat template cannot be parsed: {error}. Repair or remove it.") from error

    def render(self, messages: Sequence[Message], *, add_generation_prompt: bool = False) -> str:
        """The conversation as text.

        Raises:
            UnrenderableChat: the template refuses these messages.
        """
        try:
            return self._template.render(
                messages=list(messages), add_generation_prompt=add_generation_prompt, **self.special_tokens
            )
        # Besides its own errors a template raises whatever its expressions do, such as TypeError on an odd message.
        except (TemplateError, TypeError, ValueError, LookupError, AttributeError, ArithmeticError) as error:
            raise UnrenderableChat(f"a conversation the chat template refuses ({error})") from error

    def assistant_spans(self, messages: Sequence[Message]) -> tuple[str, list[tuple[int, int]]]:
        """The conversation as text, and (start, end) in characters of everything the assistant has to write.

        A turn begins where the text before it ends, generation prompt included, and ends where the text with it ends.
        """
        whole = self.render(messages)
        spans = [
            self._span(whole, messages, turn) for turn, message in enumerate(messages) if message["role"] == "assistant"
        ]
        return whole, spans

    def _span(self, whole: str, messages: Sequence[Message], turn: int) -> tuple[int, int]:
        # Many templates look at messages[0], so there is no rendering before the first turn to compare with.
        before = self.render(messages[:turn], add_generation_prompt=True) if turn else ""
        until = self.render(messages[: turn + 1])
        if turn and whole.startswith(before) and whole.startswith(until) and len(before) <= len(until):
            return len(before), len(until)
        return _traced(whole, before, until, messages[turn]["content"].strip(), turn)


def _traced(whole: str, before: str, until: str, content: str, turn: int) -> tuple[int, int]:
    """The span of a turn that reads otherwise when it is the last (Qwen 3 adds an empty thought there)."""
    start = len(before) if whole.startswith(before) else 0
    found, in_until = whole.find(content, start), until.rfind(content)
    if not content or found < 0 or in_until < 0:
        raise UnrenderableChat(f"a turn {turn} that the chat template does not render in one piece")
    end = found + len(content)
    closing = until[in_until + len(content) :]
    return (start or found), (end + len(closing) if whole.startswith(closing, end) else end)


def load_chat_template(model_dir: Path, tokenizer_config: Mapping[str, Any]) -> ChatTemplate:
    """The template beside the tokenizer or inside its config; the plain one for a model without."""
    special_tokens = {
        key: token["content"] if isinstance(token, dict) else token
        for key, token in tokenizer_config.items()
        if key.endswith("_token") and (isinstance(token, str) or (isinstance(token, dict) and "content" in token))
    }
    beside = model_dir / "chat_template.jinja"
    if beside.is_file():
        return ChatTemplate(beside.read_text(encoding="utf-8"), special_tokens)
    inside = tokenizer_config.get("chat_template")
    if isinstance(inside, list):
        inside = {entry["name"]: entry["template"] for entry in inside}.get("default")
    return ChatTemplate(inside or PLAIN_TEMPLATE, special_tokens)


def _environment() -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_GenerationTag, "jinja2.ext.loopcontrols"]
    )
    environment.globals["raise_exception"] = _raise_exception
    environment.globals["strftime_now"] = TEMPLATE_DATE.strftime
    environment.filters["tojson"] = _to_json
    return environment


def _raise_exception(message: str) -> None:
    raise TemplateError(message)


def _to_json(value: Any, indent: int | None = None, **options: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent, **options)


class _GenerationTag(Extension):
    """Reads `{% generation %}…{% endgeneration %}` as its body: spans come from rendering, not from the tag."""

    tags = {"generation"}

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.CallBlock(self.call_method("_body"), [], [], body).set_lineno(line)

    def _body(self, caller: Callable[[], str]) -> str:
        return caller()
