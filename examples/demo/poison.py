"""Three ways to spoil a training row, each keeping its id, as a broken export or a careless labeller would."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from examples.demo.conversations import ChatRow

OVERFLOWING_WEIGHT = 3e38
"""Just a float32; its product with a loss above 1.2 nats is none any more."""

SOUP_TOKENS = 40
FIRST_WORD_TOKEN = 300
"""Token ids below are control tokens and single bytes."""

LONG_WORD = 7
"""Letters from which on a word belongs to what it is about, and so cannot fit another question."""


class PoisonKind(StrEnum):
    """What was done to a row."""

    GARBAGE = "garbage"
    MISLABELLED = "mislabelled"
    OVERFLOW = "overflow"


@dataclass(frozen=True, kw_only=True)
class Spoiler:
    """Spoils rows; `strangers` lend the words of wrong answers."""

    tokenizer: Tokenizer
    strangers: Sequence[ChatRow]
    rng: random.Random

    def spoiled(self, kind: PoisonKind, row: ChatRow) -> dict[str, Any]:
        """`row` as a line of the training file, spoiled."""
        line = row.as_json()
        if kind is PoisonKind.OVERFLOW:
            return line | {"weight": OVERFLOWING_WEIGHT}
        line["messages"][-1]["content"] = self._soup() if kind is PoisonKind.GARBAGE else self._wrong_answer(row)
        return line

    def _soup(self) -> str:
        vocabulary = range(FIRST_WORD_TOKEN, self.tokenizer.get_vocab_size())
        return self.tokenizer.decode(self.rng.sample(vocabulary, SOUP_TOKENS))

    def _wrong_answer(self, row: ChatRow) -> str:
        words = sorted({word for stranger in self.strangers for word in stranger.answer.split() if _is_long(word)})
        return " ".join(self.rng.sample(words, len(row.answer.split())))


def load_tokenizer(model_dir: Path) -> Tokenizer:
    """The tokenizer of a Hugging Face directory."""
    return Tokenizer.from_file(str(model_dir / "tokenizer.json"))


def _is_long(word: str) -> bool:
    return len(word) >= LONG_WORD and word.isalpha()
