"""Shapes: which columns a row is read from, in which dialect, and under which names."""

from typing import Any

import pytest
from pydantic import ValidationError

from aft_contracts import ColumnMap
from aft_worker.data.content import Chat, Completion, Content, Text, content_hash
from aft_worker.data.shapes import columns_read, read_content, shapes_of
from aft_worker.data.values import Unexpected

ASKED = {"role": "user", "content": "1 + 1?"}
ANSWERED = {"role": "assistant", "content": "2"}
DIALOG = Chat(messages=(ASKED, ANSWERED))


def read(fields: dict[str, Any], **columns: str) -> Content:
    return read_content(fields, shapes_of(ColumnMap(**columns)))


@pytest.mark.parametrize(
    ("fields", "content"),
    [
        ({"messages": [ASKED, ANSWERED]}, DIALOG),
        ({"messages": '[{"role": "user", "content": "1 + 1?"}, {"role": "assistant", "content": "2"}]'}, DIALOG),
        ({"conversations": [{"from": "human", "value": "1 + 1?"}, {"from": "gpt", "value": "2"}]}, DIALOG),
        ({"conversations": [ASKED, ANSWERED], "text": "x"}, DIALOG),
        (
            {"conversations": [{"from": "system", "value": "s"}, {"from": "observation", "value": "t", "weight": 1}]},
            Chat(messages=({"role": "system", "content": "s"}, {"role": "tool", "content": "t"})),
        ),
        ({"prompt": "1 + 1 =", "completion": " 2"}, Completion(prompt="1 + 1 =", completion=" 2")),
        ({"prompt": [ASKED], "completion": [ANSWERED]}, Chat(messages=(ASKED, ANSWERED), prompt_turns=1)),
        ({"instruction": "1 + 1?", "input": "", "output": "2"}, DIALOG),
        ({"instruction": "1 + 1?", "output": "2"}, DIALOG),
        (
            {"instruction": "Add.", "input": "1, 1", "output": "2"},
            Chat(messages=({"role": "user", "content": "Add.\n\n1, 1"}, ANSWERED)),
        ),
        ({"text": "abc", "label": 3}, Text(text="abc")),
    ],
)
def test_a_row_is_told_by_its_columns(fields: dict[str, Any], content: Content) -> None:
    assert read(fields) == content


def test_a_column_without_a_value_gives_way_to_another_shape() -> None:
    sparse = {"messages": None, "conversations": None, "prompt": None, "completion": None, "instruction": None}
    assert read(sparse | {"output": None, "text": "abc"}) == Text(text="abc")
    assert read({"prompt": "", "completion": "", "text": "abc"}) == Text(text="abc")
    assert read({"prompt": "a", "completion": "", "messages": None}) == Completion(prompt="a", completion="")


def test_null_keys_of_a_message_are_left_out() -> None:
    from_parquet = {"role": "user", "content": "1 + 1?", "name": None, "calls": [{"id": None, "n": 1}]}
    chat = read({"messages": [from_parquet]})
    assert chat == Chat(messages=({**ASKED, "calls": [{"n": 1}]},))
    assert content_hash(chat) == content_hash(Chat(messages=({**ASKED, "calls": [{"n": 1.0}]},)))


@pytest.mark.parametrize(
    ("columns", "content"),
    [
        ({"messages": "dialog"}, DIALOG),
        ({"prompt": "question", "completion": "answer"}, Completion(prompt="q", completion="a")),
        ({"prompt": "question"}, Completion(prompt="q", completion="c")),
        ({"completion": "answer"}, Completion(prompt="p", completion="a")),
        ({"text": "body"}, Text(text="b")),
    ],
)
def test_mapped_columns_go_before_the_usual_ones(columns: dict[str, str], content: Content) -> None:
    row = {"dialog": [ASKED, ANSWERED], "question": "q", "answer": "a", "body": "b", "prompt": "p", "completion": "c"}
    assert read(row | {"messages": [ASKED], "text": "t"}, **columns) == content


def test_a_mapped_column_that_is_absent_is_named() -> None:
    with pytest.raises(Unexpected) as caught:
        read({"messages": [ASKED], "text": "t"}, prompt="question", completion="answer")
    assert caught.value.found == "an object with the keys ['messages', 'text']"
    assert caught.value.expected == "an object with `question` and `answer`"


def test_a_map_names_one_shape() -> None:
    with pytest.raises(ValidationError, match="a row has one shape"):
        ColumnMap(messages="a", text="b")
    assert columns_read(ColumnMap(text="body", id="key")) == {"body", "input", "key", "weight"}


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        ({"messages": "secret"}, "`messages` that is text but not JSON"),
        ({"messages": [{"role": "user", "content": ["secret"]}]}, "`messages[0].content` that is of type list"),
        ({"messages": [{**ASKED, "name": "\ud800"}]}, "`messages[0]` with half of a surrogate pair"),
        ({"conversations": [{"from": "secret", "value": "x"}]}, "`conversations[0].from` that is nobody's name"),
        ({"conversations": [{"from": "gpt"}]}, "`conversations[0].value` that is missing or null"),
        ({"prompt": [ASKED], "completion": "secret"}, "`prompt` that is of type list"),
        ({"instruction": "a", "output": 3}, "`output` that is of type int"),
        ({"text": None}, "`text` that is missing or null"),
    ],
)
def test_what_does_not_fit_is_said_without_the_text(fields: dict[str, Any], found: str) -> None:
    with pytest.raises(Unexpected) as caught:
        read(fields)
    assert caught.value.found == found
    assert "secret" not in str(caught.value)
