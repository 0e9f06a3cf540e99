"""Whether the process is well, and which workers it can reach."""

from fastapi import APIRouter, Response
from fastapi import status as http

from aft_api.db.health import answers
from aft_api.dependencies import FleetDep, StoreDep
from aft_contracts import Contract, WorkerInfo

router = APIRouter(tags=["status"])


class Health(Contract):
    """Whether the process is well."""

    status: str
    """`ok`, or `store_unavailable`."""


class WorkerSeen(Contract):
    """A worker, as this API sees it now."""

    url: str
    """Its base URL."""
    reachable: bool
    """Whether it answers."""
    info: WorkerInfo | None
    """What it says of itself."""


class WorkersSeen(Contract):
    """All workers that this API knows."""

    workers: tuple[WorkerSeen, ...]
    """In the order of the settings."""


@router.get("/healthz")
async def read_health(store: StoreDep, response: Response) -> Health:
    """Whether the API answers and its store does."""
    if not await answers(store):
        response.status_code = http.HTTP_503_SERVICE_UNAVAILABLE
        return Health(status="store_unavailable")
    return Health(status="ok")


@router.get("/workers")
async def read_workers(fleet: FleetDep) -> WorkersSeen:
    """The workers, asked now."""
    seen = await fleet.workers.look()
    return WorkersSeen(
        workers=tuple(WorkerSeen(url=url, reachable=info is not None, info=info) for url, info in seen.items())
    )
