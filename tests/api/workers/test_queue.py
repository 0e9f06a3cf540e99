"""The queue, lost and draining workers: the API with simulated workers, on both stores."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from aft_api.supervisor.fleet import CLAIM_EVERY_S
from aft_contracts import Heartbeat, JobStatus, WorkerInfo
from tests.api.conftest import Api, running_api, serving, settings_for
from tests.api.supervisor.test_fleet import lease_of
from tests.api.workers.test_address import NO_HOSTS
from tests.liar import Asked, Said, lying_app
from tests.simulated_worker import SimulatedWorker, simulated_app

pytestmark = pytest.mark.anyio
SHORT = {
    "optim": {"steps": 20, "batch_size": 4},
    "data": {"domains": {"chat": {"path": "/data/chat.jsonl"}}},
}
A_STANDSTILL_S = 4.0
"""Longer than a busy machine stands still: nobody is to be lost for that."""
EARLY_POISON = "s54"


@dataclass(kw_only=True)
class Yard:
    """Simulated workers, each to be stopped and started at its address."""

    stack: AsyncExitStack
    urls: dict[str, str] = field(default_factory=dict)
    served: dict[str, AsyncExitStack] = field(default_factory=dict)

    async def open(self, worker: SimulatedWorker) -> str:
        """Serve a worker, where it was before if it was."""
        name = worker.worker_id
        port = int(self.urls[name].rsplit(":", 1)[1]) if name in self.urls else 0
        self.served[name] = AsyncExitStack()
        self.urls[name] = await self.served[name].enter_async_context(serving(simulated_app(worker), port=port))
        return self.urls[name]

    async def shut(self, name: str) -> None:
        """Stop serving: to the API the worker is gone, while it goes on inside."""
        await self.served.pop(name).aclose()


@pytest.fixture
async def yard() -> AsyncIterator[Yard]:
    async with AsyncExitStack() as stack:
        opened = Yard(stack=stack)
        yield opened
        for served in opened.served.values():
            await served.aclose()


async def views(api: Api) -> dict[str, dict[str, Any]]:
    """Workers by name, as clients see them."""
    return {view["worker_id"]: view for view in (await api.client.get("/workers")).json()["workers"]}


async def state_is(api: Api, worker_id: str, state: str) -> None:
    """Wait until a worker has a state."""
    async with asyncio.timeout(20):
        while (await views(api)).get(worker_id, {}).get("state") != state:
            await asyncio.sleep(0.05)


def settings(folder: Path, database_url: str | None, *urls: str, lost_s: float = 30.0) -> Any:
    return settings_for(folder, database_url, urls[0]).model_copy(update={"worker_urls": urls, "worker_lost_s": lost_s})


async def test_five_runs_share_one_slot_by_priority_and_age(
    tmp_path: Path, database_url: str | None, yard: Yard
) -> None:
    worker = SimulatedWorker(slots=1)
    worker.step_s = 0.02
    async with running_api(settings(tmp_path, database_url, await yard.open(worker)), worker) as api:
        first = await api.start(**SHORT)
        await api.until(first, "running")
        later = [await api.start(**SHORT, priority=priority) for priority in (0, 0, 5, -1)]
        queued = [await api.run(run_id) for run_id in later]
        assert [(run["status"], run["queue_place"], run["worker_id"]) for run in queued] == [
            ("queued", 2, None), ("queued", 3, None), ("queued", 1, None), ("queued", 4, None),
        ]  # fmt: skip
        for run_id in [first, *later]:
            await api.until(run_id, "succeeded", within_s=60)
        began = list(dict.fromkeys(window.split(":")[0] for window in worker.windows))
        assert began == [first, later[2], later[0], later[1], later[3]]
        assert worker.most_runs == 1


async def test_queued_run_is_not_driven_and_can_be_stopped(tmp_path: Path, yard: Yard) -> None:
    worker = SimulatedWorker(slots=1)
    worker.step_s = 1.0
    async with running_api(settings(tmp_path, None, await yard.open(worker)), worker) as api:
        first = await api.start(**SHORT)
        await api.until(first, "running")
        queued = await api.start(**SHORT)
        await asyncio.sleep(1)
        assert api.app.state.fleet.run_ids == {first}
        await api.command(queued, "stop")
        assert (await api.until(queued, "stopped"))["worker_id"] is None
        assert queued not in worker.fences, "no worker has heard of it"
        [told] = (await api.client.get(f"/runs/{queued}/commands")).json()["commands"]
        assert (told["status"], told["outcome"]) == ("applied", "stopped at step 0")
        [stopped] = await api.events(queued, "run_stopped")
        assert stopped["message"] == "The run stopped at step 0."
        owner = await lease_of(api.app.state.store, queued)
        await asyncio.sleep(3 * CLAIM_EVERY_S)
        assert await lease_of(api.app.state.store, queued) == owner, "nobody drives it again"


async def test_run_that_lost_its_worker_in_its_first_window_can_be_stopped(tmp_path: Path, yard: Yard) -> None:
    worker = SimulatedWorker()
    worker.step_s = 0.5
    async with running_api(settings(tmp_path, None, await yard.open(worker), lost_s=1.0), worker) as api:
        run_id = await api.start(**SHORT)
        while not worker.jobs:
            await api.run(run_id)
        await yard.shut("simulated")
        await api.until(run_id, "queued")
        await api.command(run_id, "stop")
        run = await api.until(run_id, "stopped")
        assert (run["step"], run["problem"]) == (0, None)
        windows = (await api.client.get(f"/runs/{run_id}/windows")).json()["windows"]
        assert [(window["status"], window["problem"]["code"]) for window in windows] == [("failed", "window_left")]


async def test_parked_run_keeps_its_slot_until_somebody_needs_it(tmp_path: Path, yard: Yard) -> None:
    worker = SimulatedWorker(slots=1)
    worker.poison = {EARLY_POISON}
    async with running_api(settings(tmp_path, None, await yard.open(worker)), worker) as api:
        asking = await api.start(repair={"ask_before_rollback": True})
        await api.until(asking, "waiting")
        assert list(worker.runs) == [asking]
        worker.poison = set()
        other = await api.start(**SHORT)
        await api.until(other, "succeeded")
        assert (await api.run(asking))["status"] == "waiting"
        await api.command(asking, "resume", answer="approve")
        await api.until(asking, "succeeded")
        assert worker.most_runs == 1


async def test_lost_workers_run_moves_and_the_stale_copy_is_dropped(
    tmp_path: Path, database_url: str | None, yard: Yard
) -> None:
    one, two = SimulatedWorker("one", slots=2), SimulatedWorker("two", slots=1)
    one.step_s = two.step_s = 0.05
    urls = [await yard.open(one), await yard.open(two)]
    async with running_api(settings(tmp_path, database_url, *urls, lost_s=A_STANDSTILL_S), one) as api:
        await state_is(api, "one", "active")
        await state_is(api, "two", "active")
        run_id = await api.start(**{**SHORT, "optim": {"steps": 60, "batch_size": 4}})
        while not one.windows:
            await api.run(run_id)
        assert (await api.run(run_id))["worker_id"] == "one"
        await yard.shut("one")
        await state_is(api, "one", "lost")
        before = one.fences[run_id]
        async with asyncio.timeout(20):
            while (await api.run(run_id))["worker_id"] != "two" or run_id not in two.runs:
                await asyncio.sleep(0.05)
        assert run_id in one.runs, "it does not know yet"
        await yard.open(one)
        await state_is(api, "one", "active")
        assert run_id not in one.runs
        assert one.fences[run_id] > before
        finished = await api.until(run_id, "succeeded", within_s=60)
        assert finished["step"] == 60
        assert len(await api.events(run_id, "worker_lost")) == 1
        assert [event["details"]["worker_id"] for event in await api.events(run_id, "worker_assigned")] == [
            "one",
            "two",
        ]
        committed = (await api.client.get(f"/runs/{run_id}/windows")).json()["windows"]
        assert [window["status"] for window in committed] == [JobStatus.COMMITTED] * 6


async def test_window_that_costs_one_worker_after_the_other_is_a_failed_attempt_each_time(
    tmp_path: Path, yard: Yard
) -> None:
    workers = {name: SimulatedWorker(name) for name in ("one", "two", "three")}
    urls = [await yard.open(worker) for worker in workers.values()]
    async with running_api(settings(tmp_path, None, *urls, lost_s=2.0), workers["one"]) as api:
        for name, worker in workers.items():
            await state_is(api, name, "active")
            worker.step_s = 1.0
        run_id = await api.start(**SHORT)
        for lost_before in range(2):
            holder = await _begun_at(api, run_id, after=lost_before)
            await yard.shut(holder)
            del workers[holder]
        [last] = workers.values()
        last.step_s = 0.0
        await api.until(run_id, "succeeded", within_s=60)
        failed = await api.events(run_id, "window_failed")
        assert [event["details"]["code"] for event in failed] == ["job_lost", "job_lost"]
        assert "or another that had begun it was lost" in failed[-1]["message"]
        assert last.windows == [f"{run_id}:0:0", f"{run_id}:0:1"]


async def _begun_at(api: Api, run_id: str, *, after: int) -> str:
    """The worker that has shown a step of the run's first window, once so many have been lost over it."""
    async with asyncio.timeout(20):
        while True:
            # The failures first: what the window shows before the last of them is the lost worker's.
            failures = len(await api.events(run_id, "window_failed"))
            windows = (await api.client.get(f"/runs/{run_id}/windows")).json()["windows"]
            if failures == after and windows and windows[0]["status"] == "running":
                return str((await api.run(run_id))["worker_id"])
            await asyncio.sleep(0.05)


