"""Changes: one stream of what has changed on the worker, for everybody who waits for any of its jobs."""

import secrets
from dataclasses import dataclass
from threading import Lock

from aft_contracts import JobChange, WorkerChanges
from aft_worker.bell import Bell

MOST_REMEMBERED = 10_000
"""Jobs whose last change is kept; who comes later than that looks at every job again."""


@dataclass(frozen=True, kw_only=True)
class _Noted:
    kind: str
    job_id: str
    status: str
    step: int | None
    seq: int
    turn_seq: int
    """Where its status became what it is."""

    def behind(self, seq: int) -> JobChange:
        """The change as it is told to somebody who knows everything up to `seq`."""
        is_turn = self.turn_seq > seq
        return JobChange(kind=self.kind, job_id=self.job_id, status=self.status, step=self.step, is_turn=is_turn)


class Changes:
    """The last change of each job, in the order they came; steps of a running job replace each other."""

    def __init__(self, bell: Bell, *, most_remembered: int = MOST_REMEMBERED) -> None:
        self._bell, self._most_remembered = bell, most_remembered
        self.stream = secrets.token_hex(8)
        """Id of the stream: what a restarted worker counts begins anew."""
        self._lock = Lock()
        self._seq = self._turn_seq = self._forgotten_seq = 0
        self._last: dict[tuple[str, str], _Noted] = {}

    def note(self, kind: str, job_id: str, status: str, step: int | None = None) -> None:
        """Tells of a job as it stands now; called from any thread, after the job itself says so."""
        with self._lock:
            before = self._last.pop((kind, job_id), None)
            self._seq += 1
            if before is None or before.status != status:
                self._turn_seq = turn_seq = self._seq
            else:
                turn_seq = before.turn_seq
            self._last[kind, job_id] = _Noted(
                kind=kind, job_id=job_id, status=status, step=step, seq=self._seq, turn_seq=turn_seq
            )
            if len(self._last) > self._most_remembered:
                self._forgotten_seq = self._last.pop(next(iter(self._last))).seq
        self._bell.ring()

    def after(self, stream: str, seq: int) -> WorkerChanges:
        """What has changed behind `seq` of `stream`; of a stream that is not this one, only where this one stands."""
        with self._lock:
            if stream != self.stream or not self._forgotten_seq <= seq <= self._seq:
                return WorkerChanges(stream=self.stream, seq=self._seq, is_complete=False)
            newer: list[JobChange] = []
            for noted in reversed(self._last.values()):
                if noted.seq <= seq:
                    break
                newer.append(noted.behind(seq))
            return WorkerChanges(stream=self.stream, seq=self._seq, is_complete=True, changes=tuple(reversed(newer)))

    async def wait(self, stream: str, seq: int, *, wait_s: float, steps_wait_s: float) -> None:
        """Returns once a status is new behind `seq`; for a step alone not before `steps_wait_s` are over."""
        if stream != self.stream:
            return
        steps_wait_s = min(steps_wait_s, wait_s)
        await self._bell.wait_until(lambda: self._turn_seq > seq, steps_wait_s)
        await self._bell.wait_until(lambda: self._seq > seq, wait_s - steps_wait_s)
