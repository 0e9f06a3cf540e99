"""Workers that lie, break off or never come to an end: failures on record, never errors of the loop.

Each case spoils the true answer of a simulated worker. A lie costs one attempt. A worker that goes on lying costs the
run, with the problem in words, or, where the run can go on without the answer, that answer.
"""

import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from aft_api.supervisor.jobs import MAX_ATTEMPTS
from tests.api.conftest import Api, running_api, serving, settings_for
from tests.liar import Asked, Said, Tamper, lying_app
from tests.simulated_worker import SimulatedWorker, simulated_app

pytestmark = pytest.mark.anyio
LATE_POISON = "s121"
"""Drawn at step 30, when the guard is armed."""
UNSCORED: dict[str, Any] = {
    "optim": {"steps": 20, "batch_size": 4},
    "data": {"domains": {"chat": {"path": "/data/chat.jsonl"}}},
}
"""Two windows and an export, and nothing held out."""


@asynccontextmanager
async def lied_to(
    folder: Path,
    tamper: Tamper,
    *,
    worker: SimulatedWorker | None = None,
    database_url: str | None = None,
    **changes: Any,
) -> AsyncIterator[Api]:
    """An API whose worker's answers go through `tamper`."""
    worker = worker or SimulatedWorker()
    async with serving(lying_app(simulated_app(worker), tamper)) as url:  # type: ignore[arg-type]
        settings = settings_for(folder, database_url, url).model_copy(update={"retry_s": 0.01, **changes})
        async with running_api(settings, worker) as api:
            yield api


class Once:
    """Tells each lie once, on the first answers that it can be told about, and the truth from then on."""

    def __init__(self, *lies: Tamper) -> None:
        self._lies = list(lies)

    def __call__(self, asked: Asked, true: Said) -> Said:
        told = self._lies[0](asked, true) if self._lies else true
        if told is not true:
            self._lies.pop(0)
        return told


def about(kind: str, change: Any, *, with_result: bool = True) -> Tamper:
    """A lie about one kind of job: its document changed, once it has a result if that is what is lied about."""

    def tamper(asked: Asked, true: Said) -> Said:
        if asked.kind != kind or true.status >= 300 or asked.path.endswith("/cancel"):
            return true
        document = true.document
        if with_result and document.get("result") is None:
            return true
        change(document)
        return true.with_document(document)

    return tamper


def raw(kind: str, **changes: Any) -> Tamper:
    """A lie about the answer itself."""

    def tamper(asked: Asked, true: Said) -> Said:
        return replace(true, **changes) if asked.kind == kind and asked.method != "DELETE" else true

    return tamper


def first_step(document: dict[str, Any]) -> dict[str, Any]:
    """The first step of a window's result."""
    step: dict[str, Any] = document["result"]["metrics"]["steps"][0]
    return step


WINDOW_LIES: dict[str, Tamper] = {
    "another spec": about("windows", lambda d: d.update(spec_hash="0" * 64)),
    "another window": about("windows", lambda d: d["result"].update(window_id="another:0:0")),
    "steps backwards": about("windows", lambda d: d["result"]["metrics"]["steps"].reverse()),
    "an end before the start": about(
        "windows",
        lambda d: (
            d.update(status="cancelled"),
            d["result"].update(end_step=-1, metrics={"window_id": d["job_id"], "steps": []}),
        ),
    ),
    "NaN": about("windows", lambda d: first_step(d).update(loss=math.nan)),
    "an infinite rate": about("windows", lambda d: first_step(d).update(lr=math.inf)),
    "a NUL": about("windows", lambda d: d["result"]["notes"].append({"kind": "n", "message": "\x00"})),
    "a field of another version": about("windows", lambda d: d.update(eta_s=1), with_result=False),
    "no json": raw("windows", content=b"not json"),
    "a web page": raw("windows", content=b"<html>", media_type="text/html"),
    "an error in no words": raw("windows", status=500, content=b"oops"),
    "a refusal that nobody knows": raw(
        "windows", status=500, content=b'{"title": "t", "status": 500, "code": "teapot", "detail": "d"}'
    ),
    "a redirect": raw("windows", status=307, headers={"location": "http://127.0.0.1:9/"}, content=b""),
    "a load of another run": about("runs", lambda d: d.update(run_id="another"), with_result=False),
    "a load that fails for no reason": about("runs", lambda d: d.update(status="failed"), with_result=False),
}


async def unforeseen(api: Api, run_id: str) -> list[str]:
    """Codes of errors that the loop did not know."""
    problem = (await api.run(run_id))["problem"]
    codes = [problem["code"]] if problem else []
    codes += [event["details"].get("code") for event in await api.events(run_id)]
    return [code for code in codes if code == "internal_error"]


