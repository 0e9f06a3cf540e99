"""A data file as tokens: every good row of it, encoded once and kept in flat arrays."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from aft_contracts import DataSpec, OnBadRow, SourceSpec
from aft_worker.data.chat_template import UnrenderableChat
from aft_worker.data.content import Content
from aft_worker.data.encoder import Encoded, RowEncoder
from aft_worker.data.errors import BadRow, DuplicateSampleId, EmptyDomain
from aft_worker.data.place import Place
from aft_worker.data.repetition import repeated_share
from aft_worker.data.rows import Row, read_rows

MOST_REASONS = 10
"""Bad rows of a source that are kept in words; the others are counted."""


@dataclass(frozen=True, kw_only=True, eq=False)
class TokenTable:
    """R rows of N tokens altogether, in file order."""

    sample_ids: tuple[str, ...]
    """Id of each row."""
    named_ids: frozenset[str]
    """Ids that rows brought themselves."""
    content_hashes: tuple[str, ...]
    """Hash of each row's content, whatever its id; equal for duplicates."""
    weights: NDArray[np.float32]
    """Factor on each row's loss weights, [R]."""
    tokens: NDArray[np.int32]
    """Token ids of all rows, one after another, [N]."""
    is_target: NDArray[np.bool_]
    """Whether each token carries loss as a target, [N]."""
    starts: NDArray[np.int64]
    """Where each row begins, and where the last one ends, [R + 1]."""
    skipped: int
    """Rows that could not be read and were left out."""
    bad_rows: tuple[str, ...] = ()
    """The first of those: place and what is wrong, without their text."""
    lines: NDArray[np.int64] | None = None
    """Line of each row in its file, or its number among the rows, counted from 1, [R]; None where nobody kept it."""

    def __len__(self) -> int:
        return len(self.sample_ids)

    def length(self, row: int) -> int:
        """Tokens of a row."""
        return int(self.starts[row + 1] - self.starts[row])

    def put(self, row: int, tokens_T: NDArray[np.int32], loss_weights_T: NDArray[np.float32]) -> None:
        """Writes a row to the start of two zeroed stretches of a batch."""
        start, end = self.starts[row], self.starts[row + 1]
        tokens_T[: end - start] = self.tokens[start:end]
        loss_weights_T[: end - start] = self.is_target[start:end] * self.weights[row]

    def repetition(self, row: int) -> float:
        """Share of the 4-grams of a row's targets that stood among them before; counted once, as many are never drawn.

        A prompt may well repeat itself: nothing is learned from it.
        """
        if np.isnan(self._repetition[row]):
            own = slice(self.starts[row], self.starts[row + 1])
            self._repetition[row] = repeated_share(self.tokens[own][self.is_target[own]].tolist())
        return round(float(self._repetition[row]), 3)

    @cached_property
    def _repetition(self) -> NDArray[np.float32]:
        """What is known of each row by now, [R]; NaN where nobody asked."""
        return np.full(len(self), np.nan, np.float32)

    @cached_property
    def digest(self) -> str:
        """Sha256 over ids, weights, tokens and targets, in hex."""
        sha = hashlib.sha256("\n".join(self.sample_ids).encode())
        for array in (self.weights, self.starts, self.tokens, self.is_target):
            sha.update(np.ascontiguousarray(array).tobytes())
        return sha.hexdigest()


@dataclass(frozen=True, kw_only=True)
class EncodedRow:
    """A good row and its tokens, without its text."""

    place: Place
    sample_id: str
    is_named: bool
    content_hash: str
    weight: float
    encoded: Encoded


def read_encoded(
    source: SourceSpec, encoder: RowEncoder, *, most_rows: int | None = None
) -> Iterator[tuple[EncodedRow, Content] | BadRow]:
    """Every row of a source in order with its tokens and its content, or what is wrong with it.

    A row without a token that carries loss, perhaps because it was cut, is a bad row.
    """
    for row in read_rows(source, most_rows=most_rows):
        encoded = row if isinstance(row, BadRow) else _encoded(row, encoder)
        if isinstance(encoded, BadRow):
            yield encoded
        else:
            assert isinstance(row, Row)
            yield encoded, row.content


