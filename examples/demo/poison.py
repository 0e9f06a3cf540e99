"""Three ways to spoil a training row, each keeping its id, as a broken export or a bad labeller would."""

import random
from collections.abc import Sequence
from enum import StrEnum
from typing import Any

from examples.demo.conversations import ChatRow

OVERFLOWING_WEIGHT = 3e38
"""Still a float32, but its product with a loss above 1.2 nats is not."""

SOUP_ALPHABET = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789{}[]<>#$%&@=+/|~^_\\;:"


class PoisonKind(StrEnum):
    """What was done to a row."""

    GARBAGE = "garbage"
    MISLABELLED = "mislabelled"
    OVERFLOW = "overflow"


def spoil(kind: PoisonKind, row: ChatRow, strangers: Sequence[ChatRow], rng: random.Random) -> dict[str, Any]:
    """`row` as a line of the training file, spoiled; `strangers` lend the words of a wrong answer."""
    line = row.as_json()
    if kind is PoisonKind.OVERFLOW:
        return line | {"weight": OVERFLOWING_WEIGHT}
    answer = _token_soup(rng) if kind is PoisonKind.GARBAGE else _wrong_answer(row, strangers, rng)
    line["messages"][-1]["content"] = answer
    return line


def _token_soup(rng: random.Random) -> str:
    return " ".join("".join(rng.choices(SOUP_ALPHABET, k=rng.randint(3, 7))) for _ in range(9))


def _wrong_answer(row: ChatRow, strangers: Sequence[ChatRow], rng: random.Random) -> str:
    words = [word for stranger in strangers for word in stranger.answer.split()]
    return " ".join(rng.sample(words, len(row.answer.split())))
