"""Data sets that the library itself wrote or assembles, and what is said when there is none."""

import json
import sys
from pathlib import Path

import datasets
import pytest

from aft_contracts import DataFormat, SourceSpec
from aft_worker.data.content import Chat
from aft_worker.data.errors import DataFileMissing, DataFileUnreadable, DatasetsMissing, SplitMissing
from aft_worker.data.rows import Row, read_rows

ROWS = [{"text": "one", "id": "a", "label": 1}, {"text": None, "id": "b", "label": 2}, {"text": "three", "id": "c"}]


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No hub, and a cache of the test's own."""
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


def told(source: SourceSpec, most_rows: int | None = None) -> list[str]:
    rows = read_rows(source, most_rows=most_rows)
    return [row.sample_id if isinstance(row, Row) else str(row).split(", expected")[0] for row in rows]


def saved(path: Path) -> SourceSpec:
    datasets.Dataset.from_list(ROWS).save_to_disk(path)
    return SourceSpec(path=str(path))


@pytest.mark.parametrize("most_rows", [None, 50])
def test_a_saved_data_set_is_read_by_rows(tmp_path: Path, most_rows: int | None) -> None:
    source = saved(tmp_path / "saved")
    assert told(source, most_rows) == ["a", f"{source.path}, row 2: found `text` that is missing or null", "c"]


def test_only_the_first_rows_are_read_when_no_more_are_asked_for(tmp_path: Path) -> None:
    assert told(saved(tmp_path / "saved"), 1) == ["a"]


def test_a_conversation_of_a_data_set_is_as_in_jsonl(tmp_path: Path) -> None:
    row = {"messages": [{"role": "user", "content": "hi", "name": "x"}, {"role": "assistant", "content": "yes"}]}
    datasets.Dataset.from_list([row]).save_to_disk(tmp_path / "saved")
    (tmp_path / "rows.jsonl").write_text(json.dumps(row))
    (from_disk,), (from_file,) = (read_rows(SourceSpec(path=str(tmp_path / name))) for name in ("saved", "rows.jsonl"))
    assert isinstance(from_disk, Row)
    assert isinstance(from_disk.content, Chat)
    assert from_disk.content == from_file.content
    assert from_disk.sample_id == from_file.sample_id


def test_a_split_is_taken_by_name_or_is_the_only_sensible_one(tmp_path: Path) -> None:
    parts = {name: datasets.Dataset.from_list([{"text": name, "id": name}]) for name in ("one", "two", "train")}
    datasets.DatasetDict(parts).save_to_disk(tmp_path / "all")
    source = SourceSpec(path=str(tmp_path / "all"))
    assert told(source) == ["train"]
    assert told(source.model_copy(update={"split": "two"})) == ["two"]
    with pytest.raises(SplitMissing, match=r"says `split` 'three', the data set .* has \['one', 'train', 'two'\]"):
        told(source.model_copy(update={"split": "three"}))
    del parts["train"]
    datasets.DatasetDict(parts).save_to_disk(tmp_path / "two")
    with pytest.raises(SplitMissing, match=r"says no `split`.* has \['one', 'two'\]; say one"):
        told(SourceSpec(path=str(tmp_path / "two")))


@pytest.mark.parametrize("most_rows", [None, 50])
def test_a_folder_of_files_is_a_data_set(tmp_path: Path, most_rows: int | None) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    for split in ("train", "test"):
        (folder / f"{split}.jsonl").write_text("".join(json.dumps({"text": f"{split} {n}"}) + "\n" for n in range(3)))
    contents = [row.content.text for row in read_rows(SourceSpec(path=str(folder)), most_rows=most_rows)]
    assert contents == ["train 0", "train 1", "train 2"]
    sliced = SourceSpec(path=str(folder), split="test[:1]")
    assert [row.content.text for row in read_rows(sliced, most_rows=most_rows)] == ["test 0"]


def test_code_of_a_data_set_is_never_run(tmp_path: Path) -> None:
    folder = tmp_path / "scripted"
    folder.mkdir()
    (folder / "scripted.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    with pytest.raises(DataFileUnreadable, match="scripts are no longer supported"):
        told(SourceSpec(path=str(folder)))
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("most_rows", [None, 50])
def test_values_that_the_library_stumbles_over_are_not_repeated(tmp_path: Path, most_rows: int | None) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "train-0.jsonl").write_text('{"text": 1}\n')
    (folder / "train-1.jsonl").write_text('{"text": "my secret"}\n')
    with pytest.raises(DataFileUnreadable, match="cannot be opened as a data set") as caught:
        told(SourceSpec(path=str(folder)), most_rows)
    assert "secret" not in str(caught.value)


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataFileMissing):
        told(SourceSpec(path=str(tmp_path / "gone"), format=DataFormat.DATASET))
    with pytest.raises(DataFileUnreadable, match=r"'nobody/nothing' cannot be opened as a data set \(ConnectionError"):
        told(SourceSpec(path="nobody/nothing", format=DataFormat.DATASET))
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataFileUnreadable, match="cannot be opened as a data set"):
        told(SourceSpec(path=str(tmp_path / "empty")))


def test_a_worker_without_the_library_says_which_extra_it_lacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = saved(tmp_path / "saved")
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(DatasetsMissing, match=r"pip install 'aft\[datasets\]'"):
        told(source)
