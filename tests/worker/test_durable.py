"""Files that are written durably: nobody meets another's half, and a failure leaves none behind."""

from pathlib import Path

import pytest

from aft_worker.durable import write_durably
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
