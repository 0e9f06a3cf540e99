"""The worker's disk, which can be full: a small tmpfs where one may be mounted, else a limit on its files."""

import errno
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import psutil

from tests.acceptance.processes import Service

SIZE_MB = 64
"""Ample for the checkpoints of a few dozen small runs, and soon filled."""
MOUNT_WITHIN_S = 10


class Disk(Protocol):
    """What the worker writes on."""

    name: str

    def fill(self, room_bytes: int) -> None:
        """Leave room for so much, and no more."""

    def free(self) -> None:
        """Make room again."""


@dataclass(kw_only=True)
class SmallDisk:
    """A file system of its own: once its ballast fills it, every write meets ENOSPC, also after a restart."""

    path: Path
    name: str = f"a tmpfs of {SIZE_MB} MB"

    @property
    def _ballast(self) -> Path:
        return self.path / "ballast"

    def fill(self, room_bytes: int) -> None:
        """Ballast on all that is free but `room_bytes`, rounded down to pages; the worker may write meanwhile."""
        with self._ballast.open("wb") as file:
            while (size := shutil.disk_usage(self.path).free - room_bytes) > 0:
                try:
                    os.posix_fallocate(file.fileno(), 0, size)
                except OSError as error:  # what was free a moment ago is taken, and nothing was allocated
                    if error.errno != errno.ENOSPC:
                        raise
                else:
                    return

    def free(self) -> None:
        """Throw the ballast off."""
        self._ballast.unlink(missing_ok=True)


@dataclass(kw_only=True)
class LimitedFiles:
    """Where nothing may be mounted: no file of the process grows beyond a size. A restart ends it."""

    worker: Service
    name: str = "a limit on the worker's files"

    def fill(self, room_bytes: int) -> None:
        """The limit on what it may raise stays, so that it can be taken away."""
        self._limit(room_bytes)

    def free(self) -> None:
        """Take the limit away again; a process that was started since never had it."""
        self._limit(None)

    def _limit(self, most_bytes: int | None) -> None:
        assert self.worker.process is not None
        if self.worker.process.poll() is None:
            process = psutil.Process(self.worker.process.pid)
            _, hard = process.rlimit(psutil.RLIMIT_FSIZE)
            process.rlimit(psutil.RLIMIT_FSIZE, (hard if most_bytes is None else most_bytes, hard))


@contextmanager
def disk_at(path: Path, worker: Service) -> Iterator[Disk]:
    """A disk at `path` for the worker, gone at the end with all that is on it."""
    path.mkdir(parents=True, exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SIZE_MB}m,mode=0755", "aft-chaos", str(path)]
    if subprocess.run(mount, capture_output=True, timeout=MOUNT_WITHIN_S).returncode != 0:
        yield LimitedFiles(worker=worker)
        return
    try:
        yield SmallDisk(path=path)
    finally:
        subprocess.run(["umount", str(path)], check=True, timeout=MOUNT_WITHIN_S)
