"""The outbox: what became of a message that two have tried to send."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from aft_api.clock import utc_now
from aft_api.db.engine import Store, open_store
from aft_api.db.migrate import upgrade
from aft_api.notify.outbox import announce, fetch_due, settle
from aft_api.runs.service import Caller, start_run
from aft_api.settings import Settings
from aft_contracts import EventKind, RunSpec
from tests.api.conftest import spec_json

pytestmark = pytest.mark.anyio


@pytest.fixture
async def store(tmp_path: Path, database_url: str | None) -> AsyncIterator[Store]:
    """A store with one message that is due."""
    upgrade(database_url, tmp_path)
    opened = open_store(database_url, tmp_path)
    spec = RunSpec.model_validate(spec_json(notify={"webhooks": ["http://127.0.0.1:9/"]}))
    caller = Caller(user="u", channel="api")
    run_id = await start_run(opened, spec, idempotency_key=None, caller=caller, clock=utc_now)
    async with opened.sessions.begin() as session:
        for _ in range(2):
            await announce(
                session, run_id, EventKind.RUN_SUCCEEDED, "done", key="end", settings=Settings(), clock=utc_now
            )
    yield opened
    await opened.engine.dispose()


async def test_message_is_written_once_and_taken_by_one(store: Store) -> None:
    assert len(await fetch_due(store, limit=10)) == 1
    assert await fetch_due(store, limit=10) == []


@pytest.mark.parametrize("late", ["pending", "failed"])
async def test_attempt_that_failed_late_does_not_undo_a_delivery(store: Store, late: str) -> None:
    [row] = await fetch_due(store, limit=10)
    await settle(store, row.seq, status="delivered")
    await settle(store, row.seq, status=late, error="the receiver was away")
    assert await fetch_due(store, limit=10) == []


async def test_delivery_counts_after_somebody_else_gave_up(store: Store) -> None:
    [row] = await fetch_due(store, limit=10)
    await settle(store, row.seq, status="pending", error="the receiver was away")
    await settle(store, row.seq, status="delivered")
    assert await fetch_due(store, limit=10) == []


async def test_attempt_that_failed_is_due_again(store: Store) -> None:
    [row] = await fetch_due(store, limit=10)
    await settle(store, row.seq, status="pending", error="the receiver was away")
    assert [again.seq for again in await fetch_due(store, limit=10)] == [row.seq]
