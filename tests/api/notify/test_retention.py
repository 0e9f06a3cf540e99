"""What has arrived is forgotten after a while, and nothing that is still of use."""

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest

from aft_api.clock import utc_now
from aft_api.db.engine import Store
from aft_api.notify.retention import forget_arrived
from aft_api.runs.repository import note_run
from aft_contracts import EventKind, NotificationState, RunStatus
from tests.api.conftest import running_api, settings_for
from tests.api.notify.conftest import Receiver
from tests.api.notify.test_outbox import OTHER, due, note, open_review, run_with, states, tell
from tests.simulated_worker import SimulatedWorker

pytestmark = pytest.mark.anyio


async def forget(store: Store, *, after_days: float = 0.0, limit: int = 100) -> int:
    async with store.sessions.begin() as session:
        return await forget_arrived(session, before=utc_now() - timedelta(days=after_days), limit=limit)


async def end(store: Store, run_id: str) -> None:
    async with store.sessions.begin() as session:
        await note_run(session, run_id, status=RunStatus.SUCCEEDED)


async def send_all(store: Store, state: NotificationState = NotificationState.SENT) -> None:
    while rows := await due(store):
        for row in rows:
            await note(store, row, state)


async def test_messages_of_an_ended_run_are_forgotten_when_they_are_old(store: Store) -> None:
    run_id = await run_with(store, escalation={"webhooks": [OTHER], "after_s": 600})
    await tell(store, run_id, "q", EventKind.REVIEW_REQUESTED, review=open_review(run_id))
    await send_all(store)
    await tell(store, run_id, "a", EventKind.REVIEW_DECIDED, review=open_review(run_id))
    await send_all(store)
    assert await states(store) == ["q:sent", "q:dropped", "a:sent"]
    assert await forget(store) == 0, "the run goes on: its thread is known by them"
    await end(store, run_id)
    assert await forget(store, after_days=1.0) == 0
    assert [await forget(store, limit=2), await forget(store, limit=2), await forget(store)] == [2, 1, 0]
    assert await states(store) == []


async def test_what_waits_or_was_given_up_stays_and_keeps_what_was_before_what_waits(store: Store) -> None:
    waits, failed = await run_with(store), await run_with(store)
    for run_id in (waits, failed):
        await tell(store, run_id, "first")
    await send_all(store)
    await tell(store, failed, "second")
    await send_all(store, NotificationState.FAILED)
    await tell(store, waits, "third")
    for run_id in (waits, failed):
        await end(store, run_id)
    assert await forget(store) == 1
    assert await states(store) == ["first:sent", "second:failed", "third:pending"]


async def test_api_forgets_by_itself(
    tmp_path: Path, database_url: str | None, worker: SimulatedWorker, worker_url: str, receiver: Receiver
) -> None:
    settings = settings_for(tmp_path, database_url, worker_url)
    async with running_api(settings, worker) as api:
        await api.until(await api.start(notify={"webhooks": [receiver.url + "hook"]}), "succeeded")
        async with asyncio.timeout(30):
            while (found := (await api.client.get("/notifications")).json()["backlog"])["pending"]:
                await asyncio.sleep(0.05)
    assert (found["sent"], found["failed"]) == (1, 0)
    soon = settings.model_copy(update={"notify_keep_days": 1e-9})
    async with running_api(soon, worker) as api, asyncio.timeout(30):
        while (await api.client.get("/notifications")).json()["notifications"]:
            await asyncio.sleep(0.05)
    assert len(receiver.received) == 1
