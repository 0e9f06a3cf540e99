"""Workers over HTTP."""

from typing import Annotated

from fastapi import APIRouter, Path

from aft_api.dependencies import FleetDep, StoreDep
from aft_api.workers.address import address_fault
from aft_api.workers.errors import WorkerIdMismatch, WorkerUrlInvalid
from aft_api.workers.registry import set_draining
from aft_contracts import Contract, Heartbeat, HeartbeatAnswer, WorkerView

router = APIRouter(tags=["workers"])
WorkerId = Annotated[str, Path(description="The worker's name.", max_length=200)]


class WorkerList(Contract):
    """All workers."""

    workers: tuple[WorkerView, ...]
    """Those that have registered by name, then those that the settings name and that never answered."""


@router.get("/workers")
async def read_workers(fleet: FleetDep) -> WorkerList:
    """The workers: whether they are there, and what they have."""
    return WorkerList(workers=tuple(await fleet.workers.views()))


@router.post("/workers/{worker_id}/heartbeat")
async def post_heartbeat(worker_id: WorkerId, beat: Heartbeat, fleet: FleetDep) -> HeartbeatAnswer:
    """A worker says that it is there, and hears what to drop; the first heartbeat registers it."""
    if beat.info.worker_id != worker_id:
        raise WorkerIdMismatch(
            f"The address names worker {worker_id!r} and the heartbeat {beat.info.worker_id!r}; send them alike."
        )
    if (wrong := address_fault(beat.base_url)) is not None:
        raise WorkerUrlInvalid(f"base_url is {beat.base_url!r}; it {wrong}. Correct AFT_WORKER_PUBLIC_URL.")
    heard = await fleet.workers.hear(beat)
    if heard.is_new:
        fleet.wake()
    return HeartbeatAnswer(drop=heard.drop)


@router.post("/workers/{worker_id}/drain")
async def post_drain(worker_id: WorkerId, fleet: FleetDep, store: StoreDep) -> WorkerView:
    """Give a worker no more runs; those it has move after their window, where another reaches their files."""
    return await _set_draining(worker_id, fleet, store, is_draining=True)


@router.post("/workers/{worker_id}/resume")
async def post_resume(worker_id: WorkerId, fleet: FleetDep, store: StoreDep) -> WorkerView:
    """Give a drained worker runs again."""
    return await _set_draining(worker_id, fleet, store, is_draining=False)


async def _set_draining(worker_id: str, fleet: FleetDep, store: StoreDep, *, is_draining: bool) -> WorkerView:
    async with store.sessions.begin() as session:
        await set_draining(session, worker_id, is_draining)
    fleet.wake()
    return next(view for view in await fleet.workers.views() if view.worker_id == worker_id)
