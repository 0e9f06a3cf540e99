"""Jobs: asks a worker for something until it is done, through restarts on either side."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from aft_api.answers import JobSpec, Misfit, job_misfit, load_misfit
from aft_api.clock import loop_s
from aft_api.db.fence import LeaseLost
from aft_api.runs.events import record
from aft_api.runs.repository import get_run, note_run
from aft_api.supervisor.ports import Ports, RunFailed
from aft_api.worker_client import JobKind, WorkerAnswerInvalid, WorkerRefused, WorkerUnreachable
from aft_api.workers.registry import find_worker
from aft_contracts import (
    ENDED,
    Contract,
    EventKind,
    JobView,
    LoadedRun,
    LoadStatus,
    Problem,
    RunLoad,
    RunSpec,
    digest_of,
)

RETRY_CODES = frozenset({"run_not_loaded", "no_free_slot", "job_not_found"})
"""Answers of a worker that is well but not ready: it restarted, or other runs fill it."""

MAX_ATTEMPTS = 5
"""Attempts at one job that a worker answers with a failure or nonsense; then the run fails, or a human is asked."""

TOLD_AFTER = 5
"""Times in a row that a worker is not ready, after which the run says so; it goes on waiting."""

OnView = Callable[[JobView[Contract]], Awaitable[None]]


class JobFailed(Exception):
    """An attempt at a job failed, or what came of it cannot be believed; another one may succeed."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        super().__init__(problem.detail)


async def run_job(
    ports: Ports, run_id: str, kind: JobKind, job_id: str, spec: JobSpec, *, on_view: OnView | None = None
) -> JobView[Contract]:
    """The job, ended, with a result that fits what was asked.

    A worker that does not answer is asked again, and one that is not ready is waited for as long as that takes.

    Nothing is held open meanwhile: the worker's feed wakes us, and then the job is asked.

    Raises:
        JobFailed: the worker says that it failed, refuses it, answers what cannot be, or shows nothing new of it for
            `job_silence_s`: the same each time, that it loads, or, though it is not lost, no answer. A `stale_fence` is
            a refusal like any other here: whoever writes it down learns from the store whether the lease is lost.
        RunFailed: the worker cannot load the run.
        LeaseLost: the run has a newer owner, or its worker does not answer and the run is no longer there.
        Stopped: the process is to end; the job goes on at the worker, and is asked for again by the next.
    """
    async with ports.stop.breaks_off():
        return await _patiently(ports, run_id, kind, job_id, spec, on_view)


async def _patiently(
    ports: Ports, run_id: str, kind: JobKind, job_id: str, spec: JobSpec, on_view: OnView | None
) -> JobView[Contract]:
    refusals, silence = 0, _Silence(ports=ports)
    while True:
        try:
            view = await _ended(ports, run_id, kind, job_id, spec, on_view, silence)
        except WorkerUnreachable as error:
            ports.known.is_loaded = False
            await _refuse_elsewhere(ports, run_id)
            await _note_trouble(ports, run_id, EventKind.WORKER_UNREACHABLE, error.problem)
            if silence.is_too_long:
                raise JobFailed(
                    silence.problem(f"is not lost, and has told nothing new of {job_id}", str(error))
                ) from error
            async with ports.turn.let_others():
                await ports.feed.reached(at_least_s=ports.settings.retry_s, at_most_s=ports.settings.poll_s)
            continue
        except WorkerRefused as error:
            ports.known.is_loaded = False
            if error.reported.code not in RETRY_CODES:
                raise JobFailed(error.reported) from error
            silence.breaks()  # it answers, and says what it waits for
            refusals += 1
            if refusals % TOLD_AFTER == 0:
                await _note_trouble(ports, run_id, EventKind.WORKER_NOTE, error.reported)
        except WorkerAnswerInvalid as error:
            raise JobFailed(error.problem) from error
        else:
            if view.problem is not None:
                raise JobFailed(view.problem)
            return view
        async with ports.turn.let_others():
            await asyncio.sleep(ports.settings.retry_s)


async def patient_job(ports: Ports, run_id: str, kind: JobKind, job_id: str, spec: JobSpec) -> Contract:
    """The result of a job. A failed attempt is recorded and, after a pause, made again.

    Raises:
        JobFailed: the last attempt failed too.
        RunFailed, LeaseLost: as `run_job`.
    """
    attempts = 0
    while True:
        try:
            view = await run_job(ports, run_id, kind, job_id, spec)
        except JobFailed as failure:
            attempts += 1
            await _note_failure(ports, run_id, job_id, attempts, failure.problem)
            if attempts >= MAX_ATTEMPTS:
                raise
            await pause_after(ports, attempts)
        else:
            assert view.result is not None, "a job without a result is judged a misfit"
            return view.result


async def pause_after(ports: Ports, attempts: int) -> None:
    """Wait before the next attempt, twice as long after each: a disk that is full now may not be in a while.

    After a human has answered it begins anew.
    """
    async with ports.stop.breaks_off(), ports.turn.let_others():
        await asyncio.sleep(ports.settings.retry_s * 2 ** ((attempts - 1) % MAX_ATTEMPTS))


