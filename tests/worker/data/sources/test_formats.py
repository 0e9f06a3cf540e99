"""Formats: chosen by the path or the config; bad rows are named by the line or row they stand in."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from aft_contracts import DataFormat, OnBadRow, SampleBy, SourceSpec
from aft_worker.data.encoder import load_encoder
from aft_worker.data.errors import BadRow, DataFileMissing, DataFileUnreadable, DataFormatUnknown
from aft_worker.data.rows import read_rows
from aft_worker.data.sources.formats import format_of
from aft_worker.data.table import load_table


def source(path: Path, content: bytes | str = b"", **fields: Any) -> SourceSpec:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return SourceSpec(path=str(path), **fields)


def places(given: SourceSpec) -> list[str]:
    """What each row is: `ok` with its number, or what was found there."""
    told = []
    for row in read_rows(given):
        if isinstance(row, BadRow):
            (number,) = (row.facts[unit] for unit in ("line", "row") if unit in row.facts)
            told.append(f"{number}: {str(row).split('found ')[1].split(', expected')[0]}")
        else:
            told.append(f"{row.place.number}: ok")
    return told


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("rows", "jsonl"),
        ("rows.jsonl", "jsonl"),
        ("rows.NDJSON", "jsonl"),
        ("rows.json", "json"),
        ("rows.parquet", "parquet"),
        ("rows.csv", "csv"),
        ("rows.tsv", "csv"),
        ("rows.txt", "text"),
        ("", "dataset"),
    ],
)
def test_the_path_shows_the_format(tmp_path: Path, name: str, expected: str) -> None:
    assert format_of(SourceSpec(path=str(tmp_path / name))) == expected


def test_the_config_says_the_format_where_the_path_does_not(tmp_path: Path) -> None:
    given = source(tmp_path / "rows.bak", '{"text": "a"}\n')
    with pytest.raises(DataFormatUnknown, match=r"ends in '\.bak'; say its `format`: jsonl, json, parquet, csv, text"):
        list(read_rows(given))
    assert places(given.model_copy(update={"format": DataFormat.JSONL})) == ["1: ok"]
    assert places(given.model_copy(update={"format": DataFormat.TEXT})) == ["1: ok"]


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.parquet", "a.csv", "a.txt", "a"])
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataFileMissing, match="does not exist"):
        list(read_rows(SourceSpec(path=str(tmp_path / name))))


def test_bad_lines_of_jsonl_are_numbered(tmp_path: Path) -> None:
    lines = b'{"text": "a"}\n\n{\n"x"\n\xff\n{"text": "b"}'
    assert places(source(tmp_path / "a.jsonl", lines)) == [
        "1: ok",
        "3: something that is not JSON (JSONDecodeError)",
        "4: JSON of type str",
        "5: something that is not JSON (UnicodeDecodeError)",
        "6: ok",
    ]


def test_bad_objects_of_a_json_list_are_numbered_by_line(tmp_path: Path) -> None:
    text = '\ufeff[\n  {"text":\n   "a"},\n  7, {"tixt": "b"},\n\n  {"text": "c"}\n]\n'
    assert places(source(tmp_path / "a.json", text)) == [
        "2: ok",
        "4: JSON of type int",
        "4: an object with the keys ['tixt']",
        "6: ok",
    ]
    assert places(source(tmp_path / "lines.json", '{"text": "a"}\n{"text": "b"}\n')) == ["1: ok", "2: ok"]
    assert places(source(tmp_path / "empty.json", "[]")) == []


@pytest.mark.parametrize(
    ("broken", "line"),
    [
        ('[\n{"text": "a"},\n{"text": }]', 3),
        ('[\n{"text": "a"}\n\n{"text": "b"}]', 4),
        ('[\n{"text":', 2),
        ('[\n{"text": "a"},\n', 3),
    ],
)
def test_a_json_list_that_breaks_is_an_error_with_its_line(tmp_path: Path, broken: str, line: int) -> None:
    with pytest.raises(DataFileUnreadable, match=rf"a\.json, line {line}: the list of rows is not JSON from here on"):
        list(read_rows(source(tmp_path / "a.json", broken)))


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('[\n{"text": "a"}\n]\n[\n{"text": "b"}\n]\n', 4),
        ('[{"text": "a"}][{"text": "b"}]', 1),
        ('[]\n\n{"text": "b"}\n', 3),
        ('[\n{"text": "a"}\n]\n]', 4),
        ('[{"text": "a"}]\n\x00', 2),
    ],
)
def test_what_follows_a_json_list_is_an_error_with_its_line(tmp_path: Path, text: str, line: int) -> None:
    with pytest.raises(DataFileUnreadable, match=rf"a\.json, line {line}: something follows the list of rows"):
        list(read_rows(source(tmp_path / "a.json", text)))


def test_csv_rows_are_numbered_by_the_line_they_begin_on(tmp_path: Path) -> None:
    text = (
        b"\xef\xbb\xbfprompt,completion,id,weight\r\n"
        b'"two\nlines","a, b ""c""",x,2\r\n'
        b"\r\n"
        b"NA,null,,\r\n"
        b"too,few,cells\r\n"
        b'"quote" astray,b,,\r\n'
        b"\xff,b,,\r\n"
        b"p,c,,heavy\r\n"
        b"p,c,last,0.5\r\n"
    )
    given = source(tmp_path / "a.csv", text)
    assert places(given) == [
        "2: ok",
        "5: ok",
        "6: 3 cells",
        "7: something that is not CSV (',' expected after '\"')",
        "8: bytes that are not UTF-8",
        "9: `weight` that is of type str",
        "10: ok",
    ]
    rows = [row for row in read_rows(given) if not isinstance(row, BadRow)]
    assert [(row.content.prompt, row.content.completion) for row in rows] == [
        ("two\nlines", 'a, b "c"'),
        ("NA", "null"),
        ("p", "c"),
    ]
    assert [(row.sample_id if row.is_named else None, row.weight) for row in rows] == [
        ("x", 2.0),
        (None, 1.0),
        ("last", 0.5),
    ]


