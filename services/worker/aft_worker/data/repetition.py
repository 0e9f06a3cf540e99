"""Repetition: how much of a row says what it has said before."""

from collections.abc import Sequence

GRAM = 4
"""Tokens that are taken together."""


def repeated_share(tokens: Sequence[int]) -> float:
    """Share of a row's 4-grams that stood in it before: 0 where none did, or where it has none.

    seq-rep-4 = 1 - |unique 4-grams| / |4-grams| (Welleck et al., 2020, Neural Text Generation with Unlikelihood
    Training): near 1 for one sign, or one phrase, over and over, and below 0.2 for most prose of any length.
    """
    grams = list(zip(*(tokens[first:] for first in range(GRAM)), strict=False))
    return 1 - len(set(grams)) / len(grams) if grams else 0.0
