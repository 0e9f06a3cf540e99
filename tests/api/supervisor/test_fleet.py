"""The fleet: runs are shared by replicas, handed over at once, and let go of in time."""

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, text, update

from aft_api.db.engine import Store, open_store
from aft_api.db.tables import RunRow
from aft_api.runs.leases import claim_runs
from tests.api.conftest import Api, running_api, serving, settings_for
from tests.simulated_worker import SimulatedWorker, simulated_app
from tests.ticking import Ticks

pytestmark = pytest.mark.anyio
LONG_LEASE_S = 60.0


async def lease_of(store: Store, run_id: str) -> tuple[str | None, int]:
    """Owner and token of the run's lease."""
    async with store.reads() as session:
        row = (
            await session.execute(select(RunRow.lease_owner, RunRow.lease_token).where(RunRow.run_id == run_id))
        ).one()
        return row.lease_owner, row.lease_token


async def until_training(api: Api, run_id: str, *, windows: int) -> None:
    """Wait until the worker trains a window behind these."""
    async with asyncio.timeout(30):
        while not (len(api.worker.windows) == windows and (await api.run(run_id))["step"] > windows * 10):
            await asyncio.sleep(0.02)


async def test_stopped_process_hands_its_long_window_over_at_once(
    tmp_path: Path, database_url: str | None, worker: SimulatedWorker, worker_url: str, ticks: Ticks
) -> None:
    settings = settings_for(tmp_path, database_url, worker_url).model_copy(update={"lease_s": LONG_LEASE_S})
    worker.step_s = 0.3
    async with running_api(settings, worker) as first:
        run_id = await first.start(optim={"steps": 20, "batch_size": 4})
        await until_training(first, run_id, windows=0)
        began_s = ticks.lived_s
    assert ticks.lived_s - began_s < 2.0, "the window of three seconds was not waited for"
    assert worker.windows == []
    async with running_api(settings, worker) as second:
        started_s = ticks.lived_s
        while (await lease_of(second.app.state.store, run_id))[1] != 2:
            await asyncio.sleep(0.02)
        assert ticks.lived_s - started_s < 1.0, "the lease of a minute was given back"
        worker.step_s = 0.0
        run = await second.until(run_id, "succeeded")
    assert worker.windows == [f"{run_id}:0:0", f"{run_id}:0:1"]
    assert run["step"] == 20


async def test_a_drive_that_does_not_come_to_an_end_is_broken_off_at_the_deadline(
    tmp_path: Path, database_url: str | None, worker: SimulatedWorker, ticks: Ticks
) -> None:
    honest, released, goes_on = simulated_app(worker), asyncio.Event(), asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and scope["method"] == "DELETE":
            released.set()
            await goes_on.wait()
        await honest(scope, receive, send)

    async with serving(app) as url:  # type: ignore[arg-type]
        settings = settings_for(tmp_path, database_url, url, drain_s=0.5)
        async with running_api(settings, worker) as first:
            run_id = await first.start(optim={"steps": 10, "batch_size": 4})
            async with asyncio.timeout(20):
                await released.wait()
            began_s, first_tick_s = time.monotonic(), ticks.lived_s
        assert time.monotonic() - began_s >= 0.5, "the drive had its time"
        assert ticks.lived_s - first_tick_s < 4.0, "the worker would have been waited for for forty seconds"
        goes_on.set()
        async with running_api(settings, worker) as second:
            await second.until(run_id, "succeeded", within_s=settings.lease_s)
    assert worker.windows == [f"{run_id}:0:0"]


async def test_a_killed_embedded_process_is_followed_at_once(
    tmp_path: Path, worker: SimulatedWorker, worker_url: str
) -> None:
    settings = settings_for(tmp_path, None, worker_url).model_copy(update={"lease_s": LONG_LEASE_S})
    worker.step_s = 0.3
    async with running_api(settings, worker) as first:
        run_id = await first.start(optim={"steps": 10, "batch_size": 4})
        await until_training(first, run_id, windows=0)
    store = open_store(None, tmp_path)
    assert await claim_runs(store, "killed", lease_s=LONG_LEASE_S, limit=1) == {run_id: 2}
    await store.engine.dispose()
    worker.step_s = 0.0
    async with running_api(settings, worker) as second:
        await second.until(run_id, "succeeded", within_s=LONG_LEASE_S / 2)


