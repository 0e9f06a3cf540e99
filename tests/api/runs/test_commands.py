"""What a drive may rely on between two cycles: nothing was told, and lease, worker and status are as before."""

import pytest

from aft_api.clock import utc_now
from aft_api.db.engine import Store
from aft_api.runs.commands import Given, add_command, goes_on, pending_commands, settle_command
from aft_api.runs.leases import claim_runs
from aft_api.runs.repository import get_run, move_run, note_run
from aft_contracts import Pause, RunStatus
from tests.api.conftest import placed_run

pytestmark = pytest.mark.anyio


@pytest.fixture
async def running(store: Store) -> tuple[str, str]:
    """A running run under token 1, and its worker."""
    run_id = await placed_run(store)
    await claim_runs(store, "a", lease_s=60.0, limit=10)
    async with store.sessions.begin() as session:
        await move_run(session, run_id, RunStatus.RUNNING, utc_now)
        return run_id, str((await get_run(session, run_id)).worker_id)


async def still_goes_on(store: Store, running: tuple[str, str], token: int = 1) -> bool:
    """Whether the run needs no look at its commands."""
    async with store.reads() as session:
        return await goes_on(session, running[0], token, worker_id=running[1])


async def test_run_that_was_told_nothing_goes_on(store: Store, running: tuple[str, str]) -> None:
    assert await still_goes_on(store, running)


async def test_command_is_seen_until_it_is_settled(store: Store, running: tuple[str, str]) -> None:
    async with store.sessions.begin() as session:
        given = Given(command_id="c", run_id=running[0], command=Pause(), by="ann", channel="cli")
        await add_command(session, given, outcome="accepted", clock=utc_now)
    assert not await still_goes_on(store, running)
    async with store.sessions.begin() as session:
        (told,) = await pending_commands(session, running[0])
        await settle_command(session, told, "done", step=0, clock=utc_now)
    assert await still_goes_on(store, running)


async def test_newer_lease_does_not_go_on_under_the_older(store: Store, running: tuple[str, str]) -> None:
    assert not await still_goes_on(store, running, token=0)


@pytest.mark.parametrize("facts", [{"worker_id": "another"}, {"worker_id": None}, {"status": RunStatus.PAUSED}])
async def test_run_that_was_moved_does_not_go_on(
    store: Store, running: tuple[str, str], facts: dict[str, str | None]
) -> None:
    async with store.sessions.begin() as session:
        await note_run(session, running[0], **facts)
    assert not await still_goes_on(store, running)
