"""Whether the process is well."""

from fastapi import APIRouter, Response
from fastapi import status as http

from aft_api.db.health import answers
from aft_api.dependencies import StoreDep
from aft_contracts import Contract

router = APIRouter(tags=["status"])


class Health(Contract):
    """Whether the process is well."""

    status: str
    """`ok`, or `store_unavailable`."""


@router.get("/healthz")
async def read_health(store: StoreDep, response: Response) -> Health:
    """Whether the API answers and its store does."""
    if not await answers(store):
        response.status_code = http.HTTP_503_SERVICE_UNAVAILABLE
        return Health(status="store_unavailable")
    return Health(status="ok")