async def test_three_replicas_share_runs_and_each_is_driven_by_one(
    tmp_path: Path, postgres_url: str, worker: SimulatedWorker, worker_url: str
) -> None:
    async with (
        running_api(settings_for(tmp_path / "a", postgres_url, worker_url), worker) as a,
        running_api(settings_for(tmp_path / "b", postgres_url, worker_url), worker) as b,
        running_api(settings_for(tmp_path / "c", postgres_url, worker_url), worker) as c,
    ):
        replicas = (a, b, c)
        run_ids = [await replicas[number % 3].start() for number in range(9)]
        for run_id in run_ids:
            await replicas[0].until(run_id, "succeeded", within_s=60)
        tokens = [(await lease_of(a.app.state.store, run_id))[1] for run_id in run_ids]
        told = [await a.events(run_id, "window_committed") for run_id in run_ids]
    assert tokens == [1] * 9, "each was claimed once"
    assert sorted(worker.windows) == sorted(f"{run_id}:0:{index}" for run_id in run_ids for index in range(6))
    assert [[event["details"]["window_id"] for event in events] for events in told] == [
        [f"{run_id}:0:{index}" for index in range(6)] for run_id in run_ids
    ]


async def test_run_taken_from_ourselves_is_driven_on_by_one_drive(api: Api) -> None:
    """A process that was frozen past its leases finds its own runs free."""
    api.worker.step_s = 0.02
    run_id = await api.start()
    await until_training(api, run_id, windows=1)
    async with api.app.state.store.sessions.begin() as session:
        await session.execute(update(RunRow).values(lease_expires_at=0.0))
    api.app.state.fleet.wake()
    await api.until(run_id, "succeeded", within_s=60)
    assert (await lease_of(api.app.state.store, run_id))[1] > 1, "it was taken"
    assert api.worker.windows == [f"{run_id}:0:{index}" for index in range(6)]
    assert [event["details"]["window_id"] for event in await api.events(run_id, "window_committed")] == (
        api.worker.windows
    )


async def test_renewal_that_does_not_let_itself_be_given_up_delays_nothing(
    tmp_path: Path, worker: SimulatedWorker, worker_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_for(tmp_path, None, worker_url).model_copy(update={"lease_s": 6.0})
    worker.step_s = 0.1
    given_up = []

    async def stubborn(*_: object, **__: object) -> set[str]:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:  # as psycopg waits for a store that is away to confirm it
            given_up.append(True)
            await asyncio.sleep(8)
            raise
        raise AssertionError("it is given up before")

    async with running_api(settings, worker) as api:
        run_id = await api.start()
        await until_training(api, run_id, windows=0)
        fleet = api.app.state.fleet
        monkeypatch.setattr("aft_api.supervisor.fleet.renew_leases", stubborn)
        [drive] = fleet._drives.values()
        async with asyncio.timeout(settings.lease_s + 5):
            await asyncio.wait({drive.task})
        assert asyncio.get_running_loop().time() <= drive.until_s
        assert given_up
        monkeypatch.undo()


async def test_drive_is_stopped_before_its_lease_can_be_over_when_the_store_does_not_answer(
    tmp_path: Path, postgres_url: str, worker: SimulatedWorker, worker_url: str
) -> None:
    settings = settings_for(tmp_path, postgres_url, worker_url).model_copy(update={"lease_s": 6.0})
    worker.step_s = 0.1
    async with running_api(settings, worker) as api:
        run_id = await api.start()
        await until_training(api, run_id, windows=0)
        fleet = api.app.state.fleet
        async with fleet.store.engine.connect() as away:
            await away.execute(text("LOCK TABLE runs IN ACCESS EXCLUSIVE MODE"))  # whoever asks now, waits
            renewed_s = max(drive.until_s for drive in fleet._drives.values()) - fleet._valid_s
            loop = asyncio.get_running_loop()
            async with asyncio.timeout(settings.lease_s + 5):
                while fleet._drives:
                    if loop.time() - renewed_s > settings.lease_s / 3:
                        await away.execute(text("SELECT 1"))  # not idle, or Postgres would end it
                    await asyncio.sleep(0.02)
            assert loop.time() <= renewed_s + fleet._valid_s
            await away.rollback()
        await api.until(run_id, "succeeded", within_s=60)
    assert worker.windows == [f"{run_id}:0:{index}" for index in range(6)]