@pytest.mark.parametrize("lie", WINDOW_LIES)
async def test_a_lie_about_a_window_costs_an_attempt(tmp_path: Path, lie: str) -> None:
    async with lied_to(tmp_path, Once(WINDOW_LIES[lie])) as api:
        run_id = await api.start(**UNSCORED)
        await api.until(run_id, "succeeded")
        [failed] = await api.events(run_id, "window_failed")
        assert failed["details"]["code"] == ("teapot" if "refusal" in lie else "worker_answer_invalid")
        assert f"attempt 1 of {MAX_ATTEMPTS}" in failed["message"]
        windows = (await api.client.get(f"/runs/{run_id}/windows")).json()["windows"]
        assert [(w["start_step"], w["result"]["end_step"]) for w in windows] == [(0, 10), (10, 20)]
        assert await unforeseen(api, run_id) == []


async def test_lies_that_a_store_could_not_keep_are_survived_on_both(tmp_path: Path, database_url: str | None) -> None:
    told = [WINDOW_LIES[name] for name in ("NaN", "an infinite rate", "a NUL")]
    async with lied_to(tmp_path, Once(*told), database_url=database_url) as api:
        run_id = await api.start(**UNSCORED)
        await api.until(run_id, "succeeded")
        assert len(await api.events(run_id, "window_failed")) == 3


async def test_a_worker_that_goes_on_lying_costs_the_run_with_the_problem(tmp_path: Path) -> None:
    async with lied_to(tmp_path, WINDOW_LIES["steps backwards"]) as api:
        run_id = await api.start(**UNSCORED)
        run = await api.until(run_id, "failed")
        assert run["problem"]["code"] == "worker_answer_invalid"
        assert "metrics that are 9, 8, 7" in run["problem"]["detail"]
        assert len(await api.events(run_id, "window_failed")) == MAX_ATTEMPTS
        assert run["step"] == 0


async def test_answers_that_are_cut_off_are_asked_for_again(tmp_path: Path) -> None:
    async with lied_to(tmp_path, Once(raw("windows", cut_after=20), raw("windows", cut_after=0))) as api:
        run_id = await api.start(**UNSCORED)
        run = await api.until(run_id, "succeeded")
        assert run["problem"] is None
        assert await api.events(run_id, "window_failed") == [], "nothing was said, so nothing failed"
        assert len(await api.events(run_id, "worker_unreachable")) == 1, "said once for as long as it lasts"


async def test_answers_that_are_cut_off_for_ever_are_failed_attempts_and_in_the_end_a_question(tmp_path: Path) -> None:
    """The worker's heartbeats are well all that while: it is not lost, and nobody else would look."""
    is_cut = True

    def tamper(asked: Asked, true: Said) -> Said:
        return replace(true, cut_after=20) if is_cut and asked.kind == "windows" else true

    async with lied_to(tmp_path, tamper, job_silence_s=0.3) as api:
        run_id = await api.start(**UNSCORED)
        run = await api.until(run_id, "waiting")
        failed = await api.events(run_id, "window_failed")
        assert [event["details"]["code"] for event in failed] == ["job_silent"] * MAX_ATTEMPTS
        assert run["problem"]["code"] == "worker_unreachable"
        [asked] = (await api.client.get("/reviews", params={"run_id": run_id})).json()["reviews"]
        assert f"has told nothing new of {run_id}:0:0 for 0.3 s (job_silence_s)" in asked["question"]
        assert "does not answer (ClientPayloadError)" in asked["question"]
        is_cut = False
        await api.command(run_id, "approve")
        run = await api.until(run_id, "succeeded")
        assert (run["step"], run["problem"]) == (20, None)
        assert await api.events(run_id, "worker_lost") == []
        assert await unforeseen(api, run_id) == []


async def test_a_window_whose_every_second_answer_is_cut_off_and_that_does_not_move_has_an_end(tmp_path: Path) -> None:
    def tamper(asked: Asked, true: Said) -> Said:
        if asked.kind != "windows":
            return true
        if asked.method == "GET":
            return replace(true, cut_after=20)
        return true.with_document({**true.document, "status": "running", "result": None, "progress": []})

    async with lied_to(tmp_path, tamper, job_silence_s=0.3, poll_s=0.05) as api:
        run_id = await api.start(**UNSCORED)
        await api.until(run_id, "waiting")
        failed = await api.events(run_id, "window_failed")
        assert [event["details"]["code"] for event in failed] == ["job_silent"] * MAX_ATTEMPTS


async def test_a_worker_that_loads_for_ever_is_asked_about(tmp_path: Path) -> None:
    is_stuck, loads = True, list[Said]()

    def tamper(asked: Asked, true: Said) -> Said:
        if not is_stuck or asked.kind != "runs" or asked.method == "DELETE":
            return true
        if asked.method == "PUT":
            loads.append(true.with_document({**true.document, "status": "loading", "domains": {}}))
        return loads[-1]

    async with lied_to(tmp_path, tamper, job_silence_s=0.2, poll_s=0.05) as api:
        run_id = await api.start(**UNSCORED)
        await api.until(run_id, "waiting")
        failed = await api.events(run_id, "window_failed")
        assert [event["details"]["code"] for event in failed] == ["job_silent"] * MAX_ATTEMPTS
        [asked] = (await api.client.get("/reviews", params={"run_id": run_id})).json()["reviews"]
        assert f"has shown run {run_id} as loading without a change for 0.2 s (job_silence_s)" in asked["question"]
        is_stuck = False
        await api.command(run_id, "approve")
        await api.until(run_id, "succeeded")
        assert len(loads) >= MAX_ATTEMPTS