@dataclass(kw_only=True)
class _Silence:
    """How long a worker has shown nothing new of a job, whatever came between: the same again, or no answer."""

    ports: Ports
    _since_s: float = field(default_factory=loop_s)
    _shown: object = None

    @property
    def is_too_long(self) -> bool:
        return loop_s() - self._since_s >= self.ports.settings.job_silence_s

    def breaks(self, shows: object = None) -> None:
        """There was something to hear: count from now."""
        self._shown, self._since_s = shows, loop_s()

    def hear(self, shows: object, job: str, status: str) -> None:
        """The worker answers, and shows the job so.

        Raises:
            JobFailed: as for too long.
        """
        if shows != self._shown:
            self.breaks(shows)
        elif self.is_too_long:
            raise JobFailed(self.problem(f"answers, and has shown {job} as {status} without a change"))

    def problem(self, what: str, why: str = "") -> Problem:
        """That a worker does something for too long."""
        return Problem(
            title="A job does not move.",
            status=504,
            code="job_silent",
            detail=f"The worker at {self.ports.worker.base_url} {what} for {self.ports.settings.job_silence_s:g} s "
            f"(job_silence_s); look at the worker, and restart it if it hangs.{why and ' '}{why}",
        )


async def _ended(
    ports: Ports,
    run_id: str,
    kind: JobKind,
    job_id: str,
    spec: JobSpec,
    on_view: OnView | None,
    silence: _Silence,
) -> JobView[Contract]:
    """The job, ended; every view of it fits the job that was asked for."""
    run = await ports.spec(run_id)
    if not ports.known.is_loaded:  # a worker that has lost it since refuses the job, and is asked to load again
        await _ensure_loaded(ports, run_id, run, silence)
        ports.known.is_loaded = True
    spec_hash = digest_of(spec)
    with ports.feed.listen(run_id, kind, job_id) as ear:
        # A window is planned from what is on record, so whatever ran before it is.
        view = await ports.worker.put(kind, job_id, spec, ports.fence_token, settles=kind == "windows")
        await _note_reachable(ports, run_id)
        while True:
            _refuse(ports, job_misfit(view, spec, spec_hash, run))
            if view.status in ENDED:
                return view
            silence.hear((view.status, view.step, len(view.progress)), job_id, view.status)
            if on_view is not None:
                await on_view(view)
            async with ports.turn.let_others():
                await ear.wait(ports.settings.poll_s)
            view = await ports.worker.get(kind, job_id)


async def _ensure_loaded(ports: Ports, run_id: str, spec: RunSpec, silence: _Silence) -> None:
    """Return once the worker holds the run."""
    loaded = await _loaded(ports, RunLoad(run_id=run_id, spec=spec), silence)
    if loaded.problem is not None:
        # Below 500 it is about what was asked for and will not change; the rest may be better next time.
        raise RunFailed(loaded.problem) if loaded.problem.status < 500 else JobFailed(loaded.problem)
    domains = {name: size.model_dump(mode="json") for name, size in loaded.domains.items()}
    async with ports.store.reads() as session:
        is_known = (await get_run(session, run_id)).domains == domains
    if not is_known:
        async with ports.store.sessions.begin() as session:
            await note_run(session, run_id, domains=domains)


async def _loaded(ports: Ports, load: RunLoad, silence: _Silence) -> LoadedRun:
    with ports.feed.listen(load.run_id, "runs", load.run_id) as ear:
        loaded = await ports.worker.load(load, ports.fence_token)
        while True:
            _refuse(ports, load_misfit(loaded, load))
            if loaded.status is not LoadStatus.LOADING:
                return loaded
            silence.hear(loaded.status, f"run {load.run_id}", loaded.status)
            async with ports.turn.let_others():
                await ear.wait(ports.settings.poll_s)
            loaded = await ports.worker.loaded(load.run_id)


def _refuse(ports: Ports, misfit: Misfit) -> None:
    if misfit is not None:
        raise WorkerAnswerInvalid(f"An answer of the worker at {ports.worker.base_url} {misfit}.")


async def _note_failure(ports: Ports, run_id: str, job_id: str, attempts: int, problem: Problem) -> None:
    async with ports.store.sessions.begin() as session:
        await record(
            session, run_id, EventKind.JOB_FAILED,
            f"{job_id} failed, attempt {attempts} of {MAX_ATTEMPTS}: {problem.detail}",
            key=f"{job_id}:{ports.fence_token}:{attempts}", clock=ports.clock, code=problem.code, job_id=job_id,
        )  # fmt: skip


async def _refuse_elsewhere(ports: Ports, run_id: str) -> None:
    """Do not wait for a worker that the run has been taken from: nobody who waits there looks anywhere else.

    Raises:
        LeaseLost: the run was given to another worker, or its worker has another address. The next drive finds it.
    """
    async with ports.store.reads() as session:
        given = (await get_run(session, run_id)).worker_id
        worker = None if given is None else await find_worker(session, given)
    if given != ports.worker_id or (worker is not None and worker.base_url != ports.worker.base_url):
        raise LeaseLost(run_id)


async def _note_trouble(ports: Ports, run_id: str, kind: EventKind, problem: Problem) -> None:
    """Let the run say what its worker keeps it waiting with, once for as long as that lasts."""
    ports.known.is_clear = False
    async with ports.store.sessions.begin() as session:
        row = await get_run(session, run_id, for_update=True)
        if row.problem is None:
            row.problem = problem.model_dump(mode="json")
            await record(
                session, run_id, kind, problem.detail, key=ports.clock().isoformat(), clock=ports.clock,
                step=row.step, url=ports.worker.base_url,
            )  # fmt: skip


async def _note_reachable(ports: Ports, run_id: str) -> None:
    if ports.known.is_clear:
        return
    async with ports.store.reads() as session:
        is_clear = (await get_run(session, run_id)).problem is None
    if not is_clear:
        async with ports.store.sessions.begin() as session:
            await note_run(session, run_id, problem=None)
    ports.known.is_clear = True
