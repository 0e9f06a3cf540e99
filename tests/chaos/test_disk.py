"""The disk that the chaos fills is really full, and really empty again."""

import errno
from pathlib import Path

import pytest

from tests.acceptance.processes import Service
from tests.chaos.disk import SmallDisk, disk_at

PAGE = 4096


def test_a_full_disk_takes_what_there_is_room_for_until_it_is_freed(tmp_path: Path) -> None:
    worker = Service(module="none", environment={}, health_url="", log=tmp_path / "log")
    path = tmp_path / "worker"
    with disk_at(path, worker) as disk:
        if not isinstance(disk, SmallDisk):
            pytest.skip("no file system may be mounted here: the chaos limits the worker's files instead")
        (path / "before").write_bytes(b"x" * PAGE)
        disk.fill(2 * PAGE)
        (path / "small").write_bytes(b"x" * PAGE)
        with pytest.raises(OSError, match="No space left") as caught:
            (path / "large").write_bytes(b"x" * 3 * PAGE)
        assert caught.value.errno == errno.ENOSPC
        disk.free()
        (path / "large").write_bytes(b"x" * 3 * PAGE)
        assert (path / "before").stat().st_size == PAGE
    assert list(path.iterdir()) == []
