"""The fence: a driver writes under the newest lease or not at all, whatever it writes."""

from pathlib import Path

import pytest
from sqlalchemy import func, select

from aft_api.clock import utc_now
from aft_api.db.engine import Store, open_store
from aft_api.db.fence import LeaseLost, fenced
from aft_api.db.migrate import upgrade
from aft_api.db.tables import EventRow
from aft_api.runs.events import record
from aft_api.runs.leases import claim_runs, release_lease
from aft_api.runs.repository import get_run, note_run
from aft_contracts import EventKind
from tests.api.conftest import placed_run

pytestmark = pytest.mark.anyio


@pytest.fixture
async def run_id(store: Store) -> str:
    """A run that was claimed twice: token 1 is stale, token 2 holds."""
    run_id = await placed_run(store)
    await claim_runs(store, "a", lease_s=-1.0, limit=1)
    await claim_runs(store, "b", lease_s=60.0, limit=1)
    return run_id


async def write(store: Store, run_id: str, step: int) -> None:
    """What a driver writes all the time."""
    async with store.sessions.begin() as session:
        await note_run(session, run_id, step=step)
        await record(session, run_id, EventKind.WORKER_NOTE, "noted", key=str(step), clock=utc_now)


async def written(store: Store, run_id: str) -> tuple[int, int]:
    """The run's step, and how many events it has."""
    async with store.reads() as session:
        events = await session.scalar(select(func.count()).select_from(EventRow).where(EventRow.run_id == run_id))
        return (await get_run(session, run_id)).step, events or 0


async def test_owner_writes_and_a_stale_one_does_not(store: Store, run_id: str) -> None:
    with fenced(run_id, 2):
        await write(store, run_id, step=10)
    with fenced(run_id, 1), pytest.raises(LeaseLost):
        await write(store, run_id, step=5)
    assert await written(store, run_id) == (10, 2)


async def test_stale_owner_reads_and_others_write_as_ever(store: Store, run_id: str) -> None:
    with fenced(run_id, 1):
        assert await written(store, run_id) == (0, 1)
    await write(store, run_id, step=7)
    assert await written(store, run_id) == (7, 2)


async def test_store_works_on_after_a_refusal(store: Store, run_id: str) -> None:
    for _ in range(25):  # more than there are connections
        with fenced(run_id, 1), pytest.raises(LeaseLost):
            await write(store, run_id, step=5)
    await release_lease(store, run_id, 2)
    assert await claim_runs(store, "c", lease_s=60.0, limit=1) == {run_id: 3}


async def test_run_cannot_be_claimed_between_the_check_and_the_commit(tmp_path: Path, postgres_url: str) -> None:
    upgrade(postgres_url, tmp_path)
    store = open_store(postgres_url, tmp_path)
    run_id = await placed_run(store)
    await claim_runs(store, "a", lease_s=-1.0, limit=1)
    async with store.sessions() as session:
        with fenced(run_id, 1):
            await note_run(session, run_id, step=3)
        assert await claim_runs(store, "b", lease_s=60.0, limit=1) == {}
        await session.commit()
    assert await claim_runs(store, "b", lease_s=60.0, limit=1) == {run_id: 2}
    await store.engine.dispose()
