"""JSONL: an object a line."""

import json
from collections.abc import Iterator
from pathlib import Path

from aft_worker.data.errors import BadRow
from aft_worker.data.place import Place
from aft_worker.data.sources.raw import RawRow

EXPECTED = "a JSON object"


def read_jsonl(path: Path) -> Iterator[RawRow | BadRow]:
    """Every row in file order, or what is wrong with it; empty lines are passed over."""
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                yield _row(Place(path=str(path), number=number), line)


def _row(place: Place, line: bytes) -> RawRow | BadRow:
    try:
        fields = json.loads(line.decode("utf-8-sig"))
    # Deep nesting ends the parser in a RecursionError; for the row that is only another way of being unreadable.
    except (ValueError, RecursionError) as error:
        return BadRow(place, f"something that is not JSON ({type(error).__name__})", EXPECTED)
    if not isinstance(fields, dict):
        return BadRow(place, f"JSON of type {type(fields).__name__}", EXPECTED)
    return RawRow(place=place, fields=fields)
