"""Previews of training data over HTTP: the worker reads the rows, the caller alone gets to see them."""

from fastapi import APIRouter, Response

from aft_api.dependencies import FleetDep
from aft_contracts import DataPreview, PreviewRequest

router = APIRouter(tags=["data"])


@router.post("/data/preview")
async def post_preview(request: PreviewRequest, fleet: FleetDep, response: Response) -> DataPreview:
    """Show some rows of each domain as the model will see them, and which rows cannot be trained on."""
    response.headers["Cache-Control"] = "no-store"
    return await fleet.workers.preview(request)
