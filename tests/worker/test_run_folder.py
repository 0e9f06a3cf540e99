"""The fence of a run's folder: it only rises, and whoever holds an older token may not write."""

import fcntl
import multiprocessing
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from aft_worker.durable import write_once
from aft_worker.errors import StorageFailed
from aft_worker.refusals import StaleFence
from aft_worker.run_folder import RunFolder
from tests.worker.conftest import make_unreadable


def admit_all(root: Path, tokens: list[int]) -> None:
    for token in tokens:
        try:
            RunFolder(root, "r").admit(token)
        except StaleFence:
            continue


def test_writer_is_refused_once_a_newer_lease_was_admitted(tmp_path: Path) -> None:
    here, elsewhere = RunFolder(tmp_path, "r"), RunFolder(tmp_path, "r")
    here.admit(3)
    here.check(3)
    elsewhere.admit(4)
    with pytest.raises(StaleFence) as refused:
        here.check(3)
    assert refused.value.facts == {"run_id": "r", "fence_token": 3, "highest": 4}
    elsewhere.check(4)


@pytest.mark.parametrize(
    "spoil",
    [make_unreadable, lambda fence: (fence.unlink(), fence.mkdir()), lambda fence: fence.write_bytes(b"\xff")],
    ids=["bad sector", "folder", "garbage"],
)
def test_fence_that_cannot_be_read_is_a_failure_of_storage_to_whoever_asks(
    tmp_path: Path, spoil: Callable[[Path], object]
) -> None:
    folder = RunFolder(tmp_path, "r")
    folder.admit(3)
    spoil(tmp_path / "r/fence")
    for ask in (folder.check, folder.admit):
        with pytest.raises(StorageFailed, match=r"The fence of run r, .*/r/fence, could not be read"):
            ask(3)


def test_fence_never_sinks_when_workers_on_one_root_admit_at_once(tmp_path: Path) -> None:
    spawned = multiprocessing.get_context("spawn")
    crowd = [spawned.Process(target=admit_all, args=(tmp_path, list(range(start, 200, 2)))) for start in (0, 1)]
    for process in crowd:
        process.start()
    seen = [-1]
    while any(process.is_alive() for process in crowd):
        try:
            seen.append(int((tmp_path / "r" / "fence").read_text()))
        except FileNotFoundError:
            continue
    for process in crowd:
        process.join()
    assert seen == sorted(seen)
    assert (tmp_path / "r" / "fence").read_text() == "199"


def test_a_worker_that_is_frozen_while_it_admits_holds_up_nobody_for_long(tmp_path: Path) -> None:
    RunFolder(tmp_path, "r").admit(3)
    with (tmp_path / "r/fence.lock").open("w") as frozen:
        fcntl.flock(frozen, fcntl.LOCK_EX)
        began = time.monotonic()
        with pytest.raises(StorageFailed, match=r"Nobody could be admitted to run r within 0\.2 s"):
            RunFolder(tmp_path, "r", admit_within_s=0.2).admit(4)
        assert 0.2 <= time.monotonic() - began < 5
        RunFolder(tmp_path, "r").check(3)
    RunFolder(tmp_path, "r").admit(4)


def test_a_run_that_cannot_be_admitted_holds_up_no_other(tmp_path: Path) -> None:
    RunFolder(tmp_path, "r").admit(3)
    with (tmp_path / "r/fence.lock").open("w") as frozen, ThreadPoolExecutor() as threads:
        fcntl.flock(frozen, fcntl.LOCK_EX)
        stuck = threads.submit(RunFolder(tmp_path, "r", admit_within_s=60).admit, 4)
        RunFolder(tmp_path, "s", admit_within_s=0).admit(1)
        assert not stuck.done()
        fcntl.flock(frozen, fcntl.LOCK_UN)
        stuck.result(timeout=30)
    assert (tmp_path / "r/fence").read_text() == "4"


def test_file_that_is_written_once_stays_as_it_is(tmp_path: Path) -> None:
    write_once(tmp_path / "m", b"first")
    with pytest.raises(FileExistsError):
        write_once(tmp_path / "m", b"second")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("m", b"first")]
