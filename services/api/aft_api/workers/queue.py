"""The queue: runs that wait for a slot, in order, and the round that gives slots out."""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from sqlalchemy import and_, exists, func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from aft_api.clock import Clock
from aft_api.db.engine import Store
from aft_api.db.tables import RunRow, WorkerRow
from aft_api.runs.events import record
from aft_api.workers.matching import Room, Waiting, match
from aft_api.workers.registry import UNFINISHED, take_back
from aft_contracts import EventKind, Problem, RunStatus

_WAITS = and_(RunRow.wants_drive, RunRow.worker_id.is_(None), RunRow.status == RunStatus.QUEUED)
_ORDER = (RunRow.priority.desc(), RunRow.created_at, RunRow.run_id)
MOST_TOLD = 100
"""Waiting runs that are told in one round that there is no worker."""


@dataclass(kw_only=True)
class Round:
    """What one round did."""

    assigned: int = 0
    evicted_from: set[str] = field(default_factory=set)
    """Base URLs of workers that hold runs which were taken from them."""


async def is_due(session: AsyncSession) -> bool:
    """Whether a round could do anything: a run waits, or a worker drains. Asked often, and cheap."""
    waits = select(exists().where(_WAITS))
    drains = select(exists().where(WorkerRow.is_draining, WorkerRow.is_lost.is_(False)))
    return bool(await session.scalar(waits)) or bool(await session.scalar(drains))


async def place_in_queue(session: AsyncSession, run: RunRow) -> int | None:
    """1 for the run that gets the next slot, and so on; None for a run that does not wait for one."""
    if run.status != RunStatus.QUEUED or run.worker_id is not None or not run.wants_drive:
        return None
    ahead = or_(
        RunRow.priority > run.priority,
        and_(RunRow.priority == run.priority, RunRow.created_at < run.created_at),
        and_(RunRow.priority == run.priority, RunRow.created_at == run.created_at, RunRow.run_id < run.run_id),
    )
    return 1 + int(await session.scalar(select(func.count()).where(_WAITS, ahead)) or 0)


async def give_slots(session: AsyncSession, store: Store, clock: Clock) -> Round:
    """Give free slots to those who wait longest, and what is left to runs of workers that drain.

    One transaction; the workers' rows are locked, so that replicas count one after the other. A run that is parked
    keeps its slot until somebody else needs it.
    """
    done = Round()
    workers = (
        await session.scalars(
            select(WorkerRow).where(WorkerRow.is_lost.is_(False)).order_by(WorkerRow.worker_id).with_for_update()
        )
    ).all()
    parked = await _parked(session, store, [worker.worker_id for worker in workers])
    held = await _held(session, [worker.worker_id for worker in workers])
    rooms = [
        Room(
            worker_id=worker.worker_id,
            base_url=worker.base_url,
            root_id=worker.root_id,
            free=worker.slots - held[worker.worker_id] + len(parked.get(worker.worker_id, ())),
        )
        for worker in workers
        if not worker.is_draining
    ]
    by_id = {worker.worker_id: worker for worker in workers}
    given = await _serve(session, await _waiting(session, rooms), rooms, by_id, clock)
    for room in rooms:
        room.free -= given[room.worker_id]
    given += await _serve(session, await _leaving(session, workers, rooms), rooms, by_id, clock)
    done.assigned = given.total()
    reached = {room.root_id for room in rooms}
    for worker in workers:
        over = held[worker.worker_id] + given[worker.worker_id] - worker.slots
        leave_all = worker.is_draining and worker.root_id in reached
        evicted = parked.get(worker.worker_id, [])[: None if leave_all else max(0, over)]
        for run in evicted:
            take_back(run)
            done.evicted_from.add(worker.base_url)
    return done


def leave_for_queue(run: RunRow, *, wake_count: int, clock: Clock) -> None:
    """The run has heard everything up to `wake_count` and needs a worker: it is not driven until it has one."""
    run.queue_seen = wake_count
    if run.worker_id is None and run.status in {RunStatus.RUNNING, RunStatus.WAITING}:
        run.status, run.updated_at = RunStatus.QUEUED, clock()