async def test_lost_workers_run_waits_for_a_worker_that_reaches_its_files(tmp_path: Path, yard: Yard) -> None:
    one, two = SimulatedWorker("one", slots=2), SimulatedWorker("two", root_id="elsewhere", slots=1)
    one.step_s = 0.05
    urls = [await yard.open(one), await yard.open(two)]
    async with running_api(settings(tmp_path, None, *urls, lost_s=1.5), one) as api:
        await state_is(api, "one", "active")
        await state_is(api, "two", "active")
        run_id = await api.start(**{**SHORT, "optim": {"steps": 60, "batch_size": 4}})
        while not one.windows:
            await api.run(run_id)
        await yard.shut("one")
        waiting = await api.until(run_id, "queued", within_s=20)
        assert (waiting["queue_place"], waiting["worker_id"]) == (1, None)
        await asyncio.sleep(1)
        assert two.runs == {}
        await yard.open(one)
        await api.until(run_id, "succeeded", within_s=60)
        assert two.windows == []


async def test_draining_worker_gives_its_run_away_after_the_window(tmp_path: Path, yard: Yard) -> None:
    one, two = SimulatedWorker("one", slots=2), SimulatedWorker("two", slots=1)
    one.step_s = two.step_s = 0.02
    urls = [await yard.open(one), await yard.open(two)]
    async with running_api(settings(tmp_path, None, *urls), one) as api:
        await state_is(api, "one", "active")
        await state_is(api, "two", "active")
        run_id = await api.start(**{**SHORT, "optim": {"steps": 100, "batch_size": 4}})
        while not one.windows:
            await api.run(run_id)
        drained = await api.client.post("/workers/one/drain")
        assert (drained.status_code, drained.json()["state"]) == (200, "draining")
        await api.until(run_id, "succeeded", within_s=60)
        assert set(one.windows).isdisjoint(two.windows), "no window was trained twice"
        assert len(one.windows) + len(two.windows) == 10
        assert two.windows
        assert one.runs == {}
        assert (await api.client.post("/workers/one/resume")).json()["state"] == "active"
        missing = await api.client.post("/workers/none/drain")
        assert (missing.status_code, missing.json()["code"]) == (404, "worker_not_found")


