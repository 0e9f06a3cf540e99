"""Question-and-answer rows from the real conversations in the package chitchat_dataset (MIT, BYU PCC lab)."""

import json
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from itertools import pairwise
from typing import Any

SYSTEM_TEXT = "You are a friendly person chatting."
QUESTION_WORDS = range(5, 23)
ANSWER_WORDS = range(16, 29)
MACHINE_TOPICS = ("computer", "internet", "flying car", "artificial", "robot")


@dataclass(frozen=True, kw_only=True)
class ChatRow:
    """One exchange: what was said, and the answer that is trained on."""

    row_id: str
    question: str
    answer: str

    def as_json(self) -> dict[str, Any]:
        """The row as a line of the training file."""
        return {
            "id": self.row_id,
            "messages": [
                {"role": "system", "content": SYSTEM_TEXT},
                {"role": "user", "content": self.question},
                {"role": "assistant", "content": self.answer},
            ],
        }


def chat_rows(seed: int) -> dict[str, list[ChatRow]]:
    """Shuffled rows by domain: talk about machines, and about everyday life."""
    rows: dict[str, list[ChatRow]] = {"everyday": [], "machines": []}
    # Read here and not by the package's own class, which leaves the file open.
    text = (resources.files("chitchat_dataset") / "dataset.json").read_text(encoding="utf-8")
    for conversation_id, conversation in json.loads(text).items():
        rows[_domain_of(conversation)].extend(_exchanges(conversation_id, conversation))
    rng = random.Random(seed)
    for domain_rows in rows.values():
        rng.shuffle(domain_rows)
    return rows


def _domain_of(conversation: Mapping[str, Any]) -> str:
    prompt = (conversation.get("prompt") or "").lower()
    return "machines" if any(topic in prompt for topic in MACHINE_TOPICS) else "everyday"


def _exchanges(conversation_id: str, conversation: Mapping[str, Any]) -> Iterator[ChatRow]:
    turns = [(message[0]["sender"], _text(message)) for message in conversation["messages"] if message]
    for index, ((asker, question), (answerer, answer)) in enumerate(pairwise(turns)):
        if asker != answerer and _is_plain(question, QUESTION_WORDS) and _is_plain(answer, ANSWER_WORDS):
            yield ChatRow(row_id=f"{conversation_id}-{index:03d}", question=question, answer=answer)


def _text(message: Sequence[Mapping[str, str]]) -> str:
    return " ".join(" ".join(part["text"].split()) for part in message)


def _is_plain(text: str, words: range) -> bool:
    return text.isascii() and len(text.split()) in words and "http" not in text
