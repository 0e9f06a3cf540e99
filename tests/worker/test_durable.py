"""Files that are written durably: nobody meets another's half, and a failure leaves none behind."""

import os
import time
from pathlib import Path

import pytest

from aft_worker.durable import LEFT_AFTER_S, sweep, unfinished, write_durably
from tests.worker.conftest import largest_file


def test_what_another_writer_has_begun_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "f.part").write_bytes(b"another's, half")
    write_durably(tmp_path / "f", b"ours")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"f": b"ours", "f.part": b"another's, half"}


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    write_durably(tmp_path / "f", b"old")
    with largest_file(4), pytest.raises(OSError, match="too large"):
        write_durably(tmp_path / "f", b"too much")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"f": b"old"}


def test_a_name_that_cannot_be_taken_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "f").mkdir()
    with pytest.raises(IsADirectoryError):
        write_durably(tmp_path / "f", b"content")
    assert [path.name for path in tmp_path.iterdir()] == ["f"]


def aged(path: Path, *, by_s: float) -> None:
    then = time.time() - by_s
    os.utime(path, (then, then))


def test_what_a_kill_left_goes_and_what_another_may_be_writing_stays(tmp_path: Path) -> None:
    folder = tmp_path / "run/artifacts"
    folder.mkdir(parents=True)
    left, at_work = unfinished(folder / "result.json"), unfinished(folder / "result.json")
    for path in (left, at_work, folder / "spare.part"):
        path.write_bytes(b"half")
    left_export, export_at_work = unfinished(folder / "merged"), unfinished(folder / "merged")
    for path in (left_export, export_at_work):
        path.mkdir()
        (path / "model.safetensors").write_bytes(b"half")
    newest = export_at_work / "model.safetensors"
    for path in {*folder.rglob("*")} - {at_work, newest}:
        aged(path, by_s=LEFT_AFTER_S + 60)
    sweep(tmp_path / "run")
    assert {*folder.rglob("*")} == {at_work, folder / "spare.part", export_at_work, newest}


def test_there_may_be_nothing_to_sweep_yet(tmp_path: Path) -> None:
    sweep(tmp_path / "run")
    assert not (tmp_path / "run").exists()
