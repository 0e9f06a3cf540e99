"""Contents: which rows of the training data are alike, looked up by sample."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from aft_worker.ledger.presentations import Ints

MOST_LISTED = 8
"""Lines and duplicates that a report lists for one sample; the rest is counted."""


@dataclass(frozen=True, kw_only=True)
class Content:
    """What the table of rows says of one sample."""

    content_hash: str | None
    lines: tuple[int, ...]
    duplicates: tuple[str, ...]
    duplicate_rows: int


UNKNOWN = Content(content_hash=None, lines=(), duplicates=(), duplicate_rows=0)


class Contents:
    """The rows of a run, R of them, grouped by content hash."""

    def __init__(self, rows: pa.Table) -> None:
        hashes = rows["content_hash"].combine_chunks().dictionary_encode()
        self._ids = rows["sample_id"].to_pylist()
        self._domains = rows["domain"].to_pylist()
        self._lines = rows["line"].to_pylist()
        self._hashes = hashes.dictionary.to_pylist()
        self._group: Ints = hashes.indices.to_numpy().astype(np.int64)
        self._order = np.argsort(self._group, kind="stable")
        self._starts = np.concatenate([[0], np.cumsum(np.bincount(self._group, minlength=len(self._hashes)))])
        self._rows_of: dict[tuple[str, str], list[int]] = {}
        for row, place in enumerate(zip(self._domains, self._ids, strict=True)):
            self._rows_of.setdefault(place, []).append(row)

    def __len__(self) -> int:
        return len(self._ids)

    def rows_of_domains(self, domains: tuple[str, ...]) -> Ints:
        """How many rows each of `domains` has, [D]."""
        names, counts = np.unique(np.asarray(self._domains, dtype=object), return_counts=True)
        found = dict(zip(names.tolist(), counts.tolist(), strict=True))
        return np.asarray([found.get(domain, 0) for domain in domains], np.int64)

    def of(self, domain: str, sample_id: str) -> Content:
        """What is known of one sample's content; duplicates in file order, the first `MOST_LISTED`."""
        own = self._rows_of.get((domain, sample_id), [])
        if not own:
            return UNKNOWN
        group = int(self._group[own[0]])
        alike = self._order[self._starts[group] : self._starts[group + 1]]
        others = [self._ids[row] for row in alike[: MOST_LISTED * (len(own) + 1)].tolist()]
        lines = [self._lines[row] for row in own[:MOST_LISTED]]
        return Content(
            content_hash=self._hashes[group],
            lines=tuple(line for line in lines if line is not None),
            duplicates=tuple(dict.fromkeys(other for other in others if other != sample_id))[:MOST_LISTED],
            duplicate_rows=len(alike) - 1,
        )
