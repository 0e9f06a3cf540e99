"""The same rows are the same samples, whichever file format carries them."""

import csv
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aft_contracts import SourceSpec
from aft_worker.data.rows import Row, read_rows

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
IDS = st.none() | st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=6)
WEIGHTS = st.none() | st.floats(0, 8, width=32)
MESSAGES = st.fixed_dictionaries(
    {"role": st.sampled_from(["system", "user", "assistant"]), "content": TEXTS}, optional={"name": TEXTS}
)
CONTENTS = st.one_of(
    st.fixed_dictionaries({"messages": st.lists(MESSAGES, min_size=1, max_size=4)}),
    st.fixed_dictionaries({"prompt": TEXTS, "completion": TEXTS.filter(bool)}),
    st.fixed_dictionaries({"instruction": TEXTS, "input": TEXTS, "output": TEXTS.filter(bool)}),
    st.fixed_dictionaries({"text": TEXTS.filter(bool)}),
)
ROWS = st.lists(st.tuples(CONTENTS, IDS, WEIGHTS), min_size=1, max_size=6).map(
    lambda drawn: [
        content | ({} if own is None else {"id": own}) | ({} if weight is None else {"weight": weight})
        for content, own, weight in drawn
    ]
)


def write_jsonl(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def write_json(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text(json.dumps(rows, indent=2))


def write_parquet(path: Path, rows: list[dict[str, Any]]) -> None:
    columns = sorted({column for row in rows for column in row})
    pq.write_table(pa.table({column: [row.get(column) for row in rows] for column in columns}), path)


def write_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    columns = sorted({column for row in rows for column in row})
    with path.open("w", newline="") as file:
        table = csv.DictWriter(file, columns, restval="")
        table.writeheader()
        table.writerows(
            {name: json.dumps(cell) if isinstance(cell, list) else cell for name, cell in row.items()} for row in rows
        )


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(rows=ROWS)
def test_ids_and_contents_do_not_depend_on_the_format(tmp_path: Path, rows: list[dict[str, Any]]) -> None:
    understood = []
    for ending, write in {"jsonl": write_jsonl, "json": write_json, "parquet": write_parquet, "csv": write_csv}.items():
        path = tmp_path / f"rows.{ending}"
        write(path, rows)
        read = list(read_rows(SourceSpec(path=str(path))))
        assert all(isinstance(row, Row) for row in read), (ending, read)
        understood.append([(row.sample_id, row.content_hash, row.weight, row.content) for row in read])
    assert understood[0] == understood[1] == understood[2] == understood[3]
    assert len(understood[0]) == len(rows)


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_a_line_of_plain_text_is_the_same_sample_as_in_jsonl(tmp_path: Path, newline: str) -> None:
    (tmp_path / "a.txt").write_bytes(f"one{newline}two  words{newline}".encode())
    write_jsonl(tmp_path / "a.jsonl", [{"text": "one"}, {"text": "two  words"}])
    text, jsonl = (list(read_rows(SourceSpec(path=str(tmp_path / name)))) for name in ("a.txt", "a.jsonl"))
    assert [row.sample_id for row in text] == [row.sample_id for row in jsonl]
