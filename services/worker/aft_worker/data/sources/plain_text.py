"""Plain text: a row a line, a paragraph or a file, each under the column `text`."""

from collections.abc import Iterator
from pathlib import Path

from aft_contracts import SampleBy
from aft_worker.data.errors import BadRow
from aft_worker.data.place import Place
from aft_worker.data.sources.raw import RawRow

Lines = Iterator[tuple[int, bytes]]


def read_text(path: Path, sample_by: SampleBy, column: str) -> Iterator[RawRow | BadRow]:
    """Every row in file order, without the line break that ends it; lines of blanks alone are no rows."""
    cut = {SampleBy.LINE: _lines, SampleBy.PARAGRAPH: _paragraphs, SampleBy.DOCUMENT: _document}[sample_by]
    with path.open("rb") as file:
        for number, raw in cut(enumerate(file, start=1)):
            place = Place(path=str(path), number=number)
            try:
                text = raw.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError:
                yield BadRow(place, "bytes that are not UTF-8", "text in UTF-8")
            else:
                yield RawRow(place=place, fields={column: text.replace("\r\n", "\n").rstrip("\r\n")})


def _lines(lines: Lines) -> Lines:
    return ((number, line) for number, line in lines if line.strip())


def _paragraphs(lines: Lines) -> Lines:
    first, parts = 0, list[bytes]()
    for number, line in lines:
        if line.strip():
            first = first if parts else number
            parts.append(line)
        elif parts:
            yield first, b"".join(parts)
            parts = []
    if parts:
        yield first, b"".join(parts)


def _document(lines: Lines) -> Lines:
    whole = b"".join(line for _, line in lines)
    if whole.strip():
        yield 1, whole
