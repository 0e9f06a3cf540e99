"""Leases: one owner a run, by the database's clock."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from aft_api.clock import utc_now
from aft_api.db.engine import Store, open_store
from aft_api.db.migrate import upgrade
from aft_api.runs.leases import claim_runs, park_run, release_lease, renew_leases
from aft_api.runs.repository import get_run, wake_run
from aft_api.runs.service import Caller, start_run
from aft_contracts import RunSpec
from tests.api.conftest import spec_json

pytestmark = pytest.mark.anyio
A_MINUTE_S = 60.0
OVER_AT_ONCE_S = -1.0


@pytest.fixture
async def store(tmp_path: Path, database_url: str | None) -> AsyncIterator[Store]:
    """A migrated store."""
    upgrade(database_url, tmp_path)
    opened = open_store(database_url, tmp_path)
    yield opened
    await opened.engine.dispose()


@pytest.fixture
async def run_id(store: Store) -> str:
    """A run that wants to be driven."""
    spec = RunSpec.model_validate(spec_json())
    return await start_run(store, spec, idempotency_key=None, caller=Caller(user="u", channel="api"), clock=utc_now)


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


async def test_run_that_was_woken_meanwhile_is_not_parked(store: Store, run_id: str) -> None:
    await claim_runs(store, "a", lease_s=OVER_AT_ONCE_S, limit=10)
    async with store.reads() as session:
        seen = (await get_run(session, run_id)).wake_count
    async with store.sessions.begin() as session:
        await wake_run(session, run_id)
    assert not await park_run(store, run_id, 1, wake_count=seen)
    assert await park_run(store, run_id, 1, wake_count=seen + 1)
    assert await claim_runs(store, "b", lease_s=A_MINUTE_S, limit=10) == {}
