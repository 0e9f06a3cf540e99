"""Windows and exports that fail from what somebody can mend: tried again, then asked about, and no run is lost."""

import asyncio
import json
from collections.abc import Container
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from aft_api.runs.repository import wake_run
from aft_api.supervisor.asking import MENDABLE
from aft_api.supervisor.jobs import MAX_ATTEMPTS
from aft_contracts import JobRequest, JobStatus, Problem
from tests.api.conftest import Api, running_api, serving, settings_for
from tests.api.supervisor.test_fleet import lease_of
from tests.api.supervisor.test_hostile_answers import UNSCORED, lied_to
from tests.liar import Asked, Said, lying_app
from tests.simulated_worker import SimulatedWorker, simulated_app

pytestmark = pytest.mark.anyio
STALE = {"title": "t", "status": 412, "code": "stale_fence", "detail": "A newer owner has spoken for the run."}


class Broken:
    """Says of jobs of one kind that they failed, for as long as it is broken; the truth from then on."""

    def __init__(self, code: str = "checkpoint_not_written", *, kind: str = "windows", status: int = 507) -> None:
        self.is_broken = True
        self._kind = kind
        self._problem = {"title": "t", "status": status, "code": code, "detail": "No space left on device."}

    def __call__(self, asked: Asked, true: Said) -> Said:
        if not self.is_broken or asked.kind != self._kind or true.status >= 300 or asked.path.endswith("/cancel"):
            return true
        if true.document.get("result") is None:
            return true
        return true.with_document({**true.document, "status": "failed", "result": None, "problem": self._problem})


