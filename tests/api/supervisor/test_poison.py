"""What breaks the drive of one run, whatever it is, costs that run: the others go on, and so does the process."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from traceback import format_exception
from typing import Any

import pytest
from sqlalchemy import update
from structlog.testing import capture_logs

from aft_api.db.engine import Store
from aft_api.db.tables import CommandRow, EventRow, RunRow
from aft_api.runs.repository import get_run
from aft_api.settings import Settings
from aft_api.supervisor.fleet import CLAIM_EVERY_S
from tests.api.conftest import Api, running_api, settings_for
from tests.api.supervisor.test_fleet import lease_of
from tests.api.supervisor.test_hostile_answers import UNSCORED
from tests.simulated_worker import SimulatedWorker

pytestmark = pytest.mark.anyio
NEWER = {"of_a_newer_version": True}


@asynccontextmanager
async def unbroken_api(settings: Settings, worker: SimulatedWorker) -> AsyncIterator[Api]:
    """The API, which is not to break meanwhile."""
    breaks: list[BaseException] = []
    async with running_api(settings, worker, on_broken=breaks.append) as api:
        yield api
    assert breaks == []


async def spoil(api: Api, run_id: str, table: Any, **values: Any) -> None:
    """Overwrite something of the run in the store, as another version of aft might have written it."""
    async with api.app.state.store.sessions.begin() as session:
        await session.execute(update(table).where(table.run_id == run_id).values(**values))


async def until_logged(logs: list[Any], event: str, run_id: str) -> dict[str, Any]:
    """The entry, once it is there."""
    async with asyncio.timeout(20):
        while True:
            for entry in logs:
                if (entry["event"], entry.get("run_id")) == (event, run_id):
                    return dict(entry)
            await asyncio.sleep(0.05)


async def paused(api: Api) -> str:
    """A run that has begun and is driven by nobody."""
    api.worker.step_s = 0.2
    run_id = await api.start(**UNSCORED)
    await api.until(run_id, "running")
    assert (await api.command(run_id, "pause")).status_code == 202
    await api.until(run_id, "paused")
    while (await lease_of(api.app.state.store, run_id))[0] is not None:
        await asyncio.sleep(0.02)
    api.worker.step_s = 0.0
    return run_id


async def problem_of(store: Store, run_id: str) -> dict[str, Any] | None:
    """What the run's row says is wrong: the API cannot show a run whose spec it cannot read."""
    async with store.reads() as session:
        return (await get_run(session, run_id)).problem


async def others_go_on(api: Api) -> None:
    """Another run is driven from its beginning to its end."""
    await api.until(await api.start(**UNSCORED), "succeeded")


@pytest.mark.parametrize("spoilt", ["the spec", "what it says of notifications"])
async def test_a_run_whose_spec_is_of_another_version_is_left_for_whoever_can_read_it_and_others_go_on(
    tmp_path: Path, database_url: str | None, worker: SimulatedWorker, worker_url: str, spoilt: str
) -> None:
    settings = settings_for(tmp_path, database_url, worker_url).model_copy(update={"lease_s": 4.0})
    async with unbroken_api(settings, worker) as api:
        run_id = await paused(api)
        ours = (await api.run(run_id))["spec"]
        newer = ours | (NEWER if spoilt == "the spec" else {"notify": NEWER})
        store = api.app.state.store
        assert (await api.command(run_id, "resume")).status_code == 202
        await spoil(api, run_id, RunRow, spec=newer)
        async with asyncio.timeout(20):
            while (problem := await problem_of(store, run_id)) is None:
                await asyncio.sleep(0.05)
        assert "ValidationError" in problem["detail"]
        await others_go_on(api)
        assert await api.events(run_id, "run_failed") == []
        await spoil(api, run_id, RunRow, spec=ours)
        run = await api.until(run_id, "succeeded")
        assert run["problem"] is None


async def test_a_run_that_cannot_even_be_failed_is_left_until_its_lease_is_over(
    tmp_path: Path, database_url: str | None, worker: SimulatedWorker, worker_url: str
) -> None:
    """What it was told cannot be read: neither by its drive, nor to settle it as the run ends."""
    settings = settings_for(tmp_path, database_url, worker_url).model_copy(update={"lease_s": 4.0})
    with capture_logs() as logs:
        async with unbroken_api(settings, worker) as api:
            run_id = await paused(api)
            store = api.app.state.store
            async with store.sessions.begin() as session:
                await session.execute(update(RunRow).values(lease_expires_at=1e12))
            assert (await api.command(run_id, "resume")).status_code == 202
            await spoil(api, run_id, CommandRow, body=NEWER)
            await spoil(api, run_id, RunRow, lease_expires_at=0.0)
            broke = await until_logged(logs, "drive_broke", run_id)
            assert (broke["log_level"], broke["exc_info"]) == ("error", True)
            async with asyncio.timeout(5):
                while run_id in api.app.state.fleet.run_ids:
                    await asyncio.sleep(0.02)
            owner, token = await lease_of(store, run_id)
            assert owner == api.app.state.fleet.owner, "nobody gave it back"
            run = await api.run(run_id)
            assert (run["status"], run["problem"]["code"]) == ("paused", "internal_error")
            assert "ValidationError" in run["problem"]["detail"]
            await asyncio.sleep(3 * CLAIM_EVERY_S)
            assert (await lease_of(store, run_id))[1] == token, "nor claimed it again at once"
            await others_go_on(api)
            async with asyncio.timeout(20):
                while (await lease_of(store, run_id))[1] == token:
                    await asyncio.sleep(0.05)
            await spoil(api, run_id, CommandRow, body={"kind": "resume"})
            run = await api.until(run_id, "succeeded")
            assert run["problem"] is None, "whoever mends it, mends the run"


async def test_artifacts_that_break_in_another_way_than_the_disk_cost_one_run(
    tmp_path: Path, database_url: str | None, worker: SimulatedWorker, worker_url: str
) -> None:
    settings = settings_for(tmp_path, database_url, worker_url)
    with capture_logs() as logs:
        async with unbroken_api(settings, worker) as api:
            run_id = await paused(api)
            async with api.app.state.store.sessions.begin() as session:
                await session.execute(update(RunRow).where(RunRow.run_id == run_id).values(lease_expires_at=1e12))
            assert (await api.command(run_id, "resume")).status_code == 202
            await spoil(api, run_id, EventRow, kind="of_a_newer_version")
            shutil.rmtree(settings.artifacts_root)  # all of them are written again
            await spoil(api, run_id, RunRow, lease_expires_at=0.0)
            await until_logged(logs, "drive_broke", run_id)
            run = await api.until(run_id, "failed", "succeeded")  # by how much of it was left when it was paused
            assert "taken up again" not in str(run["problem"]), "how it ended stands"
            await others_go_on(api)


async def test_an_error_of_the_fleet_itself_still_ends_the_process(
    tmp_path: Path, worker: SimulatedWorker, worker_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def wrong(*_: object, **__: object) -> dict[str, int]:
        raise KeyError("claims")

    breaks: list[BaseException] = []
    async with running_api(settings_for(tmp_path, None, worker_url), worker, on_broken=breaks.append):
        monkeypatch.setattr("aft_api.supervisor.fleet.claim_runs", wrong)
        async with asyncio.timeout(10):
            while not breaks:
                await asyncio.sleep(0.02)
        assert "claims" in "".join(format_exception(breaks[0]))