def test_a_csv_cell_may_be_long_and_hold_many_lines(tmp_path: Path) -> None:
    (row,) = read_rows(source(tmp_path / "a.csv", f"text\n{'x' * 300_000}\n"))
    assert len(row.content.text) == 300_000
    poem = "\n".join(f'line {n}, ""so to speak""' for n in range(1000))
    (row, _) = rows = list(read_rows(source(tmp_path / "b.csv", f'text\n"{poem}"\nb\n')))
    assert row.content.text == poem.replace('""', '"')
    assert [row.place.number for row in rows] == [2, 1002]
    assert places(source(tmp_path / "c.tsv", "prompt\tcompletion\na, b\tc\n")) == ["2: ok"]


@pytest.mark.parametrize(
    ("text", "first", "last"),
    [
        ('prompt,completion\n1,"b\n2,x\n3,y\n4,said "hi"\n5,z\n', 2, 5),
        ('prompt,completion\n1,a\n2,"b\n3,c\n', 3, 4),
        ('prompt,"completion\n1,a\n2,b\n', 1, 3),
    ],
    ids=["up to another quote", "up to the end", "from the header"],
)
@pytest.mark.parametrize("on_bad_row", OnBadRow)
def test_a_csv_quote_left_open_over_lines_is_an_error_with_those_lines(
    tmp_path: Path, tiny_model_dir: Path, text: str, first: int, last: int, on_bad_row: OnBadRow
) -> None:
    encoder = load_encoder(tiny_model_dir, max_length=16)
    with pytest.raises(
        DataFileUnreadable, match=rf"a\.csv, lines {first} to {last}: .* quote .* line {first}"
    ) as caught:
        load_table(source(tmp_path / "a.csv", text), encoder, on_bad_row)
    assert caught.value.facts == {"path": str(tmp_path / "a.csv"), "line": first, "last_line": last}


def test_a_csv_quote_astray_in_one_line_spoils_no_other(tmp_path: Path) -> None:
    assert places(source(tmp_path / "a.csv", 'text\n"a" b\nc\n"d\n')) == [
        "2: something that is not CSV (',' expected after '\"')",
        "3: ok",
        "4: something that is not CSV (unexpected end of data)",
    ]


