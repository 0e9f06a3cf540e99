"""Windows that their worker loses each time, or that never move: attempts like any other, and in the end a question."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from aft_api.supervisor.jobs import MAX_ATTEMPTS
from aft_contracts import JobRequest, JobStatus
from tests.api.conftest import running_api, serving, settings_for
from tests.api.supervisor.test_hostile_answers import UNSCORED
from tests.api.supervisor.test_mending import reviews, trained_once
from tests.simulated_worker import SimulatedWorker, simulated_app

pytestmark = pytest.mark.anyio


class Deadly(SimulatedWorker):
    """Dies of a window once it has begun, and comes back knowing nothing, so many times."""

    def __init__(self, *, deaths: int = 1000) -> None:
        super().__init__()
        self.deaths = deaths

    async def work(self, kind: str, request: JobRequest[Any]) -> None:
        if kind != "windows" or not self.deaths:
            await super().work(kind, request)
            return
        self.deaths -= 1
        job_id = request.spec.window_id
        self.show(kind, job_id, self.jobs[job_id].model_copy(update={"status": JobStatus.RUNNING}))
        await asyncio.sleep(0.2)
        self.jobs.pop(job_id)
        self.runs.clear()
        self.changes.note(kind, job_id, "dropped", None)


class Hanging(SimulatedWorker):
    """Shows the window as running, and no more, until it is told to go on."""

    def __init__(self) -> None:
        super().__init__()
        self.goes_on = asyncio.Event()

    async def work(self, kind: str, request: JobRequest[Any]) -> None:
        if kind == "windows" and not self.goes_on.is_set():
            job_id = request.spec.window_id
            self.show(kind, job_id, self.jobs[job_id].model_copy(update={"status": JobStatus.RUNNING}))
            await self.goes_on.wait()
        await super().work(kind, request)


async def test_a_window_that_its_worker_loses_each_time_is_asked_about(
    tmp_path: Path, database_url: str | None
) -> None:
    worker = Deadly()
    async with (
        serving(simulated_app(worker)) as url,
        running_api(settings_for(tmp_path, database_url, url), worker) as api,
    ):
        run_id = await api.start(**UNSCORED)
        await api.until(run_id, "waiting")
        failed = [event["details"]["code"] for event in await api.events(run_id, "window_failed")]
        assert failed == ["job_lost"] * MAX_ATTEMPTS
        [asked] = await reviews(api, run_id)
        assert "knew nothing of it when it was asked again" in asked["question"]
        worker.deaths = 0
        await api.command(run_id, "approve")
        await api.until(run_id, "succeeded")
        await trained_once(api, run_id)
        assert len(await reviews(api, run_id)) == 1


async def test_a_worker_that_is_restarted_once_costs_one_attempt_and_no_question(tmp_path: Path) -> None:
    worker = Deadly(deaths=1)
    async with serving(simulated_app(worker)) as url, running_api(settings_for(tmp_path, None, url), worker) as api:
        run_id = await api.start(**UNSCORED)
        await api.until(run_id, "succeeded")
        failed = [event["details"]["code"] for event in await api.events(run_id, "window_failed")]
        assert failed == ["job_lost"]
        await trained_once(api, run_id)
        assert await reviews(api, run_id) == []


async def test_a_window_that_does_not_move_is_asked_about_and_is_not_begun_twice(
    tmp_path: Path, database_url: str | None
) -> None:
    worker = Hanging()
    async with serving(simulated_app(worker)) as url:
        settings = settings_for(tmp_path, database_url, url, job_silence_s=0.1)
        async with running_api(settings.model_copy(update={"poll_s": 0.05}), worker) as api:
            run_id = await api.start(**UNSCORED)
            await api.until(run_id, "waiting")
            failed = [event["details"]["code"] for event in await api.events(run_id, "window_failed")]
            assert failed == ["job_silent"] * MAX_ATTEMPTS
            [asked] = await reviews(api, run_id)
            assert "as running without a change for 0.1 s (job_silence_s)" in asked["question"]
            worker.goes_on.set()
            await api.command(run_id, "approve")
            await api.until(run_id, "succeeded")
            await trained_once(api, run_id)
            assert worker.windows == [f"{run_id}:0:0", f"{run_id}:0:1"]


async def test_a_window_that_moves_slowly_is_left_alone(tmp_path: Path) -> None:
    worker = SimulatedWorker()
    worker.step_s = 0.15
    async with serving(simulated_app(worker)) as url:
        settings = settings_for(tmp_path, None, url, job_silence_s=0.6)
        async with running_api(settings.model_copy(update={"poll_s": 0.05}), worker) as api:
            run_id = await api.start(**UNSCORED)
            await api.until(run_id, "succeeded")
            assert await api.events(run_id, "window_failed") == []
