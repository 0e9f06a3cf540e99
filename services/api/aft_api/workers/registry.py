"""The registry: workers by name, when they were last heard of, and what they must let go of."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import exists, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from aft_api.clock import Clock
from aft_api.db.engine import Store
from aft_api.db.once import insert_once
from aft_api.db.tables import RunRow, WindowRow, WorkerRow
from aft_api.runs.events import record
from aft_api.workers.errors import WorkerNotFound
from aft_contracts import FINISHED, EventKind, Heartbeat, RunStatus, WorkerInfo

UNFINISHED = tuple(sorted(set(RunStatus) - FINISHED))


@dataclass(frozen=True, kw_only=True)
class Heard:
    """What a heartbeat came to."""

    is_new: bool
    """Whether runs can be given to the worker that could not before."""
    drop: dict[str, int]
    """Lease token by run id of what it must let go of."""


async def find_worker(session: AsyncSession, worker_id: str) -> WorkerRow | None:
    """The worker's row, if it has ever registered."""
    return await session.get(WorkerRow, worker_id, populate_existing=True)


async def list_workers(session: AsyncSession) -> Sequence[WorkerRow]:
    """All workers that ever registered, by name."""
    return (await session.scalars(select(WorkerRow).order_by(WorkerRow.worker_id))).all()


async def ages_s(session: AsyncSession, store: Store) -> dict[str, float]:
    """Seconds since each worker was last heard of."""
    rows = await session.execute(select(WorkerRow.worker_id, store.now_s - WorkerRow.heartbeat_at))
    return {worker_id: max(0.0, age) for worker_id, age in rows}


async def assigned_runs(session: AsyncSession) -> dict[str, list[str]]:
    """Ids of the unfinished runs of each worker."""
    rows = await session.execute(
        select(RunRow.worker_id, RunRow.run_id)
        .where(RunRow.status.in_(UNFINISHED), RunRow.worker_id.is_not(None))
        .order_by(RunRow.run_id)
    )
    runs: dict[str, list[str]] = {}
    for worker_id, run_id in rows:
        runs.setdefault(worker_id or "", []).append(run_id)
    return runs


async def hear(session: AsyncSession, store: Store, beat: Heartbeat, clock: Clock) -> Heard:
    """Note a heartbeat. A worker that was lost is given runs again only once it holds none that is not its own."""
    info = beat.info
    drop = await _stale(session, info)
    facts: dict[str, Any] = {
        "base_url": beat.base_url.rstrip("/"),
        "root_id": info.root_id or f"worker:{info.worker_id}",
        "slots": info.slots,
        "info": info.model_dump(mode="json"),
    }
    before = await session.scalar(
        select(WorkerRow.is_lost).where(WorkerRow.worker_id == info.worker_id).with_for_update()
    )
    if before is None:
        await insert_once(
            session, WorkerRow, worker_id=info.worker_id, is_draining=False, is_lost=True, created_at=clock(),
            heartbeat_at=0.0, **facts,
        )  # fmt: skip
    await session.execute(
        update(WorkerRow)
        .where(WorkerRow.worker_id == info.worker_id)
        .values(is_lost=before is not False and bool(drop), heartbeat_at=store.now_s, **facts)
    )
    return Heard(is_new=before is not False and not drop, drop=drop)


async def set_draining(session: AsyncSession, worker_id: str, is_draining: bool) -> None:
    """Give the worker no more runs, or runs again.

    Raises:
        WorkerNotFound: it never registered.
    """
    found = await session.scalar(
        update(WorkerRow)
        .where(WorkerRow.worker_id == worker_id)
        .values(is_draining=is_draining)
        .returning(WorkerRow.worker_id)
    )
    if found is None:
        raise WorkerNotFound(worker_id)


async def lose_silent(session: AsyncSession, store: Store, *, lost_s: float, clock: Clock) -> list[str]:
    """Give up workers that were silent for too long, and take their runs from them; the workers' names."""
    lost = await session.execute(
        update(WorkerRow)
        .where(WorkerRow.is_lost.is_(False), WorkerRow.heartbeat_at < store.now_s - lost_s)
        .values(is_lost=True)
        .returning(WorkerRow.worker_id, WorkerRow.heartbeat_at)
    )
    names = []
    for worker_id, heartbeat_at in lost.all():
        names.append(worker_id)
        runs = await session.scalars(
            select(RunRow)
            .where(RunRow.status.in_(UNFINISHED), RunRow.worker_id == worker_id)
            .order_by(RunRow.run_id)
            .with_for_update()
        )
        for run in runs.all():
            await _lose_run(session, run, worker_id, heartbeat_at, lost_s, clock)
    return names


def take_back(run: RunRow) -> None:
    """Take a run from its worker: a newer token makes stale whoever drives it, and what the worker still does."""
    run.worker_id = None
    run.lease_token, run.lease_owner, run.lease_expires_at = run.lease_token + 1, None, 0.0


async def _lose_run(
    session: AsyncSession, run: RunRow, worker_id: str, heartbeat_at: float, lost_s: float, clock: Clock
) -> None:
    take_back(run)
    if run.status == RunStatus.RUNNING:
        run.status, run.updated_at = RunStatus.QUEUED, clock()
    if not await session.scalar(select(exists().where(WindowRow.run_id == run.run_id))):
        run.root_id = None  # nothing was trained: any worker may begin it
    await record(
        session, run.run_id, EventKind.WORKER_LOST,
        f"Worker {worker_id} has been silent for {lost_s:g} s; the run waits for another that reaches its files.",
        key=f"{worker_id}:{heartbeat_at:.3f}", clock=clock, step=run.step, worker_id=worker_id,
    )  # fmt: skip


async def _stale(session: AsyncSession, info: WorkerInfo) -> dict[str, int]:
    """Runs that the worker holds and must not: they have ended, or belong to another since it last heard of them."""
    if not info.run_ids:
        return {}
    rows = await session.execute(
        select(RunRow.run_id, RunRow.lease_token, RunRow.worker_id, RunRow.status).where(
            RunRow.run_id.in_(info.run_ids)
        )
    )
    return {
        run_id: token
        for run_id, token, worker_id, status in rows
        if status in FINISHED or (worker_id != info.worker_id and token > info.fences.get(run_id, -1))
    }
