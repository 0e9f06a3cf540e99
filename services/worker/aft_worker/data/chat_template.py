"""Chat templates: conversation to text, and where in that text the assistant speaks."""

import re
from collections.abc import Mapping, Sequence

from jinja2 import TemplateError, UndefinedError
from jinja2.exceptions import SecurityError

from aft_worker.data.content import Message
from aft_worker.data.errors import TokenizerUnusable
from aft_worker.data.template_sandbox import MOST_TURNS, TemplateEnvironment

MARK_CANDIDATES = [chr(point) for point in range(0xFDD0, 0xFDF0)]
"""Code points that Unicode keeps free of characters for inside use."""

TYPE_NAMES = {"bool", "dict", "float", "int", "list", "str", "tuple"}
"""What Jinja's errors quote besides names from the template."""

Span = tuple[int, int]
"""Start and end in characters."""


class UnrenderableChat(Exception):
    """The template refuses a conversation, or renders it so that the assistant's turns cannot be traced."""


class ChatTemplate:
    """A model's chat template, rendered as transformers renders it."""

    def __init__(self, source: str, special_tokens: Mapping[str, str]) -> None:
        self.source = source
        self.special_tokens = {"bos_token": "", "eos_token": "", **special_tokens}
        self._environment = TemplateEnvironment()
        try:
            self._template, self._words = self._environment.compiled(source)
        except (TemplateError, RecursionError) as error:
            raise TokenizerUnusable(f"The chat template cannot be parsed: {error}. Repair or remove it.") from error

    @property
    def has_generation_tags(self) -> bool:
        """Whether the template itself says what the assistant writes."""
        return self._environment.has_generation_tags

    def render(self, messages: Sequence[Message], *, add_generation_prompt: bool = False) -> str:
        """The conversation as text.

        Raises:
            UnrenderableChat: the template refuses these messages.
        """
        self._environment.turns_left = MOST_TURNS
        try:
            return self._template.render(
                messages=list(messages), add_generation_prompt=add_generation_prompt, **self.special_tokens
            )
        # Besides its own errors a template raises whatever its expressions do, such as TypeError on an odd message.
        except (TemplateError, TypeError, ValueError, LookupError, AttributeError, ArithmeticError) as error:
            raise UnrenderableChat(f"a conversation the chat template refuses ({self._words_of(error)})") from error
        except (RecursionError, MemoryError) as error:
            raise UnrenderableChat("a conversation on which the chat template never ends") from error

    def assistant_spans(self, messages: Sequence[Message], *, from_turn: int = 0) -> tuple[str, list[Span]]:
        """The conversation as text, and the spans of everything the assistant has to write from message `from_turn` on.

        With generation tags the spans are what stands between them. Without, a turn begins where the text before it
        ends, generation prompt included, and ends where the text with it ends.

        Raises:
            UnrenderableChat: the template refuses these messages, or a turn cannot be traced.
        """
        whole = self.render(messages)
        turns = [turn for turn, message in enumerate(messages) if message["role"] == "assistant"]
        if not self.has_generation_tags:
            return whole, [self._span(whole, messages, turn) for turn in turns if turn >= from_turn]
        spans = self._tagged_spans(whole, messages)
        if from_turn and len(spans) != len(turns):
            raise UnrenderableChat(f"{len(turns)} assistant turns that the template's tags cut into {len(spans)}")
        return whole, spans if not from_turn else [
            span for turn, span in zip(turns, spans, strict=True) if turn >= from_turn
        ]

    def _tagged_spans(self, whole: str, messages: Sequence[Message]) -> list[Span]:
        before, after = self._environment.marks = _free_marks(whole)
        try:
            marked = self.render(messages)
        finally:
            self._environment.marks = ("", "")
        pieces = re.split(f"([{before}{after}])", marked)
        if "".join(pieces[::2]) != whole or pieces[1::2] != [before, after] * (len(pieces) // 4):
            raise UnrenderableChat("generation tags that the chat template nests or works on further")
        ends = [0]
        for piece in pieces[::2]:
            ends.append(ends[-1] + len(piece))
        return list(zip(ends[1:-1:2], ends[2::2], strict=True))

    def _span(self, whole: str, messages: Sequence[Message], turn: int) -> Span:
        # Many templates look at messages[0], so there is no rendering before the first turn to compare with.
        before = self.render(messages[:turn], add_generation_prompt=True) if turn else ""
        until = self.render(messages[: turn + 1])
        if turn and whole.startswith(before) and whole.startswith(until) and len(before) <= len(until):
            return len(before), len(until)
        return self._traced(whole, before, messages, turn)

    def _traced(self, whole: str, before: str, messages: Sequence[Message], turn: int) -> Span:
        """The span of a turn that reads otherwise when it is the last, as in Qwen 3, which adds an empty thought there.

        A mark in place of the turn's content shows what the template writes before and behind it.
        """
        mark, _ = _free_marks(whole)
        until = [*messages[:turn], {**messages[turn], "content": mark}]
        marked = self.render([*until, *messages[turn + 1 :]])
        ahead, _, behind = marked.partition(mark)
        is_whole = whole.startswith(ahead) and whole.endswith(behind) and len(ahead) + len(behind) <= len(whole)
        if marked.count(mark) != 1 or not is_whole:
            raise UnrenderableChat(f"a turn {turn} that the chat template does not render in one piece")
        has_prompt = bool(before) and ahead.startswith(before)
        start, end = len(before) if has_prompt else len(ahead), len(whole) - len(behind)
        closing = self.render(until).rpartition(mark)[2]
        return start, end + len(closing) if behind.startswith(closing) else end

    def _words_of(self, error: Exception) -> str:
        """The error in words that stem from the template alone: a conversation's text is not repeated."""
        words = str(error)
        if words in self._words:
            return words
        if isinstance(error, UndefinedError | SecurityError):
            quoted = re.findall(r"'([^']*)'", words)
            if all(
                name in self.source or name.endswith(" object") or name in {"list", "dict", "str"} for name in quoted
            ):
                return words
        return type(error).__name__


def _free_marks(text: str) -> tuple[str, str]:
    free = [mark for mark in MARK_CANDIDATES if mark not in text]
    if len(free) < 2:
        raise UnrenderableChat("every code point that could mark a turn")
    return free[0], free[1]