async def test_a_run_goes_on_without_the_scores_that_a_worker_makes_up(tmp_path: Path) -> None:
    made_up = about("evaluations", lambda d: d["result"].update(step=999))
    async with lied_to(tmp_path, made_up) as api:
        run_id = await api.start(optim=UNSCORED["optim"])
        run = await api.until(run_id, "succeeded")
        assert run["evaluations"] == []
        failed = await api.events(run_id, "job_failed")
        assert len(failed) == 2 * MAX_ATTEMPTS, "one evaluation before the first step, one after the last"
        assert {event["details"]["code"] for event in failed} == {"worker_answer_invalid"}


async def test_scores_that_are_not_finite_are_scores(tmp_path: Path) -> None:
    nothing = about("evaluations", lambda d: d["result"]["scores"]["chat"].update(loss="NaN"))
    async with lied_to(tmp_path, nothing) as api:
        run_id = await api.start(optim=UNSCORED["optim"])
        run = await api.until(run_id, "succeeded")
        assert [score["scores"]["chat"]["loss"] for score in run["evaluations"]] == ["NaN", "NaN"]


async def test_a_human_is_asked_when_replays_cannot_be_believed(tmp_path: Path) -> None:
    worker = SimulatedWorker()
    worker.poison = {LATE_POISON}
    too_few = about("analyses", lambda d: d["result"]["replays"].pop())
    async with lied_to(tmp_path, too_few, worker=worker) as api:
        run_id = await api.start()
        await api.until(run_id, "waiting")
        [report] = (await api.client.get(f"/runs/{run_id}/diagnoses")).json()["diagnoses"]
        assert report["verdict"] == "unknown"
        assert "The replay failed" in " ".join(report["reasons"])
        assert len(await api.events(run_id, "job_failed")) == MAX_ATTEMPTS


async def test_a_replay_that_is_lied_about_once_is_made_again(tmp_path: Path) -> None:
    worker = SimulatedWorker()
    worker.poison = {LATE_POISON}
    other_steps = about("analyses", lambda d: d["result"]["replays"][0]["steps"].pop())
    async with lied_to(tmp_path, Once(other_steps), worker=worker) as api:
        run_id = await api.start()
        run = await api.until(run_id, "succeeded")
        assert [entry["sample_id"] for entry in run["schedule"]["blacklist"]] == [LATE_POISON]
        assert len(await api.events(run_id, "job_failed")) == 1


async def test_an_export_that_is_nowhere_is_no_export(tmp_path: Path) -> None:
    async with lied_to(tmp_path, about("exports", lambda d: d["result"].update(adapter_path=None))) as api:
        run_id = await api.start(**UNSCORED)
        run = await api.until(run_id, "failed")
        assert run["problem"]["code"] == "worker_answer_invalid"
        assert "does not say where it wrote: adapter" in run["problem"]["detail"]
        assert run["step"] == 20, "what was trained is kept"
        assert len(await api.events(run_id, "job_failed")) == MAX_ATTEMPTS


async def test_a_load_that_may_succeed_later_is_tried_again(tmp_path: Path) -> None:
    problem = {"title": "t", "status": 507, "code": "disk_full", "detail": "no room"}
    full = about("runs", lambda d: d.update(status="failed", problem=problem), with_result=False)
    async with lied_to(tmp_path, Once(full)) as api:
        run_id = await api.start(**UNSCORED)
        await api.until(run_id, "succeeded")
        [failed] = await api.events(run_id, "window_failed")
        assert failed["details"]["code"] == "disk_full"


async def test_an_end_is_not_spoilt_by_a_release_that_fails(tmp_path: Path) -> None:
    def tamper(asked: Asked, true: Said) -> Said:
        return replace(true, status=500, content=b"oops") if asked.method == "DELETE" else true

    async with lied_to(tmp_path, tamper) as api:
        run_id = await api.start(**UNSCORED)
        await api.until(run_id, "succeeded")
        assert await api.events(run_id, "run_failed") == []


async def test_a_worker_that_answers_at_once_and_nothing_new_is_not_asked_without_pause(tmp_path: Path) -> None:
    asked_for: list[str] = []

    def tamper(asked: Asked, true: Said) -> Said:
        if asked.kind != "windows":
            return true
        asked_for.append(asked.method)
        document = true.document
        document.update(status="running", result=None, progress=[])
        return true.with_document(document)

    async with lied_to(tmp_path, tamper) as api:
        run_id = await api.start(**UNSCORED)
        await api.until(run_id, "running")
        before = len(asked_for)
        await asyncio.sleep(3.0)  # three waits of `poll_s`
        assert 2 <= len(asked_for) - before <= 15