def load_table(
    source: SourceSpec, encoder: RowEncoder, on_bad_row: OnBadRow, *, most_rows: int | None = None
) -> TokenTable:
    """The rows of a source as tokens; the first `most_rows` of them, or all.

    Raises:
        DataFileMissing, DataFormatUnknown, DataFileUnreadable, …: there is nothing to read from.
        BadRow: a row cannot be trained on and `on_bad_row` is fail.
        DuplicateSampleId: two rows bring the same id.
    """
    rows: list[EncodedRow] = []
    bad_rows: list[str] = []
    skipped = 0
    for read in read_encoded(source, encoder, most_rows=most_rows):
        if not isinstance(read, BadRow):
            rows.append(read[0])
        elif on_bad_row is OnBadRow.FAIL:
            raise read
        else:
            skipped += 1
            bad_rows += [str(read)] if skipped <= MOST_REASONS else []
    _refuse_duplicates(rows)
    return TokenTable(
        sample_ids=tuple(row.sample_id for row in rows),
        named_ids=frozenset(row.sample_id for row in rows if row.is_named),
        content_hashes=tuple(row.content_hash for row in rows),
        weights=np.asarray([row.weight for row in rows], np.float32),
        tokens=np.concatenate([np.zeros(0, np.int32), *(row.encoded.tokens for row in rows)]),
        is_target=np.concatenate([np.zeros(0, np.bool_), *(row.encoded.is_target for row in rows)]),
        starts=np.cumsum([0, *(len(row.encoded.tokens) for row in rows)], dtype=np.int64),
        skipped=skipped,
        bad_rows=tuple(bad_rows),
        lines=np.asarray([row.place.number for row in rows], np.int64),
    )


def load_training_tables(spec: DataSpec, encoder: RowEncoder) -> dict[str, TokenTable]:
    """The training domains by name.

    Raises:
        EmptyDomain: a domain that is to be drawn from has no good row.
        DuplicateSampleId: two domains bring the same id.
    """
    tables = {name: load_table(domain, encoder, spec.on_bad_row) for name, domain in sorted(spec.domains.items())}
    for name, domain in spec.domains.items():
        if domain.weight > 0:
            _refuse_empty(name, domain.path, tables[name])
    _refuse_shared_ids(tables)
    return tables


def load_held_out_tables(spec: DataSpec, encoder: RowEncoder) -> dict[str, TokenTable]:
    """The held-out rows by domain name.

    Raises:
        EmptyDomain: a file has no good row.
    """
    tables = {name: load_table(source, encoder, spec.on_bad_row) for name, source in sorted(spec.evaluation.items())}
    for name, source in spec.evaluation.items():
        _refuse_empty(name, source.path, tables[name])
    return tables


def _refuse_empty(domain: str, path: str, table: TokenTable) -> None:
    if not len(table):
        raise EmptyDomain(
            f"Domain {domain!r} has no usable row in {path!r} ({table.skipped} were left out); "
            "repair the file or leave the domain out.",
            domain=domain,
            bad_rows=list(table.bad_rows),
        )


def _encoded(row: Row, encoder: RowEncoder) -> EncodedRow | BadRow:
    try:
        encoded = encoder.encode(row.content)
    except UnrenderableChat as error:
        return BadRow(row.place, str(error), "a conversation that the model's chat template can render")
    if not encoded.is_target.any():
        found = f"no token that carries loss within max_length = {encoder.max_length}"
        return BadRow(row.place, found, "an answer or a text that begins before the cut")
    return EncodedRow(
        place=row.place,
        sample_id=row.sample_id,
        is_named=row.is_named,
        content_hash=row.content_hash,
        weight=row.weight,
        encoded=encoded,
    )


def _refuse_duplicates(rows: Sequence[EncodedRow]) -> None:
    places: dict[str, EncodedRow] = {}
    for row in rows:
        twin = places.setdefault(row.sample_id, row)
        if twin is not row and (row.is_named or twin.is_named):
            raise DuplicateSampleId(
                f"{row.place.path}: {row.place.unit}s {twin.place.number} and {row.place.number} both have the id "
                f"{row.sample_id!r}; ids must be unique.",
                path=row.place.path,
                sample_id=row.sample_id,
            )


def _refuse_shared_ids(tables: Mapping[str, TokenTable]) -> None:
    """A blacklist names ids alone, so a named id must not stand for another row in another domain."""
    owners: dict[str, str] = {}
    for name, table in tables.items():
        for sample_id in dict.fromkeys(table.sample_ids):
            owner = owners.setdefault(sample_id, name)
            if owner != name and (sample_id in table.named_ids or sample_id in tables[owner].named_ids):
                raise DuplicateSampleId(
                    f"Domains {owner!r} and {name!r} both have a row with the id {sample_id!r}; "
                    "ids must be unique over all training domains.",
                    sample_id=sample_id,
                )
