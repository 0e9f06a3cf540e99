"""A worker that takes connections and answers nothing holds up its own runs and nobody else's."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from aft_api.supervisor.feeds import TURNS
from aft_api.supervisor.workers import ASK_NEXT_AFTER_S
from tests.api.conftest import Api, running_api, serving, settings_for
from tests.api.supervisor.test_hostile_answers import UNSCORED
from tests.simulated_worker import SimulatedWorker, simulated_app
from tests.ticking import Ticks

pytestmark = pytest.mark.anyio


class Hanging:
    """A worker as ASGI that, while it hangs, keeps whoever asks waiting."""

    def __init__(self, worker: SimulatedWorker) -> None:
        self.worker, self._app = worker, simulated_app(worker)
        self._answers = asyncio.Event()
        self._answers.set()

    def hang(self) -> None:
        """Answer nothing from now on."""
        self._answers.clear()

    def come_back(self) -> None:
        """Answer all that was asked meanwhile."""
        self._answers.set()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self._answers.wait()
        await self._app(scope, receive, send)


@pytest.fixture
async def hanging() -> AsyncIterator[Hanging]:
    worker = Hanging(SimulatedWorker("bad", slots=TURNS + 4))
    yield worker
    worker.come_back()


async def registered(api: Api, *names: str) -> None:
    """Wait until these workers are given runs."""
    async with asyncio.timeout(20):
        while {w["worker_id"] for w in (await api.client.get("/workers")).json()["workers"] if w["info"]} != {*names}:
            await asyncio.sleep(0.05)


async def test_runs_of_others_go_on_while_a_worker_that_hangs_has_all_its_turns_taken(
    tmp_path: Path, database_url: str | None, hanging: Hanging, ticks: Ticks
) -> None:
    good = SimulatedWorker("good", slots=4)
    hanging.worker.step_s = 0.5
    async with serving(hanging) as bad_url, serving(simulated_app(good)) as url:  # type: ignore[arg-type]
        settings = settings_for(tmp_path, database_url, url).model_copy(update={"worker_urls": (bad_url, url)})
        async with running_api(settings, good) as api:
            try:
                await registered(api, "bad", "good")
                await api.client.post("/workers/good/drain")
                stuck = [await api.start(**UNSCORED) for _ in range(TURNS + 4)]
                for run_id in stuck:
                    await api.until(run_id, "running")
                hanging.hang()
                turns = api.app.state.fleet.workers.feeds.of(bad_url).turns
                async with asyncio.timeout(20):
                    while not turns.locked():
                        await asyncio.sleep(0.02)
                await api.client.post("/workers/good/resume")
                began_s = ticks.lived_s
                run_ids = [await api.start(**UNSCORED) for _ in range(2)]
                assert ticks.lived_s - began_s < 2 * (ASK_NEXT_AFTER_S + 2), "the next worker looks at the spec"
                for run_id in run_ids:
                    await api.until(run_id, "succeeded", within_s=15)
                assert turns.locked(), "all that while"
                assert {(await api.run(run_id))["worker_id"] for run_id in run_ids} == {"good"}
                assert {(await api.run(run_id))["status"] for run_id in stuck} == {"running"}
            finally:
                hanging.worker.step_s = 0.0
                hanging.come_back()
            for run_id in stuck:
                await api.until(run_id, "succeeded")


async def test_a_worker_that_hangs_does_not_make_the_others_seem_silent(tmp_path: Path, hanging: Hanging) -> None:
    good = SimulatedWorker("good")
    good.step_s = 0.3
    async with serving(hanging) as bad_url, serving(simulated_app(good)) as url:  # type: ignore[arg-type]
        changes = {"worker_urls": (bad_url, url), "worker_lost_s": 1.5}
        async with running_api(settings_for(tmp_path, None, url).model_copy(update=changes), good) as api:
            try:
                await registered(api, "bad", "good")
                await api.client.post("/workers/bad/drain")
                run_id = await api.start(**UNSCORED)
                await api.until(run_id, "running")
                hanging.hang()
                await api.until(run_id, "succeeded")
                assert await api.events(run_id, "worker_lost") == []
                states = {w["worker_id"]: w["state"] for w in (await api.client.get("/workers")).json()["workers"]}
                assert states == {"bad": "lost", "good": "active"}
            finally:
                hanging.come_back()
