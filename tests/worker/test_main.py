"""The worker process before it serves."""

from pathlib import Path

import pytest

from aft_worker.main import serve
from aft_worker.settings import WorkerSettings


def test_devices_that_cannot_share_the_parameters_are_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"AFT_WORKER_FSDP is 3, .* 1 device\(s\); set it to one of 1\."):
        serve(WorkerSettings(root=tmp_path / "root", fsdp=3))
    assert not (tmp_path / "root").exists()