async def test_drained_worker_can_be_stopped_as_soon_as_its_runs_were_given_to_another(
    tmp_path: Path, database_url: str | None, yard: Yard
) -> None:
    one, two = SimulatedWorker("one", slots=2), SimulatedWorker("two", slots=1)
    one.step_s = 1.0
    urls = [await yard.open(one), await yard.open(two)]
    async with running_api(settings(tmp_path, database_url, *urls), one) as api:
        await state_is(api, "one", "active")
        await state_is(api, "two", "active")
        run_id = await api.start(**SHORT)
        async with asyncio.timeout(20):
            while not one.jobs:
                await asyncio.sleep(0.02)
            await api.client.post("/workers/one/drain")
            while (await api.run(run_id))["worker_id"] != "two":
                await asyncio.sleep(0.02)
        await yard.shut("one")
        await api.until(run_id, "succeeded")
        assert two.windows == [f"{run_id}:0:0", f"{run_id}:0:1"]


async def test_run_moves_although_its_worker_lets_it_go_in_no_words(tmp_path: Path, yard: Yard) -> None:
    one, two = SimulatedWorker("one", slots=2), SimulatedWorker("two", slots=1)
    one.step_s = 0.02
    refused: list[str] = []

    def proxied(asked: Asked, true: Said) -> Said:
        """What a proxy says that loses the worker's answer."""
        if asked.method != "DELETE":
            return true
        refused.append(asked.path)
        return replace(true, status=502, content=b"<html>", media_type="text/html")

    async with serving(lying_app(simulated_app(one), proxied)) as proxy:  # type: ignore[arg-type]
        urls = [proxy, await yard.open(two)]
        async with running_api(settings(tmp_path, None, *urls), one) as api:
            await state_is(api, "one", "active")
            await state_is(api, "two", "active")
            run_id = await api.start(**{**SHORT, "optim": {"steps": 60, "batch_size": 4}})
            while not one.windows:
                await api.run(run_id)
            await api.client.post("/workers/one/drain")
            run = await api.until(run_id, "succeeded")
            assert refused
            assert (run["worker_id"], two.windows[-1]) == ("two", f"{run_id}:0:5")


