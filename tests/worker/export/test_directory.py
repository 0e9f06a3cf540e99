"""A directory that appears whole has reached the disk before it has its name."""

import os
from pathlib import Path

import pytest

from aft_worker.export.directory import written_whole


def test_everything_is_flushed_before_the_name_is_given_and_the_name_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out_dir, fsync = tmp_path / "adapter", os.fsync
    flushed: list[tuple[str, bool]] = []

    def noting(descriptor: int) -> None:
        flushed.append((os.readlink(f"/proc/self/fd/{descriptor}"), out_dir.exists()))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", noting)
    with written_whole(out_dir) as unfinished:
        (unfinished / "weights").write_bytes(b"w")
        (unfinished / "tokenizer").mkdir()
        (unfinished / "tokenizer/vocabulary").write_bytes(b"v")
    *contents, last = flushed
    parts = ("", "/weights", "/tokenizer", "/tokenizer/vocabulary")
    assert sorted(contents) == sorted((f"{unfinished}{part}", False) for part in parts)
    assert last == (str(tmp_path), True)
