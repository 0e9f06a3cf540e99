"""The root's own id: made once, shared by all who see the root."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from aft_worker.storage_root import root_id_of


def test_root_keeps_its_id(tmp_path: Path) -> None:
    first = root_id_of(tmp_path / "new" / "root")
    assert root_id_of(tmp_path / "new" / "root") == first
    assert root_id_of(tmp_path / "other") != first
    assert [path.name for path in (tmp_path / "other").iterdir()] == [".aft-root"]


def test_workers_that_come_at_once_agree(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as crowd:
        assert len(set(crowd.map(root_id_of, [tmp_path] * 32))) == 1
