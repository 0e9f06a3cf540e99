"""Rows as people write them in JSONL: what is understood, and what is said about the rest."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from aft_contracts import DataSpec, DomainSpec, OnBadRow, SourceSpec
from aft_worker.data.content import Chat, Completion, Text
from aft_worker.data.encoder import RowEncoder, load_encoder
from aft_worker.data.errors import BadRow, DataFileMissing, DuplicateSampleId, EmptyDomain
from aft_worker.data.rows import Row, read_rows
from aft_worker.data.table import load_table, load_training_tables

TURN = {"role": "user", "content": "hi"}


@pytest.fixture
def encoder(tiny_model_dir: Path) -> RowEncoder:
    return load_encoder(tiny_model_dir, max_length=32)


def file_of(path: Path, *lines: Any) -> SourceSpec:
    path.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))
    return SourceSpec(path=str(path))


def read_one(tmp_path: Path, line: Any) -> Row:
    (row,) = read_rows(file_of(tmp_path / "rows.jsonl", line))
    assert isinstance(row, Row)
    return row


@pytest.mark.parametrize(
    ("line", "content"),
    [
        ({"messages": [TURN], "prompt": "x", "source": 3}, Chat(messages=(TURN,))),
        ({"prompt": "a", "completion": "b", "text": "c"}, Completion(prompt="a", completion="b")),
        ({"text": "c", "prompt": "a"}, Text(text="c")),
    ],
)
def test_rows_are_told_apart_by_their_keys(tmp_path: Path, line: dict[str, Any], content: object) -> None:
    assert read_one(tmp_path, line).content == content


def test_an_id_is_the_rows_own_or_its_contents_hash(tmp_path: Path) -> None:
    assert read_one(tmp_path, {"text": "c", "id": 7}).sample_id == "7"
    plain = read_one(tmp_path, {"text": "c"}).sample_id
    assert plain == "6a363713d4751beb"  # sha256 of {"text":"c","weight":1.0}
    assert read_one(tmp_path, {"source": "web", "text": "c"}).sample_id == plain
    assert (
        len({plain, *(read_one(tmp_path, row).sample_id for row in [{"text": "d"}, {"text": "c", "weight": 2}])}) == 3
    )


def test_a_huge_weight_stays_as_given(tmp_path: Path, encoder: RowEncoder) -> None:
    table = load_table(file_of(tmp_path / "x.jsonl", {"text": "abc", "weight": 3e38}), encoder, OnBadRow.FAIL)
    assert table.weights.tolist() == [pytest.approx(3e38, rel=1e-7)]


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("{", "something that is not JSON"),
        ("[1]", "JSON of type list"),
        ({"prompt": "a"}, r"an object with the keys \['prompt'\]"),
        ({"text": 3}, "`text` that is of type int"),
        ({"text": "\ud800"}, "`text` with half of a surrogate pair"),
        ({"text": "a", "weight": -1}, "`weight` -1"),
        ({"text": "a", "weight": float("nan")}, "`weight` nan"),
        ({"text": "a", "weight": 1e39}, "`weight` 1e.39"),
        ({"text": "a", "weight": True}, "`weight` that is of type bool"),
        ({"text": "a", "id": ""}, "`id` that is an empty str"),
        ({"messages": []}, "`messages` that is an empty list"),
        ({"messages": ["hi"]}, "a message 0 that is of type str"),
        ({"messages": [{"role": "user", "content": None}]}, r"`messages\[0\].content` that is missing or null"),
        ({"messages": [TURN]}, "no token that carries loss"),
        ({"text": ""}, "no token that carries loss"),
        ({"prompt": "p" * 40, "completion": "c"}, "no token that carries loss within max_length = 32"),
    ],
)
def test_a_bad_row_says_where_it_is_and_what_was_expected(
    tmp_path: Path, encoder: RowEncoder, line: Any, found: str
) -> None:
    path = file_of(tmp_path / "bad.jsonl", {"text": "fine"}, "", line)
    with pytest.raises(BadRow, match=rf"bad.jsonl, line 3: found {found}.*, expected "):
        load_table(path, encoder, OnBadRow.FAIL)
    table = load_table(path, encoder, OnBadRow.SKIP)
    assert (len(table), table.skipped) == (1, 1)
    assert re.match(rf".*bad.jsonl, line 3: found {found}.*, expected ", *table.bad_rows)


def test_a_bad_rows_text_is_not_repeated(tmp_path: Path, encoder: RowEncoder) -> None:
    path = file_of(tmp_path / "bad.jsonl", {"messages": [{"role": "user", "content": "secret"}]}, '{"text": "secret')
    for row in read_rows(path):
        assert "secret" not in str(row) or isinstance(row, Row)
    with pytest.raises(BadRow) as caught:
        load_table(path, encoder, OnBadRow.FAIL)
    assert "secret" not in str(caught.value)


def test_only_the_first_bad_rows_are_kept_in_words(tmp_path: Path, encoder: RowEncoder) -> None:
    table = load_table(file_of(tmp_path / "bad.jsonl", *["{"] * 15, {"text": "abc"}), encoder, OnBadRow.SKIP)
    assert (table.skipped, len(table.bad_rows)) == (15, 10)
    assert table.bad_rows[9].startswith(f"{tmp_path / 'bad.jsonl'}, line 10: found something that is not JSON")


def test_the_content_hash_does_not_depend_on_id_and_weight(tmp_path: Path, encoder: RowEncoder) -> None:
    rows = [{"text": "abc"}, {"text": "abc", "id": "x"}, {"text": "abc", "weight": 2}, {"text": "abd"}]
    table = load_table(file_of(tmp_path / "rows.jsonl", *rows), encoder, OnBadRow.FAIL)
    first, named, weighted, other = table.content_hashes
    assert first == named == weighted != other
    assert len(set(table.sample_ids)) == 4


def test_a_missing_file_is_named(tmp_path: Path, encoder: RowEncoder) -> None:
    with pytest.raises(DataFileMissing, match=r"gone\.jsonl"):
        load_table(SourceSpec(path=str(tmp_path / "gone.jsonl")), encoder, OnBadRow.SKIP)


def test_named_ids_are_unique_in_and_over_files(tmp_path: Path, encoder: RowEncoder) -> None:
    twice = file_of(tmp_path / "twice.jsonl", {"id": "x", "text": "a"}, {"id": "x", "text": "b"})
    with pytest.raises(DuplicateSampleId, match="lines 1 and 2 both have the id 'x'"):
        load_table(twice, encoder, OnBadRow.SKIP)
    domains = {
        name: DomainSpec(path=file_of(tmp_path / name, {"id": "x", "text": name}).path) for name in ("one", "two")
    }
    with pytest.raises(DuplicateSampleId, match="Domains 'one' and 'two' both have a row with the id 'x'"):
        load_training_tables(DataSpec(domains=domains), encoder)


def test_rows_of_equal_content_are_one_sample(tmp_path: Path, encoder: RowEncoder) -> None:
    table = load_table(file_of(tmp_path / "x.jsonl", {"text": "abc"}, {"text": "abc"}), encoder, OnBadRow.FAIL)
    assert len(table) == 2
    assert len(set(table.sample_ids)) == 1


def test_a_domain_without_rows_is_an_error_unless_it_is_never_drawn(tmp_path: Path, encoder: RowEncoder) -> None:
    empty = file_of(tmp_path / "empty.jsonl").path
    full = DomainSpec(path=file_of(tmp_path / "full.jsonl", {"text": "abc"}).path)
    with pytest.raises(EmptyDomain, match="Domain 'b' has no usable row"):
        load_training_tables(DataSpec(domains={"a": full, "b": DomainSpec(path=empty)}), encoder)
    unused = DataSpec(domains={"a": full, "b": DomainSpec(path=empty, weight=0)})
    assert len(load_training_tables(unused, encoder)["b"]) == 0