class Failing(SimulatedWorker):
    """Fails the first window so many times once it has begun, and trains it then."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.times = times

    async def work(self, kind: str, request: JobRequest[Any]) -> None:
        if kind != "windows" or not self.times:
            await super().work(kind, request)
            return
        self.times -= 1
        job_id = request.spec.window_id
        running = self.jobs[job_id].model_copy(update={"status": JobStatus.RUNNING})
        self.show(kind, job_id, running)
        await asyncio.sleep(0.2)  # long enough to be seen
        problem = Problem(title="t", status=500, code="internal_error", detail="d")
        self.show(kind, job_id, running.model_copy(update={"status": JobStatus.FAILED, "problem": problem}))


class Stale:
    """Calls every token stale, for as long as it is broken."""

    def __init__(self) -> None:
        self.is_broken, self.refused = True, 0

    def __call__(self, asked: Asked, true: Said) -> Said:
        if asked.kind not in {"runs", "windows"} or asked.method == "DELETE" or not self.is_broken:
            return true
        self.refused += 1
        return replace(true, status=412, content=json.dumps(STALE).encode(), media_type="application/problem+json")


async def reviews(api: Api, run_id: str) -> list[dict[str, Any]]:
    """What the run has asked, oldest first."""
    found: list[dict[str, Any]] = (await api.client.get("/reviews", params={"run_id": run_id})).json()["reviews"]
    return found


async def reviews_once_there_are(count: int, api: Api, run_id: str) -> list[dict[str, Any]]:
    """What the run has asked, once it has asked so often."""
    async with asyncio.timeout(20):
        while len(asked := await reviews(api, run_id)) < count:
            await asyncio.sleep(0.05)
    return asked


async def trained_once(api: Api, run_id: str) -> None:
    """Two windows, committed once each and in order."""
    windows = (await api.client.get(f"/runs/{run_id}/windows")).json()["windows"]
    assert [(w["index"], w["status"], w["start_step"], w["result"]["end_step"]) for w in windows] == [
        (0, "committed", 0, 10), (1, "committed", 10, 20),
    ]  # fmt: skip
    committed = await api.events(run_id, "window_committed")
    assert [event["details"]["window_id"] for event in committed] == [f"{run_id}:0:0", f"{run_id}:0:1"]


async def test_a_disk_that_stays_full_is_asked_about_and_the_run_goes_on_once_there_is_room(
    tmp_path: Path, database_url: str | None
) -> None:
    disk = Broken()
    async with lied_to(tmp_path, disk, database_url=database_url) as api:
        run_id = await api.start(**UNSCORED)
        run = await api.until(run_id, "waiting")
        assert len(await api.events(run_id, "window_failed")) == MAX_ATTEMPTS
        [asked] = await reviews(api, run_id)
        assert (asked["status"], run["review_id"]) == ("open", asked["review_id"])
        assert [option["name"] for option in asked["options"]] == ["go_on", "stop"]
        assert "checkpoint_not_written: No space left on device." in asked["question"]
        assert [event["details"]["review_id"] for event in await api.events(run_id, "review_requested")] == [
            asked["review_id"]
        ]
        disk.is_broken = False
        assert (await api.command(run_id, "resume")).status_code == 202
        await api.until(run_id, "succeeded")
        await trained_once(api, run_id)
        [told] = (await api.client.get(f"/runs/{run_id}/commands")).json()["commands"]
        assert (told["status"], told["outcome"]) == ("applied", "goes on unchanged from step 0")
        assert api.worker.cancelled == set(), "the window is not ended for the answer to the question about it"


async def test_who_goes_on_too_soon_is_asked_again_after_as_many_attempts(tmp_path: Path) -> None:
    disk = Broken("ledger_not_written", status=500)
    async with lied_to(tmp_path, disk) as api:
        run_id = await api.start(**UNSCORED)
        await api.until(run_id, "waiting")
        await api.command(run_id, "approve")
        asked = await reviews_once_there_are(2, api, run_id)
        assert [review["status"] for review in asked] == ["decided", "open"]
        failed = [event["message"].split(":")[0] for event in await api.events(run_id, "window_failed")]
        assert failed[4:6] == ["Window 0 failed, attempt 5 of 5", "Window 0 failed, attempt 6 of 10"]
        assert len(failed) == 2 * MAX_ATTEMPTS
        disk.is_broken = False
        await api.until(run_id, "waiting")
        await api.command(run_id, "approve")
        await api.until(run_id, "succeeded")
        await trained_once(api, run_id)


async def test_a_node_that_was_cut_off_after_its_question_asks_no_second_one(tmp_path: Path) -> None:
    async with lied_to(tmp_path, Broken()) as api:
        run_id = await api.start(**UNSCORED)
        await api.until(run_id, "waiting")
        await api.app.state.fleet.loop.aupdate_state(
            {"configurable": {"thread_id": run_id}}, {"blocked": False}, as_node="human_review"
        )  # the loop stands before `train` again, as after a crash before its checkpoint
        async with api.app.state.store.sessions.begin() as session:
            await wake_run(session, run_id)
        api.app.state.fleet.hear(run_id)
        async with asyncio.timeout(20):
            while not (await api.app.state.fleet.loop.aget_state({"configurable": {"thread_id": run_id}})).interrupts:
                await asyncio.sleep(0.05)
        assert len(await reviews(api, run_id)) == 1
        assert len(await api.events(run_id, "window_failed")) == MAX_ATTEMPTS, "nor is anything tried without an answer"


async def test_an_edit_is_carried_out_once_the_window_that_was_asked_about_is_over(tmp_path: Path) -> None:
    disk, worker = Broken(), SimulatedWorker()
    async with lied_to(tmp_path, disk, worker=worker) as api:
        run_id = await api.start(**UNSCORED)
        await api.until(run_id, "waiting")
        disk.is_broken = False
        repair = {"kind": "adjust", "lr_factor": 0.5, "reasons": ["gentler"]}
        assert (await api.command(run_id, "edit", repair=repair)).status_code == 202
        run = await api.until(run_id, "succeeded")
        assert [rate["scale"] for rate in run["schedule"]["rates"]] == [0.5]
        assert run["step"] == 20


async def test_a_stop_stops_even_where_nothing_can_be_exported(tmp_path: Path) -> None:
    worker, disk, export = SimulatedWorker(), Broken(), Broken(kind="exports")

    def tamper(asked: Asked, true: Said) -> Said:
        return export(asked, disk(asked, true) if ":0:1" in asked.path else true)

    async with lied_to(tmp_path, tamper, worker=worker) as api:
        run_id = await api.start(**UNSCORED)
        await api.until(run_id, "waiting")
        [asked] = await reviews(api, run_id)
        assert (await api.command(run_id, "stop", review_id=asked["review_id"])).status_code == 202
        run = await api.until(run_id, "stopped")
        assert (run["step"], run["export"], run["problem"]) == (10, None, None)
        [note] = await api.events(run_id, "worker_note")
        assert note["message"] == "Nothing was exported: No space left on device. The checkpoint of step 10 is kept."
        assert (await reviews(api, run_id))[0]["decision"]["option"] == "stop"


async def test_a_window_that_failed_and_is_asked_for_again_was_not_lost(tmp_path: Path) -> None:
    worker = Failing(times=MAX_ATTEMPTS - 1)
    async with serving(simulated_app(worker)) as url, running_api(settings_for(tmp_path, None, url), worker) as api:
        run_id = await api.start(**UNSCORED)
        await api.until(run_id, "succeeded")
        failed = [event["details"]["code"] for event in await api.events(run_id, "window_failed")]
        assert failed == ["internal_error"] * (MAX_ATTEMPTS - 1)
        await trained_once(api, run_id)


async def test_a_run_that_is_stopped_before_its_export_came_to_an_end_is_stopped(
    tmp_path: Path, database_url: str | None
) -> None:
    """Between two processes it is paused: the loop then stands before its last node, which is no ordinary end."""
    worker, is_stuck = SimulatedWorker(), True

    def tamper(asked: Asked, true: Said) -> Said:
        if not is_stuck or asked.kind != "exports" or true.status >= 300:
            return true
        return true.with_document({**true.document, "status": "running", "result": None})

    async with serving(lying_app(simulated_app(worker), tamper)) as url:  # type: ignore[arg-type]
        settings = settings_for(tmp_path, database_url, url, drain_s=0.1)
        async with running_api(settings, worker) as first:
            run_id = await first.start(**UNSCORED)
            async with asyncio.timeout(30):
                while not any(":x:" in job_id for job_id in worker.jobs):
                    await asyncio.sleep(0.02)
            await first.command(run_id, "pause")
        async with running_api(settings, worker) as second:
            await second.until(run_id, "paused")
            is_stuck = False
            await second.command(run_id, "stop")
            run = await second.until(run_id, "stopped")
            told = (await second.client.get(f"/runs/{run_id}/commands")).json()["commands"]
            assert [(command["command"]["kind"], command["status"]) for command in told] == [
                ("pause", "applied"), ("stop", "applied"),
            ]  # fmt: skip
            assert (run["step"], run["export"]["adapter_path"]) == (20, "/adapters/x")
            assert len(await second.events(run_id, "run_stopped")) == 1


async def test_an_export_that_is_tried_again_after_the_run_was_changed_is_another_job(tmp_path: Path) -> None:
    disk = Broken("storage_failed", kind="exports")
    async with lied_to(tmp_path, disk) as api:
        run_id = await api.start(**UNSCORED)
        await api.until(run_id, "waiting")
        assert (await api.command(run_id, "set_lr", learning_rate=1e-5)).status_code == 202
        disk.is_broken = False
        await api.command(run_id, "approve")
        run = await api.until(run_id, "succeeded")
        assert run["export"]["adapter_path"] == "/adapters/x"
        assert len([job_id for job_id in api.worker.jobs if ":x:" in job_id]) == 2


async def test_an_export_without_room_is_asked_about_and_made_once_there_is(tmp_path: Path) -> None:
    disk = Broken("storage_failed", kind="exports")
    async with lied_to(tmp_path, disk) as api:
        run_id = await api.start(**UNSCORED)
        await api.until(run_id, "waiting")
        await api.command(run_id, "approve")
        asked = await reviews_once_there_are(2, api, run_id)
        assert all(review["question"].startswith("The export of step 20 failed 5 times") for review in asked)
        disk.is_broken = False
        await api.until(run_id, "waiting")
        await api.command(run_id, "approve")
        run = await api.until(run_id, "succeeded")
        assert run["export"]["adapter_path"] == "/adapters/x"
        await trained_once(api, run_id)


@pytest.mark.parametrize("code", ["generation_mismatch", "non_finite_parameters", "worker_answer_invalid"])
async def test_what_nobody_can_mend_ends_the_run(tmp_path: Path, code: str) -> None:
    assert code not in MENDABLE
    async with lied_to(tmp_path, Broken(code, status=409)) as api:
        run_id = await api.start(**UNSCORED)
        run = await api.until(run_id, "failed")
        assert run["problem"]["code"] == code
        assert await reviews(api, run_id) == []


async def test_a_worker_that_is_never_ready_is_said_once_and_waited_for(tmp_path: Path) -> None:
    refusal = json.dumps(
        {"title": "t", "status": 409, "code": "run_not_loaded", "detail": "Put the run first."}
    ).encode()
    is_ready = asyncio.Event()

    def tamper(asked: Asked, true: Said) -> Said:
        spoilt = asked.kind == "windows" and not is_ready.is_set()
        return replace(true, status=409, content=refusal, media_type="application/problem+json") if spoilt else true

    async with lied_to(tmp_path, tamper) as api:
        run_id = await api.start(**UNSCORED)
        async with asyncio.timeout(20):
            while (run := await api.run(run_id))["problem"] is None:
                await asyncio.sleep(0.05)
        assert (run["status"], run["problem"]["code"]) == ("running", "run_not_loaded")
        await asyncio.sleep(0.5)
        [note] = await api.events(run_id, "worker_note")
        assert note["message"] == "Put the run first."
        is_ready.set()
        run = await api.until(run_id, "succeeded")
        assert run["problem"] is None
        await trained_once(api, run_id)


async def test_a_worker_that_knows_a_newer_token_than_the_store_is_given_newer_ones(tmp_path: Path) -> None:
    """As after a restore of the database from a backup: the worker has seen what the store has forgotten."""
    worker = SimulatedWorker()
    async with lied_to(tmp_path, lambda _, true: true, worker=worker) as api:
        run_id = await api.start(**UNSCORED)
        worker.fences[run_id] = 3
        await api.until(run_id, "succeeded")
        await trained_once(api, run_id)
        assert (await lease_of(api.app.state.store, run_id))[1] >= 3


async def test_a_worker_that_calls_every_token_stale_is_asked_five_times_and_then_a_human_is(
    tmp_path: Path, database_url: str | None
) -> None:
    stale = Stale()
    async with lied_to(tmp_path, stale, database_url=database_url) as api:
        run_id = await api.start(**UNSCORED)
        await api.until(run_id, "waiting")
        failed = await api.events(run_id, "window_failed")
        assert [event["details"]["code"] for event in failed] == ["stale_fence"] * MAX_ATTEMPTS
        asked_for = stale.refused
        await asyncio.sleep(1.5)  # three rounds of the fleet
        assert stale.refused == asked_for == MAX_ATTEMPTS, "nobody claims it for more of the same"
        stale.is_broken = False
        await api.command(run_id, "resume")
        await api.until(run_id, "succeeded")
        await trained_once(api, run_id)


class CancelsAll(Container[str]):
    """Windows that the worker cancels by itself: the first so many that it is asked for."""

    def __init__(self, most: int) -> None:
        self.left = most

    def __contains__(self, job_id: object) -> bool:
        self.left -= 1
        return self.left >= 0

    def add(self, job_id: str) -> None:
        """What was asked for does not count here."""


async def test_a_window_that_the_worker_cancels_unasked_is_a_failed_attempt(api: Api) -> None:
    api.worker.cancelled = CancelsAll(1)  # type: ignore[assignment]
    run_id = await api.start(**UNSCORED)
    await api.until(run_id, "succeeded")
    [failed] = await api.events(run_id, "window_failed")
    assert failed["details"]["code"] == "window_empty"
    await trained_once(api, run_id)


async def test_a_window_that_is_tried_again_is_seen_to_run(api: Api) -> None:
    api.worker.cancelled, api.worker.step_s = CancelsAll(1), 0.4  # type: ignore[assignment]
    run_id = await api.start(optim={"steps": 10, "batch_size": 4})
    async with asyncio.timeout(20):
        while not await api.events(run_id, "window_failed"):
            await asyncio.sleep(0.05)
        while (await api.client.get(f"/runs/{run_id}/windows")).json()["windows"][0]["status"] != "running":
            await asyncio.sleep(0.05)
    assert 0 < (await api.run(run_id))["step"] < 10
    api.worker.step_s = 0.0
    await api.until(run_id, "succeeded")


async def test_a_worker_that_cancels_every_window_unasked_ends_the_run(tmp_path: Path, worker_url: str) -> None:
    worker = SimulatedWorker()
    worker.cancelled = CancelsAll(1000)  # type: ignore[assignment]
    async with lied_to(tmp_path, lambda _, true: true, worker=worker) as api:
        run_id = await api.start(**UNSCORED)
        run = await api.until(run_id, "failed")
        assert (run["problem"]["code"], run["step"]) == ("window_empty", 0)
        assert len(await api.events(run_id, "window_failed")) == MAX_ATTEMPTS


async def test_a_window_that_a_command_ended_before_its_first_step_is_no_failure(tmp_path: Path) -> None:
    worker, told = SimulatedWorker(), asyncio.Event()
    honest = simulated_app(worker)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        """Between the window's intent and its dispatch a command comes in, and the worker hears of it at once."""
        if scope["type"] == "http" and scope["method"] == "PUT" and "/v1/runs/" in scope["path"] and not told.is_set():
            told.set()
            run_id = scope["path"].rsplit("/", 1)[1]
            assert (await api.command(run_id, "set_lr", learning_rate=1e-4)).status_code == 202
            worker.cancelled.add(f"{run_id}:0:0")
        await honest(scope, receive, send)

    async with serving(app) as url, running_api(settings_for(tmp_path, None, url), worker) as api:  # type: ignore[arg-type]
        run_id = await api.start(**UNSCORED)
        await api.until(run_id, "succeeded")
        assert await api.events(run_id, "window_failed") == []
        windows = (await api.client.get(f"/runs/{run_id}/windows")).json()["windows"]
        assert [(w["start_step"], w["result"]["end_step"]) for w in windows] == [(0, 0), (0, 10), (10, 20)]
