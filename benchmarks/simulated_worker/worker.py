"""The simulated worker: its runs, its jobs and what it has trained, on the event loop's clock."""

import asyncio
import random
from bisect import bisect_right
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

BAD_ROW = "bad-row"
"""A run of this name has a row without a finite loss in its first window."""


@dataclass(kw_only=True)
class Job:
    """An accepted job. A window advances with the clock from `begun_at_s` on; any other kind ends at once."""

    kind: str
    job_id: str
    spec_hash: str
    spec: dict[str, Any]
    bad_row: bool
    seconds: float = 0.0
    begun_at_s: float | None = None
    cancelled_after: int | None = None
    """Steps after which it was told to stop."""
    ended: bool = False
    told_seq: int = 0
    """Place in the stream of changes of the step it was last told to stand at."""
    told_steps: int = 0

    @property
    def run_id(self) -> str:
        """Its run."""
        return str(self.spec["run_id"])

    @property
    def start_step(self) -> int:
        """A window's first step."""
        return int(self.spec["start_step"])

    @property
    def num_steps(self) -> int:
        """Steps that a window trains: as many as asked for, unless it was cancelled."""
        return int(self.spec["num_steps"]) if self.cancelled_after is None else self.cancelled_after

    def steps_done(self, now_s: float) -> int:
        """Finished steps of a window."""
        if self.ended:
            return self.num_steps
        if self.begun_at_s is None:
            return 0
        share = (now_s - self.begun_at_s) / self.seconds
        return min(self.num_steps, int(share * int(self.spec["num_steps"])))

    def is_due(self, now_s: float, after_step: int) -> bool:
        """Whether there is news for someone who knows of the steps up to `after_step`."""
        return self.ended or (self.kind == "windows" and self.start_step + self.steps_done(now_s) - 1 > after_step)

    def status(self) -> str:
        """Where it stands."""
        if self.ended:
            return "committed" if self.cancelled_after is None else "cancelled"
        return "accepted" if self.begun_at_s is None else "running"

    def due_at_s(self, after_step: int) -> float | None:
        """When a step behind `after_step` will be done; None while nothing is trained."""
        if self.begun_at_s is None or self.kind != "windows":
            return None
        known = max(0, after_step - self.start_step + 1)
        return self.begun_at_s + (known + 1) * self.seconds / int(self.spec["num_steps"])


