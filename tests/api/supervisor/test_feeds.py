"""Feeds: one poll a worker wakes all its runs, commands are heard at once, and a worker without a stream is asked."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from aft_api.settings import Settings
from aft_api.supervisor.feeds import (
    GATHER_S,
    LOOK_EVERY_S,
    LOOKS_A_SECOND,
    MOST_GATHER_S,
    TURNS,
    Feeds,
    open_feeds,
)
from aft_api.worker_client import worker_session
from tests.api.conftest import Api, running_api, serving, settings_for
from tests.simulated_worker import SimulatedWorker, simulated_app
from tests.ticking import Ticks

pytestmark = pytest.mark.anyio
A_LONG_STEP_S = 10.0
SLOW = {"optim": {"steps": 2000, "batch_size": 4}, "window": {"steps": 1000}}


@pytest.fixture
async def feeds(tmp_path: Path) -> AsyncIterator[Feeds]:
    settings = Settings(data_dir=tmp_path, poll_s=5.0, retry_s=0.05)
    async with worker_session(None) as http, open_feeds(http, settings) as opened:
        yield opened


async def woken_within(feeds: Feeds, url: str, worker: SimulatedWorker, status: str, ticks: Ticks) -> float:
    """How long somebody waits for a job that changes a moment after they began to listen."""
    with feeds.of(url).listen("r", "windows", "r:0:0") as ear:
        asyncio.get_running_loop().call_later(0.2, worker.changes.note, "windows", "r:0:0", status, 1)
        began_s = ticks.lived_s
        await ear.wait(0.15)  # the first answer of a stream wakes everybody
        await ear.wait(10)
        return ticks.lived_s - began_s


async def test_change_wakes_who_waits_for_that_job(
    feeds: Feeds, worker: SimulatedWorker, worker_url: str, ticks: Ticks
) -> None:
    assert await woken_within(feeds, worker_url, worker, "committed", ticks) < 2


async def test_the_more_wait_the_longer_changes_gather(feeds: Feeds, worker_url: str) -> None:
    feed = feeds.of(worker_url)
    with ExitStack() as stack:
        for number in range(TURNS):
            stack.enter_context(feed.listen("r", "windows", f"r:0:{number}"))
        few_s = feed.gather_s
        for number in range(TURNS, 3 * TURNS):
            stack.enter_context(feed.listen("r", "windows", f"r:0:{number}"))
        some_s = feed.gather_s
        for number in range(3 * TURNS, 1000):
            stack.enter_context(feed.listen("r", "windows", f"r:0:{number}"))
        many_s = feed.gather_s
    assert (few_s, some_s, many_s) == (GATHER_S, pytest.approx(3 * GATHER_S), MOST_GATHER_S)
    assert feed.gather_s == GATHER_S, "nobody waits any more"


async def test_many_jobs_share_one_poll(feeds: Feeds, worker: SimulatedWorker, worker_url: str) -> None:
    feed = feeds.of(worker_url)

    async def wait_for(number: int) -> None:
        with feed.listen(f"r{number}", "windows", f"r{number}:0:0") as ear:
            await ear.wait(1)
            await ear.wait(10)

    waiting = [asyncio.create_task(wait_for(number)) for number in range(200)]
    while worker.event_polls < 2:
        await asyncio.sleep(0.01)
    for number in range(200):
        worker.changes.note("windows", f"r{number}:0:0", "committed")
    async with asyncio.timeout(3):
        await asyncio.gather(*waiting)
    assert worker.event_polls <= 5, "the answer in hand, the one with all changes, and those that wait for more"


async def test_a_step_wakes_nobody_who_has_just_looked_and_a_turn_wakes_at_once(
    feeds: Feeds, worker: SimulatedWorker, worker_url: str
) -> None:
    feed = feeds.of(worker_url)
    with feed.listen("r", "windows", "r:0:0") as ear:
        await ear.wait(0.5)  # the first answer of a stream wakes everybody

        async def is_woken_by(status: str, step: int) -> bool:
            waiting = asyncio.create_task(ear.wait(30))
            await asyncio.sleep(0)
            worker.changes.note("windows", "r:0:0", status, step)
            done, _ = await asyncio.wait([waiting], timeout=LOOK_EVERY_S / 2)
            waiting.cancel()
            return bool(done)

        worker.changes.note("windows", "r:0:0", "running", 1)
        await ear.wait(5)
        assert not await is_woken_by("running", 2)
        await asyncio.sleep(LOOK_EVERY_S)
        assert await is_woken_by("running", 3), "by then it has not looked for long enough"
        assert await is_woken_by("committed", 4)


async def test_steps_are_looked_at_seldom_when_jobs_are_many(feeds: Feeds, worker_url: str) -> None:
    feed = feeds.of(worker_url)
    assert feeds.look_every_s == LOOK_EVERY_S
    ears = [feed.listen(f"r{number}", "windows", "w") for number in range(1000)]
    for ear in ears:
        ear.__enter__()
    assert feeds.look_every_s == 1000 / LOOKS_A_SECOND
    for ear in ears:
        ear.__exit__(None, None, None)
    assert feed.ears == []


async def test_stream_that_breaks_off_wakes_everybody_and_goes_on(
    feeds: Feeds, worker: SimulatedWorker, ticks: Ticks
) -> None:
    async with serving(simulated_app(worker)) as url:
        port = int(url.rsplit(":", 1)[1])
    with feeds.of(url).listen("r", "windows", "r:0:0") as ear:
        began_s = ticks.lived_s
        await ear.wait(10)
        assert ticks.lived_s - began_s < 5, "nobody answers, and the listener is told to find out"
        async with serving(simulated_app(worker), port=port):
            assert await woken_within(feeds, url, worker, "committed", ticks) < 5


async def test_live_steps_reach_readers_while_a_window_runs(local_api: Api) -> None:
    local_api.worker.step_s = 0.05
    run_id = await local_api.start(**SLOW)
    await local_api.until(run_id, "running")
    seen = set()
    async with asyncio.timeout(10):
        while len(seen) < 3:
            seen.add((await local_api.run(run_id))["step"])
            await asyncio.sleep(0.2)
    assert local_api.worker.windows == []


async def test_command_ends_a_long_window_at_once(tmp_path: Path, worker: SimulatedWorker, worker_url: str) -> None:
    settings = settings_for(tmp_path, None, worker_url).model_copy(update={"poll_s": 60.0})
    worker.step_s = 0.1
    async with running_api(settings, worker) as api:
        run_id = await api.start(**SLOW)
        async with asyncio.timeout(30):
            while (await api.run(run_id))["step"] < 2:
                await asyncio.sleep(0.05)
            step = await worker.slow_down(f"{run_id}:0:0", A_LONG_STEP_S)
        await asyncio.sleep(0.5)  # that step's end is heard; within the next one only the command can wake the driver
        await api.command(run_id, "pause")
        async with asyncio.timeout(A_LONG_STEP_S / 2):
            while f"{run_id}:0:0" not in worker.cancelled:
                await asyncio.sleep(0.05)
        paused = await api.until(run_id, "paused")
        assert step <= paused["step"] < SLOW["optim"]["steps"]


async def test_worker_without_a_stream_is_asked_for_each_job(tmp_path: Path, worker: SimulatedWorker) -> None:
    app = simulated_app(worker)
    app.router.routes[:] = [route for route in app.router.routes if getattr(route, "path", "") != "/v1/events"]
    worker.step_s = 0.01
    async with serving(app) as url, running_api(settings_for(tmp_path, None, url), worker) as api:
        await api.until(await api.start(), "succeeded")
    assert worker.event_polls == 0


async def test_a_worker_that_is_away_is_said_once(feeds: Feeds, worker: SimulatedWorker) -> None:
    async with serving(simulated_app(worker)) as url:
        pass  # a port that nobody listens on any more
    with capture_logs() as logs, feeds.of(url).listen("r", "windows", "r:0:0") as ear:
        for _ in range(4):
            await ear.wait(2)
    assert [line["event"] for line in logs] == ["feed_broke_off"]