async def test_run_follows_its_worker_to_another_address(tmp_path: Path, yard: Yard) -> None:
    worker = SimulatedWorker("w")
    worker.step_s = 0.2
    alone = settings(tmp_path, None, await yard.open(worker)).model_copy(update={"worker_urls": ()})
    info = WorkerInfo(worker_id="w", platform="cpu", devices=1, versions={}, slots=1, root_id=worker.root_id)

    async def beat(api: Api) -> None:
        told = Heartbeat(base_url=yard.urls["w"], info=info).model_dump(mode="json")
        assert (await api.client.post("/workers/w/heartbeat", json=told)).status_code == 200

    async with running_api(alone, worker) as api:
        await beat(api)
        run_id = await api.start(**SHORT)
        async with asyncio.timeout(20):
            while not worker.jobs:
                await asyncio.sleep(0.02)
        await yard.shut("w")
        del yard.urls["w"]
        await yard.open(worker)
        await beat(api)
        await api.until(run_id, "succeeded")
        assert worker.windows == [f"{run_id}:0:0", f"{run_id}:0:1"]


async def test_run_finishes_on_a_draining_worker_when_nobody_else_reaches_its_files(tmp_path: Path, yard: Yard) -> None:
    one, two = SimulatedWorker("one", slots=2), SimulatedWorker("two", root_id="elsewhere", slots=1)
    one.step_s = 0.02
    urls = [await yard.open(one), await yard.open(two)]
    async with running_api(settings(tmp_path, None, *urls), one) as api:
        await state_is(api, "one", "active")
        run_id = await api.start(**SHORT)
        await api.until(run_id, "running")
        await api.client.post("/workers/one/drain")
        await api.until(run_id, "succeeded")
        assert (len(one.windows), two.windows) == (2, [])


async def test_worker_registers_itself_and_a_second_of_its_name_is_refused(tmp_path: Path, yard: Yard) -> None:
    worker = SimulatedWorker("w")
    url = await yard.open(worker)
    alone = settings_for(tmp_path, None, url).model_copy(update={"worker_urls": ()})
    async with running_api(alone, worker) as api:
        run_id = await api.start(**SHORT)
        assert (await api.run(run_id))["queue_place"] == 1
        info = WorkerInfo(worker_id="w", platform="cpu", devices=1, versions={}, slots=1)
        beat = Heartbeat(base_url=url, info=info).model_dump(mode="json")
        answer = await api.client.post("/workers/w/heartbeat", json=beat)
        assert (answer.status_code, answer.json()) == (200, {"drop": {}})
        await api.until(run_id, "succeeded")
        assert list(await views(api)) == ["w"]
        taken = await api.client.post("/workers/w/heartbeat", json={**beat, "base_url": "http://127.0.0.1:1"})
        assert (taken.status_code, taken.json()["code"]) == (409, "worker_name_taken")
        lost_in_space = await api.client.post("/workers/w/heartbeat", json={**beat, "base_url": "worker:8801"})
        assert (lost_in_space.status_code, lost_in_space.json()["code"]) == (422, "worker_url_invalid")
        for base_url in ("http://worker:88O1", *NO_HOSTS):
            misspelt = await api.client.post("/workers/w/heartbeat", json={**beat, "base_url": base_url})
            assert (misspelt.status_code, misspelt.json()["code"]) == (422, "worker_url_invalid"), base_url
            assert f"base_url is {base_url!r}" in misspelt.json()["detail"]
            assert "AFT_WORKER_PUBLIC_URL" in misspelt.json()["detail"]
        other = await api.client.post("/workers/x/heartbeat", json=beat)
        assert (other.status_code, other.json()["code"]) == (422, "worker_id_mismatch")


async def test_worker_that_holds_an_ended_run_is_told_to_drop_it(tmp_path: Path, yard: Yard) -> None:
    worker = SimulatedWorker()
    async with running_api(settings(tmp_path, None, await yard.open(worker)), worker) as api:
        run_id = await api.start(**SHORT)
        await api.until(run_id, "succeeded")
        worker.runs[run_id] = worker.last_load
        async with asyncio.timeout(10):
            while run_id in worker.runs:
                await asyncio.sleep(0.05)
        assert worker.runs == {}