@dataclass(kw_only=True)
class SimulatedWorker:
    """A worker with room for every run. While it is held no window advances."""

    window_s: tuple[float, float]
    """Shortest and longest window, in seconds."""
    is_held: bool = False
    runs: dict[str, dict[str, Any]] = field(default_factory=dict)
    fences: dict[str, int] = field(default_factory=dict)
    jobs: dict[str, Job] = field(default_factory=dict)
    jobs_of: dict[str, list[Job]] = field(default_factory=dict)
    """The same jobs by their run, oldest first."""
    steps: dict[str, int] = field(default_factory=dict)
    """Steps in each run's weights."""
    trainings: Counter[str] = field(default_factory=Counter)
    """How often each window's training has ended in the weights."""
    misplaced: list[str] = field(default_factory=list)
    """Windows that did not begin where the weights stood."""
    seq: int = 0
    """Place in the stream of changes."""
    turns: list[Job] = field(default_factory=list)
    """Jobs whose status has changed, one for each place in `turn_seqs`."""
    turn_seqs: list[int] = field(default_factory=list)
    active: dict[str, Job] = field(default_factory=dict)
    """Windows that are being trained."""
    _chance: random.Random = field(default_factory=lambda: random.Random(0))
    _changed: asyncio.Event = field(default_factory=asyncio.Event)
    _turned: asyncio.Event = field(default_factory=asyncio.Event)

    def accept(self, job: Job) -> None:
        """Take up a job that is new."""
        self.jobs[job.job_id] = job
        self.jobs_of.setdefault(job.run_id, []).append(job)
        if job.kind != "windows":
            job.ended = True
            self._turn(job)
            return
        if job.start_step != self.steps.get(job.run_id, 0):
            self.misplaced.append(job.job_id)
        job.seconds = self._chance.uniform(*self.window_s)
        if not self.is_held:
            self._begin(job)

    def hold(self) -> None:
        """Let no window begin."""
        self.is_held = True

    def let_go(self) -> None:
        """Let those begin that wait."""
        self.is_held = False
        for job in self.jobs.values():
            if job.kind == "windows" and not job.ended and job.begun_at_s is None:
                self._begin(job)
        self.ring()

    def cancel(self, job: Job) -> None:
        """Stop a window after its current step."""
        if not job.ended and job.cancelled_after is None:
            done = job.steps_done(asyncio.get_running_loop().time())
            job.cancelled_after = min(job.num_steps, done + 1)
            step_s = job.seconds / int(job.spec["num_steps"])
            asyncio.get_running_loop().call_later(0 if job.begun_at_s is None else step_s, self._end, job)

    def settle(self, run_id: str) -> None:
        """Forget the run's ended jobs: whoever asks has their results on record."""
        jobs = self.jobs_of.get(run_id, [])
        for job in jobs:
            if job.ended:
                del self.jobs[job.job_id]
        self.jobs_of[run_id] = [job for job in jobs if not job.ended]

    def release(self, run_id: str) -> None:
        """Forget a run."""
        self.runs.pop(run_id, None)

    def ring(self) -> None:
        """Make every waiter look again."""
        self._changed.set()
        self._changed = asyncio.Event()

    async def wait(self, job: Job, *, wait_s: float, after_step: int) -> None:
        """Until there is news of the job, `wait_s` at most."""
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + wait_s
        while not job.is_due(now_s := loop.time(), after_step) and now_s < deadline_s:
            due_at_s = job.due_at_s(after_step)
            until_s = deadline_s if due_at_s is None else min(deadline_s, due_at_s)
            try:
                async with asyncio.timeout_at(until_s + 0.0005):
                    await self._changed.wait()
            except TimeoutError:
                continue

    def changed_since(self, seq: int) -> tuple[list[Job], list[Job]]:
        """Jobs whose status, and other jobs whose step, has changed behind a place in the stream."""
        now_s = asyncio.get_running_loop().time()
        for job in self.active.values():
            if (steps := job.steps_done(now_s)) != job.told_steps:
                self.seq += 1
                job.told_steps, job.told_seq = steps, self.seq
        turned = {job.job_id: job for job in self.turns[bisect_right(self.turn_seqs, seq) :]}
        stepped = [job for job in self.active.values() if job.told_seq > seq and job.job_id not in turned]
        return list(turned.values()), stepped

    async def wait_for_changes(self, seq: int, *, wait_s: float, steps_wait_s: float) -> None:
        """Until a status has changed behind a place in the stream; steps alone are told less often."""
        loop = asyncio.get_running_loop()
        until_s = loop.time() + (min(wait_s, steps_wait_s) if self.active else wait_s)
        try:
            async with asyncio.timeout_at(until_s):
                while not self.turn_seqs or self.turn_seqs[-1] <= seq:
                    await self._turned.wait()
        except TimeoutError:
            return

    def _turn(self, job: Job) -> None:
        self.seq += 1
        self.turns.append(job)
        self.turn_seqs.append(self.seq)
        self._turned.set()
        self._turned = asyncio.Event()

    def _begin(self, job: Job) -> None:
        loop = asyncio.get_running_loop()
        self.active[job.job_id] = job
        self._turn(job)
        job.begun_at_s = loop.time()
        loop.call_later(job.seconds, self._end, job)

    def _end(self, job: Job) -> None:
        if not job.ended:
            job.ended = True
            self.active.pop(job.job_id, None)
            self.trainings[job.job_id] += 1
            self.steps[job.run_id] = job.start_step + job.num_steps
            self._turn(job)
            self.ring()
