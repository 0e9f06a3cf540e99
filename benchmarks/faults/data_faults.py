"""Faults in the training file: rows that should not be there."""

from abc import abstractmethod
from functools import cached_property

from aft_contracts import Verdict
from benchmarks.faults.base_model import LENGTH, tokenizer
from benchmarks.faults.case import Case, Row, Truth

OVERFLOWING_WEIGHT = 3e38
"""Just a float32; its product with a loss above 1.2 nats is none any more."""
FIRST_WORD_TOKEN = 300
"""Token ids below are special ones and single bytes."""


class BadRows(Case):
    """Some rows are spoiled: by default one, drawn at the first harmful step."""

    @property
    def truth(self) -> Truth:
        """The spoiled rows did it."""
        culprits = frozenset(f"c{number}" for number in self.bad_rows)
        return Truth(first_step=self.first_step, verdict=Verdict.DATA, culprits=culprits)

    @cached_property
    def bad_rows(self) -> list[int]:
        """Numbers of the rows that are spoiled."""
        return [self.rng.choice(self.rows_at(self.first_step))]

    def domains(self) -> dict[str, list[Row]]:
        """The usual rows, some of them spoiled."""
        rows = self.chat_rows()
        for number in self.bad_rows:
            rows[number] = self.spoiled(rows[number])
        return {"chat": rows}

    @abstractmethod
    def spoiled(self, row: Row) -> Row:
        """The row as it stands in the file."""


class Garbage(BadRows):
    """A row of random tokens."""

    name = "garbage_tokens"

    def spoiled(self, row: Row) -> Row:
        """Random words and pieces of words."""
        tokens = self.rng.choices(range(FIRST_WORD_TOKEN, tokenizer().get_vocab_size()), k=LENGTH)
        return row | {"text": tokenizer().decode(tokens)}


class PoisonedCluster(Garbage):
    """Eight rows of random tokens, each in another step of 24 that follow one another."""

    name = "poisoned_cluster"

    @cached_property
    def bad_rows(self) -> list[int]:
        """One row of each of eight steps, the first harmful one among them."""
        others = self.rng.sample(range(self.first_step + 1, self.first_step + 24), 7)
        return [self.rng.choice(self.rows_at(step)) for step in (self.first_step, *others)]


class NonFinite(BadRows):
    """A row whose weight makes its loss overflow."""

    name = "non_finite_sample"

    def spoiled(self, row: Row) -> Row:
        """The same text with an absurd weight."""
        return row | {"weight": OVERFLOWING_WEIGHT}


class Repetition(BadRows):
    """A row that says one rare sign again and again, as a broken generator does."""

    name = "degenerate_repetition"

    def spoiled(self, row: Row) -> Row:
        """One sign, repeated beyond the row's length."""
        return row | {"text": self.rng.choice("#$%&*+@^`|~") * 4 * LENGTH}


class OtherEncoding(BadRows):
    """A row that was written in one encoding and read in another."""

    name = "other_encoding"

    def spoiled(self, row: Row) -> Row:
        """The text in a code page of IBM's mainframes, read as Latin-1."""
        return row | {"text": row["text"].encode("cp500").decode("latin-1")}


DATA_FAULTS = (Garbage, PoisonedCluster, NonFinite, Repetition, OtherEncoding)
