"""Rows: what a source holds, understood; or what is wrong with it, by file and line."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from aft_contracts import ColumnMap, SourceSpec
from aft_worker.data.content import Content, content_hash
from aft_worker.data.errors import BadRow
from aft_worker.data.place import Place
from aft_worker.data.shapes import Shape, columns_read, read_content, shapes_of
from aft_worker.data.sources.formats import read_raw
from aft_worker.data.sources.raw import RawRow
from aft_worker.data.values import Unexpected, own_id_of, weight_of


@dataclass(frozen=True, kw_only=True)
class Row:
    """One training row."""

    place: Place
    """Where it stands."""
    sample_id: str
    """The row's own id, or the hash of content and weight; rows that share that hash are one sample."""
    is_named: bool
    """Whether the id is the row's own."""
    content_hash: str
    """Hash of the content alone: equal for rows that teach the same, whatever their ids and weights."""
    weight: float
    """Factor on the row's loss weights."""
    content: Content


def read_rows(source: SourceSpec, *, most_rows: int | None = None) -> Iterator[Row | BadRow]:
    """Every row of a source in order, or what is wrong with it; the first `most_rows` of them, or all.

    Columns beyond the expected ones are ignored. Where a row has more than one shape, `messages` goes before
    `conversations`, then `prompt` and `completion`, then `instruction` and `output`, then `text`.

    Raises:
        DataFileMissing, DataFormatUnknown, DataFileUnreadable, …: there is nothing to read from.
    """
    shapes = shapes_of(source.columns)
    raw = read_raw(source, columns_read(source.columns), streamed=most_rows is not None)
    for found in islice(raw, most_rows):
        yield found if isinstance(found, BadRow) else _row(found, source.columns, shapes)


def _row(raw: RawRow, columns: ColumnMap, shapes: Sequence[Shape]) -> Row | BadRow:
    id_column, weight_column = columns.id or "id", columns.weight or "weight"
    try:
        content = read_content(raw.fields, shapes)
        weight = weight_of(weight_column, raw.fields.get(weight_column))
        named = own_id_of(id_column, raw.fields.get(id_column))
    except Unexpected as unexpected:
        return BadRow(raw.place, unexpected.found, unexpected.expected)
    return Row(
        place=raw.place,
        sample_id=named or content_hash(content, weight=weight),
        is_named=named is not None,
        content_hash=content_hash(content),
        weight=weight,
        content=content,
    )
