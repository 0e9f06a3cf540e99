"""Leases: one owner a run, by the database's clock."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

from aft_api.clock import utc_now
from aft_api.db.engine import STORE_ERRORS, Store, open_store
from aft_api.db.migrate import upgrade
from aft_api.runs.leases import claim_runs, park_run, release_all, release_lease, renew_leases
from aft_api.runs.repository import get_run, move_run, wake_run
from aft_contracts import RunStatus
from tests.api.conftest import placed_run

pytestmark = pytest.mark.anyio
A_MINUTE_S = 60.0
OVER_AT_ONCE_S = -1.0


@pytest.fixture
async def run_id(store: Store) -> str:
    """A run that wants to be driven."""
    return await placed_run(store)


async def test_run_is_claimed_by_one_owner_only(store: Store, run_id: str) -> None:
    assert await claim_runs(store, "a", lease_s=A_MINUTE_S, limit=10) == {run_id: 1}
    assert await claim_runs(store, "b", lease_s=A_MINUTE_S, limit=10) == {}


async def test_expired_lease_goes_to_the_next_owner_with_a_higher_token(store: Store, run_id: str) -> None:
    await claim_runs(store, "a", lease_s=OVER_AT_ONCE_S, limit=10)
    assert await claim_runs(store, "b", lease_s=A_MINUTE_S, limit=10) == {run_id: 2}
    assert await renew_leases(store, "a", {run_id: 1}, lease_s=A_MINUTE_S) == set()
    assert await renew_leases(store, "b", {run_id: 2}, lease_s=A_MINUTE_S) == {run_id}


async def test_released_run_can_be_claimed_at_once_and_a_stale_release_does_nothing(store: Store, run_id: str) -> None:
    await claim_runs(store, "a", lease_s=A_MINUTE_S, limit=10)
    await release_lease(store, run_id, token=0)
    assert await claim_runs(store, "b", lease_s=A_MINUTE_S, limit=10) == {}
    await release_lease(store, run_id, token=1)
    assert await claim_runs(store, "b", lease_s=A_MINUTE_S, limit=10) == {run_id: 2}


async def test_run_that_has_ended_is_nobodys_whatever_else_its_row_says(store: Store, run_id: str) -> None:
    async with store.sessions.begin() as session:
        await move_run(session, run_id, RunStatus.STOPPED, utc_now)
        assert (await get_run(session, run_id)).wants_drive
    assert await claim_runs(store, "a", lease_s=A_MINUTE_S, limit=10) == {}


async def test_run_that_was_woken_meanwhile_is_not_parked(store: Store, run_id: str) -> None:
    await claim_runs(store, "a", lease_s=OVER_AT_ONCE_S, limit=10)
    async with store.reads() as session:
        seen = (await get_run(session, run_id)).wake_count
    async with store.sessions.begin() as session:
        await wake_run(session, run_id)
    assert not await park_run(store, run_id, 1, wake_count=seen)
    assert await park_run(store, run_id, 1, wake_count=seen + 1)
    assert await claim_runs(store, "b", lease_s=A_MINUTE_S, limit=10) == {}


async def new_run(store: Store) -> str:
    """Another run that wants to be driven."""
    return await placed_run(store)


async def test_renewal_under_an_older_token_keeps_nothing_although_the_owner_is_the_same(
    store: Store, run_id: str
) -> None:
    await claim_runs(store, "a", lease_s=OVER_AT_ONCE_S, limit=10)
    assert await claim_runs(store, "a", lease_s=A_MINUTE_S, limit=10) == {run_id: 2}
    assert await renew_leases(store, "a", {run_id: 1}, lease_s=A_MINUTE_S) == set()
    assert await renew_leases(store, "a", {run_id: 2}, lease_s=A_MINUTE_S) == {run_id}


async def test_expired_lease_that_nobody_claimed_is_renewed(store: Store, run_id: str) -> None:
    await claim_runs(store, "a", lease_s=OVER_AT_ONCE_S, limit=10)
    assert await renew_leases(store, "a", {run_id: 1}, lease_s=A_MINUTE_S) == {run_id}
    assert await claim_runs(store, "b", lease_s=A_MINUTE_S, limit=10) == {}


async def test_replicas_that_claim_at_once_get_different_runs_and_no_more_than_they_asked_for(store: Store) -> None:
    wanted = {await new_run(store) for _ in range(30)}
    claims = await asyncio.gather(
        *(claim_runs(store, f"replica-{number}", lease_s=A_MINUTE_S, limit=7) for number in range(3))
    )
    claimed = [run_id for claim in claims for run_id in claim]
    assert len(claimed) == len(set(claimed)) == 21
    assert {token for claim in claims for token in claim.values()} == {1}
    rest = await claim_runs(store, "last", lease_s=A_MINUTE_S, limit=100)
    assert set(claimed) | set(rest) == wanted
    assert len(rest) == 9


async def test_owner_that_ends_gives_back_all_that_is_its_own(store: Store, run_id: str) -> None:
    await claim_runs(store, "a", lease_s=A_MINUTE_S, limit=10)
    other = await new_run(store)
    await claim_runs(store, "b", lease_s=A_MINUTE_S, limit=10)
    await release_all(store, "a")
    assert await claim_runs(store, "c", lease_s=A_MINUTE_S, limit=10) == {run_id: 2}
    assert await renew_leases(store, "b", {other: 1}, lease_s=A_MINUTE_S) == {other}


async def test_process_frozen_in_a_transaction_does_not_keep_the_run_from_the_others(
    tmp_path: Path, postgres_url: str
) -> None:
    upgrade(postgres_url, tmp_path)
    frozen = open_store(postgres_url, tmp_path, most_idle_s=3)
    well = open_store(postgres_url, tmp_path)
    run_id = await new_run(well)
    session = frozen.sessions()
    await get_run(session, run_id, for_update=True)
    assert await claim_runs(well, "b", lease_s=A_MINUTE_S, limit=10) == {}, "the row is locked"
    async with asyncio.timeout(30):
        while not (claimed := await claim_runs(well, "b", lease_s=A_MINUTE_S, limit=10)):
            await asyncio.sleep(0.05)
    assert claimed == {run_id: 1}
    with pytest.raises(STORE_ERRORS):
        await get_run(session, run_id)
    await session.invalidate()
    for store in (frozen, well):
        await store.engine.dispose()


@contextmanager
def statements_of(store: Store) -> Iterator[list[str]]:
    """What the store is told meanwhile."""
    said: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        said.append(statement)

    engine = store.engine.sync_engine
    event.listen(engine, "before_cursor_execute", note)
    try:
        yield said
    finally:
        event.remove(engine, "before_cursor_execute", note)


@pytest.mark.parametrize("runs", [1, 30])
async def test_one_statement_renews_all_leases_however_many(store: Store, runs: int) -> None:
    for _ in range(runs):
        await placed_run(store)
    held = await claim_runs(store, "a", lease_s=A_MINUTE_S, limit=100)
    assert len(held) == runs
    with statements_of(store) as said:
        assert await renew_leases(store, "a", held, lease_s=A_MINUTE_S) == set(held)
    written = [statement for statement in said if not statement.startswith("BEGIN")]
    assert [statement.split()[0] for statement in written] == ["UPDATE"]