async def tell_without_worker(session: AsyncSession, urls: Sequence[str], clock: Clock) -> None:
    """Tell the runs that wait, once each, that no worker is there to take any."""
    if await session.scalar(select(exists().where(WorkerRow.is_lost.is_(False)))):
        return
    untold = select(RunRow).where(_WAITS, RunRow.problem.is_(None)).order_by(*_ORDER).limit(MOST_TOLD)
    waiting = (await session.scalars(untold)).all()
    named = f" at {', '.join(urls)}" if urls else ""
    problem = Problem(
        title="The worker does not answer.",
        status=503,
        code="worker_unreachable",
        detail=f"No worker answers{named}; the run waits in the queue. "
        "Start one with `aft worker`, or correct AFT_WORKER_URLS.",
    )
    for run in waiting:
        run.problem = problem.model_dump(mode="json")
        await record(
            session, run.run_id, EventKind.WORKER_UNREACHABLE, problem.detail,
            key=clock().isoformat(), clock=clock, step=run.step, urls=list(urls),
        )  # fmt: skip


async def _held(session: AsyncSession, worker_ids: Collection[str]) -> Counter[str]:
    rows = await session.execute(
        select(RunRow.worker_id, func.count())
        .where(RunRow.status.in_(UNFINISHED), RunRow.worker_id.in_(worker_ids))
        .group_by(RunRow.worker_id)
    )
    return Counter({worker_id or "": count for worker_id, count in rows})


async def _parked(session: AsyncSession, store: Store, worker_ids: Collection[str]) -> dict[str, list[RunRow]]:
    """Runs that wait for a human and that nobody drives, by worker, longest parked first."""
    rows = await session.scalars(
        select(RunRow)
        .where(
            RunRow.status.in_((RunStatus.PAUSED, RunStatus.WAITING)),
            RunRow.worker_id.in_(worker_ids),
            RunRow.wants_drive.is_(False),
            RunRow.lease_expires_at < store.now_s,
        )
        .order_by(RunRow.updated_at, RunRow.run_id)
        .with_for_update(skip_locked=True)
    )
    parked: dict[str, list[RunRow]] = {}
    for run in rows:
        parked.setdefault(run.worker_id or "", []).append(run)
    return parked


async def _waiting(session: AsyncSession, rooms: Sequence[Room]) -> list[RunRow]:
    """Who is due, in order: as many as each root has room for."""
    due: dict[str, RunRow] = {}
    for root_id in {room.root_id for room in rooms}:
        room_left = sum(max(0, room.free) for room in rooms if room.root_id == root_id)
        if room_left:
            found = await session.scalars(
                select(RunRow)
                .where(_WAITS, or_(RunRow.root_id.is_(None), RunRow.root_id == root_id))
                .order_by(*_ORDER)
                .limit(room_left)
                .with_for_update(skip_locked=True)
            )
            due |= {run.run_id: run for run in found}
    return sorted(due.values(), key=lambda run: (-run.priority, run.created_at, run.run_id))


async def _leaving(session: AsyncSession, workers: Sequence[WorkerRow], rooms: Sequence[Room]) -> list[RunRow]:
    """Runs that are trained on workers that drain, and whose files another worker with room reaches."""
    draining = [worker.worker_id for worker in workers if worker.is_draining]
    roots = [room.root_id for room in rooms if room.free > 0]
    if not draining or not roots:
        return []
    found = await session.scalars(
        select(RunRow)
        .where(
            RunRow.status.in_((RunStatus.QUEUED, RunStatus.RUNNING)),
            RunRow.wants_drive,
            RunRow.worker_id.in_(draining),
            RunRow.root_id.in_(roots),
        )
        .order_by(*_ORDER)
        .with_for_update(skip_locked=True)
    )
    return list(found)


async def _serve(
    session: AsyncSession, runs: Sequence[RunRow], rooms: Sequence[Room], workers: dict[str, WorkerRow], clock: Clock
) -> Counter[str]:
    """Give each run the worker it is matched with; how many each worker was given."""
    waiting = [Waiting(run_id=run.run_id, root_id=run.root_id, last_url=run.worker_url) for run in runs]
    matched = match(waiting, rooms)
    for run in runs:
        if run.run_id in matched:
            worker = workers[matched[run.run_id]]
            words = f"The run is given to worker {worker.worker_id}."
            if run.worker_id is not None:
                words = f"Worker {run.worker_id} drains: the run moves to worker {worker.worker_id} after its window."
            run.worker_id, run.worker_url, run.root_id = worker.worker_id, worker.base_url, worker.root_id
            run.problem = None
            await record(
                session, run.run_id, EventKind.WORKER_ASSIGNED, words,
                key=f"{run.lease_token}:{worker.worker_id}", clock=clock, step=run.step, worker_id=worker.worker_id,
            )  # fmt: skip
    return Counter(matched.values())
