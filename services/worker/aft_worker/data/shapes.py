"""Shapes: which columns of a row hold what it teaches, told by their names or mapped by the config."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from aft_contracts import ColumnMap
from aft_worker.data.content import Chat, Completion, Content, Text
from aft_worker.data.messages import messages_of
from aft_worker.data.values import Unexpected, text_of

Fields = Mapping[str, Any]


class Shape(Protocol):
    """One way to write a row down."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns that such a row has; the last one is what is learned."""

    def read(self, fields: Fields) -> Content:
        """The row's content.

        Raises:
            Unexpected: a column does not hold what it should.
        """


@dataclass(frozen=True)
class ChatShape:
    """A conversation in one column."""

    column: str

    @property
    def columns(self) -> tuple[str, ...]:
        """The conversation's column."""
        return (self.column,)

    def read(self, fields: Fields) -> Content:
        """The conversation."""
        return Chat(messages=messages_of(self.column, fields.get(self.column)))


@dataclass(frozen=True)
class CompletionShape:
    """A prompt and its answer: both text, to be joined as they stand, or both lists of messages."""

    prompt: str = "prompt"
    completion: str = "completion"

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of prompt and answer."""
        return (self.prompt, self.completion)

    def read(self, fields: Fields) -> Content:
        """Prompt and answer."""
        prompt, completion = fields.get(self.prompt), fields.get(self.completion)
        if isinstance(prompt, list) and isinstance(completion, list):
            given = messages_of(self.prompt, prompt)
            return Chat(messages=given + messages_of(self.completion, completion), prompt_turns=len(given))
        return Completion(prompt=text_of(self.prompt, prompt), completion=text_of(self.completion, completion))


@dataclass(frozen=True)
class AlpacaShape:
    """Alpaca's instruction, perhaps with an input, and the output (Taori et al., 2023), as a chat of two turns."""

    columns: tuple[str, ...] = ("instruction", "output")

    def read(self, fields: Fields) -> Content:
        """The instruction, and the input after an empty line, as the user's turn; the output as the assistant's."""
        asked = [text_of("instruction", fields.get("instruction"))]
        if fields.get("input"):
            asked.append(text_of("input", fields["input"]))
        answer = text_of("output", fields.get("output"))
        turns = ({"role": "user", "content": "\n\n".join(asked)}, {"role": "assistant", "content": answer})
        return Chat(messages=turns)


@dataclass(frozen=True)
class TextShape:
    """Plain text in one column."""

    column: str = "text"

    @property
    def columns(self) -> tuple[str, ...]:
        """The text's column."""
        return (self.column,)

    def read(self, fields: Fields) -> Content:
        """The text."""
        return Text(text=text_of(self.column, fields.get(self.column)))


USUAL: tuple[Shape, ...] = (
    ChatShape("messages"),
    ChatShape("conversations"),
    CompletionShape(),
    AlpacaShape(),
    TextShape(),
)
"""Shapes that are looked for, in this order."""


def shapes_of(columns: ColumnMap) -> tuple[Shape, ...]:
    """The shapes to look for: the one that the config maps, or else the usual ones."""
    if columns.messages:
        return (ChatShape(columns.messages),)
    if columns.prompt or columns.completion:
        return (CompletionShape(columns.prompt or "prompt", columns.completion or "completion"),)
    return (TextShape(columns.text),) if columns.text else USUAL


def read_content(fields: Fields, shapes: Sequence[Shape]) -> Content:
    """The row's content, by the first shape that fits.

    A column that is null, or has nothing to learn in it, is as good as absent where another shape fits.

    Raises:
        Unexpected: no shape fits, or the one that does is filled wrongly.
    """
    for fits in (_is_filled, _is_given, _is_named):
        for shape in shapes:
            if fits(shape, fields):
                return shape.read(fields)
    expected = ", or ".join(" and ".join(f"`{column}`" for column in shape.columns) for shape in shapes)
    raise Unexpected(f"an object with the keys {sorted(map(str, fields))[:8]}", f"an object with {expected}")


def columns_read(columns: ColumnMap) -> frozenset[str]:
    """Every column that a row of this source may be read from."""
    named = {column for shape in shapes_of(columns) for column in shape.columns}
    return frozenset(named | {"input", columns.id or "id", columns.weight or "weight"})


def _is_filled(shape: Shape, fields: Fields) -> bool:
    return _is_given(shape, fields) and fields[shape.columns[-1]] not in ("", [])


def _is_given(shape: Shape, fields: Fields) -> bool:
    return all(fields.get(column) is not None for column in shape.columns)


def _is_named(shape: Shape, fields: Fields) -> bool:
    return all(column in fields for column in shape.columns)
