"""Jobs: asks a worker for something until it is done, through restarts on either side."""

import asyncio
from collections.abc import Awaitable, Callable

from aft_api.db.fence import LeaseLost
from aft_api.runs.events import record
from aft_api.runs.repository import get_run, note_run
from aft_api.supervisor.ports import Ports, RunFailed
from aft_api.worker_client import JobKind, JobSpec, WorkerRefused, WorkerUnreachable
from aft_contracts import ENDED, Contract, EventKind, JobView, LoadStatus, RunLoad, RunSpec

RETRY_CODES = frozenset({"run_not_loaded", "no_free_slot", "job_not_found"})
"""Answers of a worker that is well but not ready: it restarted, or other runs fill it."""

OnView = Callable[[JobView[Contract]], Awaitable[None]]


async def run_job(
    ports: Ports, run_id: str, kind: JobKind, job_id: str, spec: JobSpec, *, on_view: OnView | None = None
) -> JobView[Contract]:
    """The ended job. Waits as long as it takes: a worker that does not answer is asked again until it does.

    Nothing is held open meanwhile: the worker's feed wakes us, and then the job is asked.

    Raises:
        RunFailed: the worker cannot load the run.
        LeaseLost: the worker has seen a newer owner of the run.
        Stopped: the process is to end; the job goes on at the worker, and is asked for again by the next.
    """
    async with ports.stop.breaks_off():
        return await _ended(ports, run_id, kind, job_id, spec, on_view)


async def _ended(
    ports: Ports, run_id: str, kind: JobKind, job_id: str, spec: JobSpec, on_view: OnView | None
) -> JobView[Contract]:
    while True:
        try:
            await _ensure_loaded(ports, run_id)
            with ports.feed.listen(run_id, kind, job_id) as ear:
                view = await ports.worker.put(kind, job_id, spec, ports.fence_token)
                await _note_reachable(ports, run_id)
                while view.status not in ENDED:
                    if on_view is not None:
                        await on_view(view)
                    await ear.wait(ports.settings.poll_s)
                    view = await ports.worker.get(kind, job_id)
        except WorkerUnreachable as error:
            await _note_unreachable(ports, run_id, error)
            await ports.feed.reached(at_least_s=ports.settings.retry_s, at_most_s=ports.settings.poll_s)
            continue
        except WorkerRefused as error:
            if error.reported.code == "stale_fence":
                raise LeaseLost(run_id) from error
            if error.reported.code not in RETRY_CODES:
                raise
        else:
            return view
        await asyncio.sleep(ports.settings.retry_s)


async def _ensure_loaded(ports: Ports, run_id: str) -> None:
    async with ports.store.reads() as session:
        row = await get_run(session, run_id)
    wanted = RunLoad(run_id=run_id, spec=RunSpec.model_validate(row.spec))
    with ports.feed.listen(run_id, "runs", run_id) as ear:
        loaded = await ports.worker.load(wanted, ports.fence_token)
        while loaded.status is LoadStatus.LOADING:
            await ear.wait(ports.settings.poll_s)
            loaded = await ports.worker.loaded(run_id)
    if loaded.status is LoadStatus.FAILED and loaded.problem is not None:
        raise RunFailed(loaded.problem)
    domains = {name: size.model_dump(mode="json") for name, size in loaded.domains.items()}
    if domains != row.domains:
        async with ports.store.sessions.begin() as session:
            await note_run(session, run_id, domains=domains)


async def _note_unreachable(ports: Ports, run_id: str, error: WorkerUnreachable) -> None:
    async with ports.store.sessions.begin() as session:
        row = await get_run(session, run_id, for_update=True)
        if row.problem is None:
            row.problem = error.problem.model_dump(mode="json")
            await record(
                session, run_id, EventKind.WORKER_UNREACHABLE, str(error),
                key=ports.clock().isoformat(), clock=ports.clock, step=row.step, url=ports.worker.base_url,
            )  # fmt: skip


async def _note_reachable(ports: Ports, run_id: str) -> None:
    async with ports.store.reads() as session:
        is_clear = (await get_run(session, run_id)).problem is None
    if not is_clear:  # every job comes by here: only the rare one writes
        async with ports.store.sessions.begin() as session:
            await note_run(session, run_id, problem=None)