def test_parquet_rows_are_numbered_over_all_batches(tmp_path: Path) -> None:
    texts = [f"row {n}" for n in range(600)]
    texts[300] = None
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": texts, "blob": [b"\xff"] * 600}), path, row_group_size=250)
    told = places(SourceSpec(path=str(path)))
    assert told[300] == "301: `text` that is missing or null"
    assert [line for line in told if not line.endswith(": ok")] == [told[300]]
    assert (len(told), told[-1]) == (600, "600: ok")


def test_parquet_text_that_is_not_utf_8_spoils_its_own_row(tmp_path: Path) -> None:
    raw = pa.array([b"a", b"\xff", b"c"], pa.binary())
    text = pa.Array.from_buffers(pa.string(), 3, raw.buffers())
    pq.write_table(pa.table({"text": text}), tmp_path / "a.parquet")
    assert places(SourceSpec(path=str(tmp_path / "a.parquet"))) == ["1: ok", "2: bytes that are not UTF-8", "3: ok"]


def test_columns_that_no_shape_knows_are_named(tmp_path: Path) -> None:
    pq.write_table(pa.table({"body": ["a"], "title": ["b"]}), tmp_path / "a.parquet")
    assert places(SourceSpec(path=str(tmp_path / "a.parquet"))) == ["1: an object with the keys ['body', 'title']"]
    assert places(SourceSpec.model_validate({"path": str(tmp_path / "a.parquet"), "columns": {"text": "body"}})) == [
        "1: ok"
    ]


def test_a_file_that_is_not_parquet_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataFileUnreadable, match="cannot be read as Parquet"):
        list(read_rows(source(tmp_path / "a.parquet", "secret text")))


@pytest.mark.parametrize(
    ("sample_by", "rows"),
    [
        (SampleBy.LINE, {1: "one", 2: "  two", 5: "three", 6: "four"}),
        (SampleBy.PARAGRAPH, {1: "one\n  two", 5: "three\nfour"}),
        (SampleBy.DOCUMENT, {1: "one\n  two\n\n \nthree\nfour"}),
    ],
)
def test_a_row_of_text_is_a_line_or_a_paragraph_or_a_file(
    tmp_path: Path, sample_by: SampleBy, rows: dict[int, str]
) -> None:
    given = source(tmp_path / "a.txt", "\ufeffone\r\n  two\n\n \nthree\nfour\n\n", sample_by=sample_by)
    assert {row.place.number: row.content.text for row in read_rows(given)} == rows


def test_a_line_of_text_that_is_not_utf_8_spoils_its_own_row(tmp_path: Path) -> None:
    assert places(source(tmp_path / "a.txt", b"a\n\xff\nb\n")) == ["1: ok", "2: bytes that are not UTF-8", "3: ok"]


@pytest.mark.parametrize("ending", ["jsonl", "json", "csv", "parquet"])
def test_bad_rows_are_skipped_and_counted_in_every_format(tmp_path: Path, tiny_model_dir: Path, ending: str) -> None:
    path = tmp_path / f"rows.{ending}"
    rows = [{"text": "abc", "id": "a"}, {"text": "", "id": "b"}, {"text": "def", "id": "c"}]
    match ending:
        case "jsonl":
            path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        case "json":
            path.write_text("[" + ",\n".join(map(json.dumps, rows)) + "]")
        case "csv":
            path.write_text("text,id\n" + "".join(f"{row['text']},{row['id']}\n" for row in rows))
        case "parquet":
            pq.write_table(pa.Table.from_pylist(rows), path)
    encoder = load_encoder(tiny_model_dir, max_length=16)
    where = {"csv": "line 3", "parquet": "row 2"}.get(ending, "line 2")
    message = f"{path}, {where}: found no token that carries loss within max_length = 16"
    with pytest.raises(BadRow) as caught:
        load_table(SourceSpec(path=str(path)), encoder, OnBadRow.FAIL)
    assert str(caught.value).startswith(message)
    table = load_table(SourceSpec(path=str(path)), encoder, OnBadRow.SKIP)
    assert (table.sample_ids, table.skipped, len(table.bad_rows)) == (("a", "c"), 1, 1)
    assert table.bad_rows[0].startswith(message)
