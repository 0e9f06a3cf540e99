"""JSON: one list of objects a file, as Alpaca and ShareGPT come; a .json file with an object a line is JSONL."""

import json
from collections.abc import Iterator
from pathlib import Path

from aft_worker.data.errors import BadRow, DataFileUnreadable
from aft_worker.data.place import Place
from aft_worker.data.sources.jsonl import EXPECTED, read_jsonl
from aft_worker.data.sources.raw import RawRow

BLANKS = " \t\r\n"


def read_json(path: Path) -> Iterator[RawRow | BadRow]:
    """Every object of the list in order, each with the line that it begins on.

    Raises:
        DataFileUnreadable: the list is not JSON; what follows the fault cannot be told apart into rows.
    """
    if not _holds_a_list(path):
        yield from read_jsonl(path)
        return
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataFileUnreadable(f"{path} is not UTF-8; save it as UTF-8.", path=str(path)) from error
    yield from _objects(path, text)


def _holds_a_list(path: Path) -> bool:
    with path.open("rb") as file:
        head = file.read(4096).removeprefix(b"\xef\xbb\xbf").lstrip(BLANKS.encode())
    return head.startswith(b"[")


def _objects(path: Path, text: str) -> Iterator[RawRow | BadRow]:
    decoder = json.JSONDecoder()
    at = _past_blanks(text, text.index("[") + 1)
    line, counted = 1, 0
    while text[at : at + 1] != "]":
        line, counted = line + text.count("\n", counted, at), at
        try:
            value, at = decoder.raw_decode(text, at)
        except (ValueError, RecursionError) as error:
            raise _broken(path, line) from error
        place = Place(path=str(path), number=line)
        if isinstance(value, dict):
            yield RawRow(place=place, fields=value)
        else:
            yield BadRow(place, f"JSON of type {type(value).__name__}", EXPECTED)
        at = _past_blanks(text, at)
        if text[at : at + 1] == ",":
            at = _past_blanks(text, at + 1)
        elif text[at : at + 1] != "]":
            raise _broken(path, line + text.count("\n", counted, at))
    end = _past_blanks(text, at + 1)
    if end < len(text):
        raise _followed(path, line + text.count("\n", counted, end))


def _past_blanks(text: str, at: int) -> int:
    while at < len(text) and text[at] in BLANKS:
        at += 1
    return at


def _broken(path: Path, line: int) -> DataFileUnreadable:
    return DataFileUnreadable(
        f"{path}, line {line}: the list of rows is not JSON from here on; repair it, or store a row a line (JSONL).",
        path=str(path),
        line=line,
    )


def _followed(path: Path, line: int) -> DataFileUnreadable:
    return DataFileUnreadable(
        f"{path}, line {line}: something follows the list of rows, which is all that a file may hold; "
        "make one list of all rows, or store a row a line (JSONL).",
        path=str(path),
        line=line,
    )
