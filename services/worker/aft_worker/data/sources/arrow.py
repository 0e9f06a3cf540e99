"""Arrow batches as rows, for every format that is columns underneath."""

from collections.abc import Iterable, Iterator
from typing import Any

import pyarrow as pa

from aft_worker.data.errors import BadRow
from aft_worker.data.place import Place
from aft_worker.data.sources.raw import RawRow

BATCH_ROWS = 256


def rows_of(path: str, batches: Iterable[pa.RecordBatch | pa.Table]) -> Iterator[RawRow | BadRow]:
    """Every row of the batches, numbered from 1 over all of them."""
    number = 0
    for batch in batches:
        for fields in _values(batch):
            number += 1
            place = Place(path=path, number=number, unit="row")
            if fields is None:
                yield BadRow(place, "bytes that are not UTF-8", "text in UTF-8")
            else:
                yield RawRow(place=place, fields=fields)


def wanted_columns(names: list[str], wanted: frozenset[str]) -> list[str]:
    """The columns worth reading; all of them where none is known, so that an error can name what is there."""
    return [name for name in names if name in wanted] or names


def _values(batch: pa.RecordBatch | pa.Table) -> list[dict[str, Any] | None]:
    """The rows as Python values; None for one whose text cannot be decoded."""
    try:
        return list(batch.to_pylist())
    except UnicodeDecodeError:
        if batch.num_rows == 1:
            return [None]
        return [value for row in range(batch.num_rows) for value in _values(batch.slice(row, 1))]
