"""Where a run's files lie under the worker's root, and who may write there."""

import fcntl
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import IO

from aft_contracts import RunLoad
from aft_worker.durable import write_durably
from aft_worker.errors import StorageFailed
from aft_worker.refusals import InvalidId, StaleFence

_RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")

ADMIT_WITHIN_S = 5.0
"""How long others may keep a run's lock; admitting takes milliseconds, unless the process that does it is frozen."""
_LOOK_EVERY_S = 0.01

_ADMITTING: dict[Path, Lock] = {}
"""One lock a run for the threads here: where `flock` is emulated, as on NFS, it keeps out other processes only."""


class RunFolder:
    """The folder of one run: its checkpoints, jobs and artifacts, its spec, and its fence."""

    def __init__(self, root: Path, run_id: str, *, admit_within_s: float = ADMIT_WITHIN_S) -> None:
        # The id becomes a folder's name, so it must not lead anywhere else.
        if not _RUN_ID.fullmatch(run_id):
            raise InvalidId(
                f"Run id {run_id!r} cannot name a folder; use up to 128 letters, digits, '_', '.' or '-', "
                "beginning with a letter or digit."
            )
        self.run_id, self.path = run_id, root / run_id
        self._admit_within_s = admit_within_s

    @property
    def checkpoints(self) -> Path:
        """Where its checkpoints lie, by generation and step."""
        return self.path / "checkpoints"

    def admit(self, fence_token: int) -> None:
        """Lets the holder of the newest lease pass, and remembers it for good.

        Raises:
            StaleFence: a newer lease has been seen.
            StorageFailed: nobody can tell, or another worker has been admitting for too long.
        """
        with self._alone():
            highest = self._highest()
            if fence_token < highest:
                raise self._stale(fence_token, highest)
            if fence_token > highest:
                write_durably(self._fence, str(fence_token).encode())

    def check(self, fence_token: int) -> None:
        """Let nobody write any more who was admitted under an older lease than somebody else, here or elsewhere.

        Raises:
            StaleFence: a newer lease has been seen.
            StorageFailed: nobody can tell.
        """
        highest = self._highest()
        if fence_token < highest:
            raise self._stale(fence_token, highest)

    def bound_spec(self) -> RunLoad | None:
        """The spec that the run's checkpoints were trained under; None before it was first loaded."""
        path = self.path / "run.json"
        return RunLoad.model_validate_json(path.read_bytes()) if path.is_file() else None

    def bind(self, load: RunLoad) -> None:
        """Ties the run to its spec for good."""
        write_durably(self.path / "run.json", load.model_dump_json(indent=1).encode())

    @property
    def _fence(self) -> Path:
        return self.path / "fence"

    def _highest(self) -> int:
        try:
            return int(self._fence.read_text())
        except FileNotFoundError:
            return -1
        except (OSError, ValueError) as error:
            raise StorageFailed(
                f"The fence of run {self.run_id}, {self._fence}, could not be read ({error}); repair the worker's "
                "disk. What is committed is safe.",
                run_id=self.run_id,
            ) from error

    def _stale(self, fence_token: int, highest: int) -> StaleFence:
        return StaleFence(
            f"Fence token {fence_token} for run {self.run_id} is older than {highest}; renew the lease.",
            run_id=self.run_id,
            fence_token=fence_token,
            highest=highest,
        )

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep other threads, and other workers on the same root, from admitting meanwhile.

        The mark must never sink between one's reading and its writing.
        """
        deadline_s = time.monotonic() + self._admit_within_s
        here = _ADMITTING.setdefault(self.path, Lock())
        if not here.acquire(timeout=self._admit_within_s):
            raise self._kept_out()
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            with self._fence_lock.open("w") as held:
                # Polled, not waited for: a worker that is frozen here keeps its lock for as long as that lasts.
                while not _is_taken(held):
                    if time.monotonic() >= deadline_s:
                        raise self._kept_out()
                    time.sleep(_LOOK_EVERY_S)
                yield
        finally:
            here.release()

    @property
    def _fence_lock(self) -> Path:
        return self.path / "fence.lock"

    def _kept_out(self) -> StorageFailed:
        return StorageFailed(
            f"Nobody could be admitted to run {self.run_id} within {self._admit_within_s:g} s: another worker on this "
            f"root, or a thread of this one, holds {self._fence_lock}. Is one frozen? End it; it is tried again.",
            run_id=self.run_id,
        )


def _is_taken(lock: IO[str]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
