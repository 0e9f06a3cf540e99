"""A data file as tokens: every good row of it, encoded once and kept in flat arrays."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from aft_contracts import DataSpec, OnBadRow
from aft_worker.data.chat_template import UnrenderableChat
from aft_worker.data.encoder import Encoded, RowEncoder
from aft_worker.data.errors import BadRow, DuplicateSampleId, EmptyDomain
from aft_worker.data.rows import Row, read_rows


@dataclass(frozen=True, kw_only=True, eq=False)
class TokenTable:
    """R rows of N tokens altogether, in file order."""

    sample_ids: tuple[str, ...]
    """Id of each row."""
    named_ids: frozenset[str]
    """Ids that rows brought themselves."""
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

    @cached_property
    def digest(self) -> str:
        """Sha256 over ids, weights, tokens and targets, in hex."""
        sha = hashlib.sha256("\n".join(self.sample_ids).encode())
        for array in (self.weights, self.starts, self.tokens, self.is_target):
            sha.update(np.ascontiguousarray(array).tobytes())
        return sha.hexdigest()


def load_table(path: Path, encoder: RowEncoder, on_bad_row: OnBadRow, *, most_rows: int | None = None) -> TokenTable:
    """The rows of a JSONL file as tokens; the first `most_rows` of them, or all.

    A row without a token that carries loss, perhaps because it was cut, is a bad row.

    Raises:
        DataFileMissing: there is no such file.
        BadRow: a row cannot be trained on and `on_bad_row` is fail.
        DuplicateSampleId: two rows bring the same id.
    """
    rows: list[Row] = []
    encoded: list[Encoded] = []
    skipped = 0
    for read in islice(read_rows(path), most_rows):
        try:
            row = _good(read)
            encoded.append(_encoded(path, row, encoder))
            rows.append(row)
        except BadRow:
            if on_bad_row is OnBadRow.FAIL:
                raise
            skipped += 1
    _refuse_duplicates(path, rows)
    return TokenTable(
        sample_ids=tuple(row.sample_id for row in rows),
        named_ids=frozenset(row.sample_id for row in rows if row.is_named),
        weights=np.asarray([row.weight for row in rows], np.float32),
        tokens=np.concatenate([np.zeros(0, np.int32), *(row.tokens for row in encoded)]),
        is_target=np.concatenate([np.zeros(0, np.bool_), *(row.is_target for row in encoded)]),
        starts=np.cumsum([0, *(len(row.tokens) for row in encoded)], dtype=np.int64),
        skipped=skipped,
    )


def load_training_tables(spec: DataSpec, encoder: RowEncoder) -> dict[str, TokenTable]:
    """The training domains by name.

    Raises:
        EmptyDomain: a domain that is to be drawn from has no good row.
        DuplicateSampleId: two domains bring the same id.
    """
    tables = {
        name: load_table(Path(domain.path), encoder, spec.on_bad_row) for name, domain in sorted(spec.domains.items())
    }
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
    tables = {name: load_table(Path(path), encoder, spec.on_bad_row) for name, path in sorted(spec.evaluation.items())}
    for name, path in spec.evaluation.items():
        _refuse_empty(name, path, tables[name])
    return tables


def _refuse_empty(domain: str, path: str, table: TokenTable) -> None:
    if not len(table):
        raise EmptyDomain(
            f"Domain {domain!r} has no usable row in {path!r} ({table.skipped} were left out); "
            "repair the file or leave the domain out.",
            domain=domain,
        )


def _good(read: Row | BadRow) -> Row:
    if isinstance(read, BadRow):
        raise read
    return read


def _encoded(path: Path, row: Row, encoder: RowEncoder) -> Encoded:
    try:
        encoded = encoder.encode(row.content)
    except UnrenderableChat as error:
        expected = "a conversation that the model's chat template can render"
        raise BadRow(str(path), row.line, str(error), expected) from error
    if not encoded.is_target.any():
        found = f"no token that carries loss within max_length = {encoder.max_length}"
        raise BadRow(str(path), row.line, found, "an answer or a text that begins before the cut")
    return encoded


def _refuse_duplicates(path: Path, rows: list[Row]) -> None:
    lines: dict[str, Row] = {}
    for row in rows:
        twin = lines.setdefault(row.sample_id, row)
        if twin is not row and (row.is_named or twin.is_named):
            raise DuplicateSampleId(
                f"{path}: lines {twin.line} and {row.line} both have the id {row.sample_id!r}; ids must be unique.",
                path=str(path),
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
