"""Checkpoints through the API: the worker's own view, and its absence in words."""

from datetime import UTC, datetime

import pytest

from aft_contracts import Checkpoints, CheckpointView
from tests.api.conftest import Api

pytestmark = pytest.mark.anyio

GOOD = CheckpointView(
    generation=0, step=0, committed=True, size_bytes=7, written_at=datetime(2026, 1, 2, tzinfo=UTC), verified=True
)
DAMAGED = GOOD.model_copy(update={"step": 10, "verified": False, "damage": "a file differs"})


async def test_checkpoints_are_what_the_run_s_worker_finds(local_api: Api) -> None:
    run_id = await local_api.start()
    await local_api.until(run_id, "succeeded")
    local_api.worker.checkpoints[run_id] = (GOOD, DAMAGED)
    listed, verified = [
        Checkpoints.model_validate_json(
            (await local_api.client.get(f"/runs/{run_id}/checkpoints", params=params)).content
        ).checkpoints
        for params in ({}, {"verify": True})
    ]
    assert verified == (GOOD, DAMAGED)
    assert [(one.step, one.verified, one.damage) for one in listed] == [(0, None, None), (10, None, None)]


async def test_a_run_that_the_worker_never_held_has_none(local_api: Api) -> None:
    run_id = await local_api.start()
    await local_api.until(run_id, "succeeded")
    assert (await local_api.client.get(f"/runs/{run_id}/checkpoints")).json() == {"checkpoints": []}
    unknown = await local_api.client.get("/runs/nobody/checkpoints")
    assert (unknown.status_code, unknown.json()["code"]) == (404, "run_not_found")
