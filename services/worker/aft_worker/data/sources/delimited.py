"""CSV and TSV: a header, then a row a line, or several lines where a quoted cell holds line breaks."""

import csv
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from aft_contracts import ColumnMap
from aft_worker.data.errors import BadRow, DataFileUnreadable
from aft_worker.data.place import Place
from aft_worker.data.sources.raw import RawRow


def read_csv(path: Path, columns: ColumnMap) -> Iterator[RawRow | BadRow]:
    """Every row in file order with the line that it begins on, or what is wrong with it.

    Cells are text as they stand: no word such as `NA` or `null` is taken for a missing value. Only a weight becomes a
    number, and an empty cell of an id, a weight or a conversation is a missing one.

    Raises:
        DataFileUnreadable: a quote that was left open took several lines, which cannot be told apart into rows.
    """
    with path.open("rb") as lines:
        # Bytes that are not UTF-8 survive as surrogates, so that they spoil their own row and no other.
        text = (line.decode("utf-8", "surrogateescape") for line in lines)
        table = csv.reader(text, strict=True, delimiter="\t" if path.suffix.lower() == ".tsv" else ",")
        header: list[str] | None = None
        for place, cells in _records(path, table):
            if isinstance(cells, BadRow):
                yield cells
            elif header is None:
                header = [name.removeprefix("\ufeff") for name in cells]
            else:
                yield _row(place, header, cells, columns)


def _records(path: Path, table: Any) -> Iterator[tuple[Place, list[str] | BadRow]]:
    """The cells of each row that has any, or what is wrong with them."""
    csv.field_size_limit(sys.maxsize)  # The default refuses cells of more than 131,072 characters.
    while True:
        place = Place(path=str(path), number=table.line_num + 1)
        try:
            cells: list[str] | BadRow = next(table)
        except StopIteration:
            return
        except csv.Error as error:
            if table.line_num > place.number:
                raise _run_together(place, table.line_num, error) from error
            cells = BadRow(place, f"something that is not CSV ({error})", "cells, quoted where they need to be")
        if cells:
            yield place, cells


def _run_together(place: Place, last_line: int, error: csv.Error) -> DataFileUnreadable:
    return DataFileUnreadable(
        f"{place.path}, lines {place.number} to {last_line}: rows that cannot be told apart ({error}); look for a "
        f"quote left open from line {place.number} on, and close it; one that belongs to a cell's text is doubled.",
        path=place.path,
        line=place.number,
        last_line=last_line,
    )


def _row(place: Place, header: list[str], cells: list[str], columns: ColumnMap) -> RawRow | BadRow:
    if len(cells) != len(header):
        return BadRow(place, f"{len(cells)} cells", f"{len(header)}, as in the header")
    try:
        "".join(cells).encode()
    except UnicodeEncodeError:
        return BadRow(place, "bytes that are not UTF-8", "text in UTF-8")
    return RawRow(place=place, fields=_typed(dict(zip(header, cells, strict=True)), columns))


def _typed(cells: Mapping[str, str], columns: ColumnMap) -> dict[str, Any]:
    weight = columns.weight or "weight"
    never_empty = {columns.messages or "messages", "conversations", columns.id or "id", weight}
    fields: dict[str, Any] = {name: cell or (None if name in never_empty else cell) for name, cell in cells.items()}
    if isinstance(fields.get(weight), str):
        fields[weight] = _number(fields[weight])
    return fields


def _number(cell: str) -> float | str:
    try:
        return float(cell)
    except ValueError:
        return cell
