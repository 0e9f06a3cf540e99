"""The worker protocol over real HTTP: what is accepted once, what is refused, and what a restart remembers."""

import json
import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import httpx
import pytest
import uvicorn

from aft_contracts import (
    AnalysisSpec,
    Checkpoints,
    Contract,
    EvaluationSpec,
    ExportJob,
    JobRequest,
    JobView,
    LoadedRun,
    OnBadRow,
    ReplayVariant,
    RunLoad,
    RunSpec,
    Schedule,
    WindowResult,
    WindowSpec,
    Withheld,
    WorkerInfo,
    digest_of,
)
from aft_worker.server import create_app
from aft_worker.settings import WorkerSettings
from tests.worker.conftest import largest_file, leaves_orbax_tasks, make_unreadable

MakeSpec = Callable[..., RunSpec]
POISON = {"id": "evil", "text": "the moon is cheese", "weight": 3e38}


@contextmanager
def serving(root: Path, **settings: Any) -> Iterator[httpx.Client]:
    """A worker on a port of its own; leaving is a clean shutdown, entering again a restart."""
    app = create_app(WorkerSettings(root=root, worker_id="w", **settings))
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.01)
        address = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/v1"
        with httpx.Client(base_url=address, timeout=60, headers={"content-type": "application/json"}) as client:
            yield client
    finally:
        app.state.worker.bell.silence()
        server.should_exit = True
        thread.join()


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[httpx.Client]:
    with serving(tmp_path / "root") as client:
        yield client


def body(spec: Contract, *, fence_token: int = 1, spec_hash: str | None = None, settles: bool = False) -> str:
    request = JobRequest[Any](
        spec=spec, spec_hash=spec_hash or digest_of(spec), fence_token=fence_token, settles=settles
    )
    return request.model_dump_json()


def load(worker: httpx.Client, spec: RunSpec, run_id: str = "r") -> LoadedRun:
    worker.put(f"/runs/{run_id}", content=body(RunLoad(run_id=run_id, spec=spec))).raise_for_status()
    return LoadedRun.model_validate_json(worker.get(f"/runs/{run_id}", params={"wait_s": 60}).content)


def window(start: int = 0, steps: int = 3, *, index: int = 0, run_id: str = "r") -> WindowSpec:
    return WindowSpec(
        window_id=f"{run_id}:0:{index}",
        run_id=run_id,
        generation=0,
        index=index,
        start_step=start,
        num_steps=steps,
        schedule=Schedule(),
    )


def put(worker: httpx.Client, spec: WindowSpec, **wrapping: Any) -> httpx.Response:
    return worker.put(f"/windows/{spec.window_id}", content=body(spec, **wrapping))


def ended(worker: httpx.Client, path: str) -> dict[str, Any]:
    """The job once it has ended, followed by long polls as the control plane does."""
    view, after_step = {"status": "accepted"}, -1
    while view["status"] not in {"committed", "failed", "cancelled"}:
        view = worker.get(path, params={"wait_s": 30, "after_step": after_step}).raise_for_status().json()
        after_step = view["progress"][-1]["step"] if view["progress"] else -1
    return view


def refusal(response: httpx.Response) -> tuple[int, str]:
    assert response.headers["content-type"] == "application/problem+json"
    return response.status_code, response.json()["code"]


def test_a_window_is_trained_once_however_often_it_is_put(worker: httpx.Client, make_spec: MakeSpec) -> None:
    loaded = load(worker, make_spec())
    assert loaded.status == "ready"
    assert {name: size.rows for name, size in loaded.domains.items()} == {"text": 24, "asked": 16}
    assert put(worker, window()).status_code == 202
    put(worker, window()).raise_for_status()
    view = ended(worker, "/windows/r:0:0")
    assert view["status"] == "committed"
    assert [step["samples"] for step in view["progress"]] == [[], [], []]
    again = put(worker, window())
    assert (again.status_code, again.json()) == (200, view)
    result = WindowResult.model_validate(view["result"])
    assert (result.end_step, len(result.metrics.steps), len(result.metrics.steps[0].samples)) == (3, 3, 4)


def test_one_stream_tells_of_loading_and_of_every_job(worker: httpx.Client, make_spec: MakeSpec) -> None:
    began = worker.get("/events").raise_for_status().json()
    assert (began["is_complete"], began["changes"]) == (False, [])
    load(worker, make_spec())
    put(worker, window())
    told: list[tuple[str, str, str]] = []
    while ("windows", "r:0:0", "committed") not in told:
        asked = {"stream": began["stream"], "after": began["seq"], "wait_s": 30, "steps_wait_s": 0}
        began = worker.get("/events", params=asked).raise_for_status().json()
        assert began["is_complete"]
        told += [(change["kind"], change["job_id"], change["status"]) for change in began["changes"]]
    assert told[0] == ("runs", "r", "ready")
    assert worker.get("/windows/r:0:0").json()["status"] == "committed", "told only once the job itself says so"


def test_a_loaded_run_says_which_rows_were_left_out(worker: httpx.Client, make_spec: MakeSpec) -> None:
    spec = make_spec(poison=[{"id": "empty", "text": ""}])
    data = spec.data.model_copy(update={"on_bad_row": OnBadRow.SKIP})
    size = load(worker, spec.model_copy(update={"data": data})).domains["text"]
    assert (size.rows, size.skipped, len(size.bad_rows)) == (24, 1, 1)
    assert size.bad_rows[0].startswith(f"{spec.data.domains['text'].path}, line 25: found no token that carries loss")


def test_an_id_with_another_spec_is_refused(worker: httpx.Client, make_spec: MakeSpec) -> None:
    load(worker, make_spec())
    put(worker, window())
    assert refusal(put(worker, window(steps=4))) == (409, "spec_conflict")
    ended(worker, "/windows/r:0:0")
    assert refusal(put(worker, window(steps=4))) == (409, "spec_conflict")
    other = RunLoad(run_id="r", spec=make_spec(seed=8))
    assert refusal(worker.put("/runs/r", content=body(other))) == (409, "spec_conflict")


def test_a_hash_that_is_not_the_specs_is_refused(worker: httpx.Client, make_spec: MakeSpec) -> None:
    load(worker, make_spec())
    assert refusal(put(worker, window(), spec_hash="0" * 64)) == (422, "spec_hash_mismatch")
    assert refusal(worker.put("/windows/other", content=body(window()))) == (422, "invalid_id")
    assert refusal(worker.put("/windows/r:0:0", content="{}")) == (422, "invalid_request")
    outside = RunLoad(run_id="..", spec=make_spec())
    assert refusal(worker.put("/runs/%2E%2E", content=body(outside))) == (422, "invalid_id")


def test_an_old_owner_is_refused_even_after_a_restart(make_spec: MakeSpec, tmp_path: Path) -> None:
    with serving(tmp_path / "root") as worker:
        load(worker, make_spec())
        put(worker, window(), fence_token=5).raise_for_status()
        assert refusal(put(worker, window(), fence_token=4)) == (412, "stale_fence")
    with serving(tmp_path / "root") as worker:
        stale = body(RunLoad(run_id="r", spec=make_spec()), fence_token=4)
        assert refusal(worker.put("/runs/r", content=stale)) == (412, "stale_fence")
        assert refusal(worker.delete("/runs/r", params={"fence_token": 4})) == (412, "stale_fence")
        cancel = worker.post("/windows/r:0:0/cancel", params={"fence_token": 4})
        assert refusal(cancel) == (412, "stale_fence")
        assert refusal(worker.post("/windows/r:0:0/cancel")) == (422, "invalid_request")


def test_slots_are_counted_and_released(make_spec: MakeSpec, tmp_path: Path) -> None:
    with serving(tmp_path / "root") as worker:
        assert refusal(put(worker, window())) == (409, "run_not_loaded")
        assert refusal(worker.get("/runs/r")) == (409, "run_not_loaded")
        load(worker, make_spec())
        second = body(RunLoad(run_id="s", spec=make_spec()))
        assert refusal(worker.put("/runs/s", content=second)) == (409, "no_free_slot")
        assert WorkerInfo.model_validate_json(worker.get("/worker").content).run_ids == ("r",)
        assert worker.delete("/runs/r", params={"fence_token": 1}).status_code == 204
        assert worker.delete("/runs/r", params={"fence_token": 1}).status_code == 204
        assert load(worker, make_spec(), "s").status == "ready"
        assert refusal(put(worker, window())) == (409, "run_not_loaded")


def test_a_restart_answers_the_stored_result_and_forgets_the_unfinished(make_spec: MakeSpec, tmp_path: Path) -> None:
    spec = make_spec(optim={"steps": 400, "batch_size": 4, "learning_rate": 1e-2, "warmup_steps": 2})
    with serving(tmp_path / "root") as worker:
        load(worker, spec)
        put(worker, window())
        first = ended(worker, "/windows/r:0:0")
        put(worker, window(3, 300, index=1))  # seconds; the worker stops at once
    with serving(tmp_path / "root") as worker:
        assert worker.get("/windows/r:0:0").json() == first
        assert put(worker, window()).json() == first
        assert refusal(worker.get("/windows/r:0:1")) == (404, "job_not_found")
        load(worker, spec)
        put(worker, window(3, 300, index=1))
        resumed = ended(worker, "/windows/r:0:1")
    with serving(tmp_path / "unbroken") as worker:
        load(worker, spec)
        put(worker, window(0, 303))
        unbroken = ended(worker, "/windows/r:0:0")
    assert resumed["result"]["state_digest"] == unbroken["result"]["state_digest"]


def job_files(root: Path, run_id: str = "r") -> list[str]:
    return sorted(f"{path.parent.name}/{unquote(path.stem)}" for path in (root / run_id / "jobs").glob("*/*"))


def test_results_are_kept_until_the_next_window_settles_them(make_spec: MakeSpec, tmp_path: Path) -> None:
    root, evaluation = tmp_path / "root", EvaluationSpec(evaluation_id="e", run_id="r", schedule=Schedule(), step=3)
    with serving(root) as worker:
        load(worker, make_spec())
        put(worker, window())
        first = ended(worker, "/windows/r:0:0")
        worker.put("/evaluations/e", content=body(evaluation)).raise_for_status()
        ended(worker, "/evaluations/e")
        put(worker, window(3, index=1))
        ended(worker, "/windows/r:0:1")
        assert job_files(root) == ["evaluations/e", "windows/r:0:0", "windows/r:0:1"]
    with serving(root) as worker:
        assert worker.get("/windows/r:0:0").json() == first, "nobody has acknowledged it yet"
        load(worker, make_spec())
        assert refusal(put(worker, window(6, index=2), fence_token=0, settles=True)) == (412, "stale_fence")
        assert refusal(put(worker, window(3, 2, index=1), settles=True)) == (409, "spec_conflict")
        put(worker, window(3, index=1), settles=True)
        assert len(job_files(root)) == 3, "only a job that is accepted settles what was before it"
        put(worker, window(6, index=2), settles=True).raise_for_status()
        assert job_files(root) == ["windows/r:0:2"]
        assert refusal(worker.get("/windows/r:0:0")) == (404, "job_not_found")
        assert ended(worker, "/windows/r:0:2")["status"] == "committed"


def test_a_window_settles_nothing_that_is_under_way_or_anothers(make_spec: MakeSpec, tmp_path: Path) -> None:
    root = tmp_path / "root"
    with serving(root, slots=2) as worker:
        for run_id in ("r", "s"):
            load(worker, make_spec(), run_id)
            put(worker, window(run_id=run_id))
            ended(worker, f"/windows/{run_id}:0:0")
        put(worker, window(3, 100, index=1))
        put(worker, window(103, index=2), settles=True)
        assert job_files(root) == ["windows/r:0:1", "windows/r:0:2"]
        assert job_files(root, "s") == ["windows/s:0:0"]
        assert [ended(worker, f"/windows/r:0:{index}")["status"] for index in (1, 2)] == ["committed"] * 2


def test_a_result_lost_between_commit_and_job_file_is_found_in_the_checkpoint(
    make_spec: MakeSpec, tmp_path: Path
) -> None:
    with serving(tmp_path / "root") as worker:
        load(worker, make_spec())
        put(worker, window())
        first = ended(worker, "/windows/r:0:0")
    file = tmp_path / "root/r/jobs/windows/r%3A0%3A0.json"
    stored = json.loads(file.read_text())
    stored["view"] |= {"status": "accepted", "result": None, "progress": []}
    file.write_text(json.dumps(stored))
    with serving(tmp_path / "root") as worker:
        load(worker, make_spec())
        assert put(worker, window()).status_code == 202
        assert ended(worker, "/windows/r:0:0")["result"] == first["result"]


def test_a_cancelled_window_ends_early_with_its_result(worker: httpx.Client, make_spec: MakeSpec) -> None:
    load(worker, make_spec())
    put(worker, window(steps=40))
    worker.get("/windows/r:0:0", params={"wait_s": 60})
    assert worker.post("/windows/r:0:0/cancel", params={"fence_token": 1}).status_code == 202
    view = ended(worker, "/windows/r:0:0")
    assert view["status"] == "cancelled"
    assert 0 < view["result"]["end_step"] < 40
    assert view["result"]["checkpoint"]["step"] == view["result"]["end_step"]
    assert worker.post("/windows/r:0:0/cancel", params={"fence_token": 1}).json() == view
    assert refusal(worker.post("/windows/r:0:9/cancel", params={"fence_token": 1})) == (404, "job_not_found")


def test_a_cancellation_outlives_a_restart(make_spec: MakeSpec, tmp_path: Path) -> None:
    with serving(tmp_path / "root") as worker:
        load(worker, make_spec())
        put(worker, window(steps=3))
        first = ended(worker, "/windows/r:0:0")
        put(worker, window(3, 37, index=1))
        answer = worker.post("/windows/r:0:1/cancel", params={"fence_token": 1})
        assert answer.json()["status"] in {"accepted", "running"}
        file = tmp_path / "root/r/jobs/windows/r%3A0%3A1.json"
        accepted = file.read_text()
        ended(worker, "/windows/r:0:1")
    file.write_text(accepted)
    for newer in (tmp_path / "root/r/checkpoints/0").iterdir():
        if int(newer.name) > 3:
            (newer / "manifest.json").unlink()
    with serving(tmp_path / "root") as worker:
        load(worker, make_spec())
        put(worker, window(3, 37, index=1))
        view = ended(worker, "/windows/r:0:1")
    assert (view["status"], view["result"]["end_step"]) == ("cancelled", 3)
    assert view["result"]["checkpoint"] == first["result"]["checkpoint"]


def test_releasing_a_run_drops_its_window_and_the_next_owner_trains_it(
    worker: httpx.Client, make_spec: MakeSpec
) -> None:
    load(worker, make_spec())
    put(worker, window(steps=40))
    worker.get("/windows/r:0:0", params={"wait_s": 60})
    assert worker.delete("/runs/r", params={"fence_token": 2}).status_code == 204
    again = body(RunLoad(run_id="r", spec=make_spec()), fence_token=2)
    worker.put("/runs/r", content=again).raise_for_status()
    worker.get("/runs/r", params={"wait_s": 60})
    assert refusal(worker.get("/windows/r:0:0")) == (404, "job_not_found")
    put(worker, window(steps=40), fence_token=2).raise_for_status()
    assert ended(worker, "/windows/r:0:0")["status"] == "committed"


def test_a_poisoned_row_is_withheld_named_and_survives_json(worker: httpx.Client, make_spec: MakeSpec) -> None:
    load(worker, make_spec(poison=[POISON]))
    put(worker, window(steps=14))
    ended(worker, "/windows/r:0:0")
    answer = worker.get("/windows/r:0:0").text
    json.loads(answer, parse_constant=lambda word: pytest.fail(f"{word} is not JSON"))
    steps = JobView[WindowResult].model_validate_json(answer).result.metrics.steps
    hit = [step for step in steps if "evil" in {sample.sample_id for sample in step.samples}]
    assert hit
    for step in hit:
        assert (step.applied, step.withheld) == (False, Withheld.NON_FINITE)
        assert not math.isfinite(step.loss) or not math.isfinite(step.grad_norm)
    assert "cheese" not in answer


def test_every_other_job_has_the_same_shape(worker: httpx.Client, make_spec: MakeSpec) -> None:
    load(worker, make_spec())
    put(worker, window())
    ended(worker, "/windows/r:0:0")
    shared = {"run_id": "r", "schedule": Schedule()}
    variants = (ReplayVariant(name="as_it_was"),)
    jobs = {
        "analyses": AnalysisSpec(analysis_id="j", start_step=0, end_step=2, variants=variants, **shared),
        "evaluations": EvaluationSpec(evaluation_id="j", step=3, **shared),
        "exports": ExportJob(export_id="j", step=3, adapter=True, merged=False, **shared),
    }
    for kind, spec in jobs.items():
        assert worker.put(f"/{kind}/j", content=body(spec)).status_code == 202
    views = {kind: ended(worker, f"/{kind}/j") for kind in jobs}
    assert {view["status"] for view in views.values()} == {"committed"}
    assert len(views["analyses"]["result"]["replays"][0]["steps"]) == 2
    assert set(views["evaluations"]["result"]["scores"]) == {"text", "asked"}
    assert Path(views["exports"]["result"]["adapter_path"], "adapter_config.json").is_file()


def test_a_failed_job_says_why_and_can_be_put_again(worker: httpx.Client, make_spec: MakeSpec) -> None:
    load(worker, make_spec())
    spec = ExportJob(export_id="x", run_id="r", schedule=Schedule(), step=9, adapter=True, merged=False)
    good = worker.put("/exports/x", content=body(spec))
    assert good.status_code == 202
    assert ended(worker, "/exports/x")["status"] == "committed"
    wrong = window().model_copy(update={"schedule": Schedule().rolled_back(0)})
    for _ in range(2):
        assert put(worker, wrong).status_code == 202
        view = ended(worker, "/windows/r:0:0")
        assert (view["status"], view["problem"]["code"]) == ("failed", "generation_mismatch")
    assert worker.get("/healthz").json() == {"status": "ok"}


@leaves_orbax_tasks
def test_a_window_that_cannot_be_saved_fails_and_is_committed_when_put_again(
    worker: httpx.Client, make_spec: MakeSpec
) -> None:
    load(worker, make_spec())
    put(worker, window())
    ended(worker, "/windows/r:0:0")
    with largest_file(4000):  # the job's own file is smaller, the checkpoint's files are not
        put(worker, window(3, 2, index=1)).raise_for_status()
        view = ended(worker, "/windows/r:0:1")
    assert (view["status"], view["problem"]["code"]) == ("failed", "checkpoint_not_written")
    assert "File too large" in view["problem"]["detail"]
    assert worker.get("/healthz").json() == {"status": "ok"}
    put(worker, window(3, 2, index=1)).raise_for_status()
    assert ended(worker, "/windows/r:0:1")["status"] == "committed"


def test_jobs_fail_while_the_fence_cannot_be_read_and_are_done_when_put_again(
    make_spec: MakeSpec, tmp_path: Path
) -> None:
    fence = tmp_path / "root/r/fence"
    long, score = window(3, 100, index=1), EvaluationSpec(evaluation_id="e", run_id="r", schedule=Schedule(), step=3)
    with serving(tmp_path / "root") as worker:
        load(worker, make_spec())
        put(worker, window())
        ended(worker, "/windows/r:0:0")
        put(worker, long).raise_for_status()
        worker.put("/evaluations/e", content=body(score)).raise_for_status()
        make_unreadable(fence)
        for path in ("/windows/r:0:1", "/evaluations/e"):
            view = ended(worker, path)
            assert (view["status"], view["problem"]["code"]) == ("failed", "storage_failed")
            assert "The fence of run r" in view["problem"]["detail"]
        assert refusal(put(worker, long)) == (507, "storage_failed")
        assert worker.get("/healthz").json() == {"status": "ok"}
        fence.unlink()
        fence.write_text("1")
        put(worker, long).raise_for_status()
        worker.put("/evaluations/e", content=body(score)).raise_for_status()
        assert [ended(worker, path)["status"] for path in ("/windows/r:0:1", "/evaluations/e")] == ["committed"] * 2


def test_windows_that_are_put_ahead_end_like_windows_that_wait(make_spec: MakeSpec, tmp_path: Path) -> None:
    cuts = (0, 3, 5, 9)
    with serving(tmp_path / "ahead") as worker:
        load(worker, make_spec())
        for index, (start, end) in enumerate(pairwise(cuts)):
            put(worker, window(start, end - start, index=index)).raise_for_status()
        views = [ended(worker, f"/windows/r:0:{index}") for index in range(3)]
    assert {view["status"] for view in views} == {"committed"}
    with serving(tmp_path / "waiting") as worker:
        load(worker, make_spec())
        for index, (start, end) in enumerate(pairwise(cuts)):
            put(worker, window(start, end - start, index=index)).raise_for_status()
            waited = ended(worker, f"/windows/r:0:{index}")
    assert views[-1]["result"]["state_digest"] == waited["result"]["state_digest"]


def test_checkpoints_are_listed_and_verified_without_loading_the_run(make_spec: MakeSpec, tmp_path: Path) -> None:
    def seen(worker: httpx.Client, **params: Any) -> list[tuple[int, bool, bool | None]]:
        answer = worker.get("/runs/r/checkpoints", params=params).raise_for_status()
        views = Checkpoints.model_validate_json(answer.content).checkpoints
        return [(view.step, view.committed, view.verified) for view in views]

    with serving(tmp_path / "root") as worker:
        assert refusal(worker.get("/runs/r/checkpoints")) == (404, "run_unknown")
        load(worker, make_spec())
        put(worker, window())
        ended(worker, "/windows/r:0:0")
        assert seen(worker) == [(0, True, None), (3, True, None)]
    (tmp_path / "root/r/checkpoints/0/3/_CHECKPOINT_METADATA").write_text("x")
    (tmp_path / "root/r/checkpoints/0/0/manifest.json").unlink()
    with serving(tmp_path / "root") as worker:
        assert seen(worker, verify=True) == [(0, False, None), (3, True, False)]
        assert refusal(worker.get("/runs/..%2Fr/checkpoints"))[0] in {404, 422}


def test_a_run_that_cannot_be_loaded_says_why_and_frees_its_slot(worker: httpx.Client, make_spec: MakeSpec) -> None:
    spec = make_spec(model={"path": "/nowhere"})
    assert refusal(worker.post("/checks", content=spec.model_dump_json())) == (422, "model_file_missing")
    failed = load(worker, spec)
    assert (failed.status, failed.problem.code) == ("failed", "model_file_missing")
    good = make_spec()
    assert worker.post("/checks", content=good.model_dump_json()).status_code == 204
    assert load(worker, good).status == "ready"


def test_unknown_addresses_are_problems_too(worker: httpx.Client) -> None:
    assert refusal(worker.get("/nothing")) == (404, "not_found")
    assert refusal(worker.delete("/worker")) == (405, "not_served")


def test_a_window_that_was_cancelled_before_its_first_step_is_trained_when_it_is_put_again(
    make_spec: MakeSpec, tmp_path: Path
) -> None:
    with serving(tmp_path / "root") as worker:
        load(worker, make_spec())
        file = tmp_path / "root/r/jobs/windows/r%3A0%3A0.json"
        put(worker, window(steps=3))
        accepted = json.loads(file.read_text())
        ended(worker, "/windows/r:0:0")
    for committed in (tmp_path / "root/r/checkpoints/0").iterdir():
        if committed.name != "0":
            (committed / "manifest.json").unlink()
    accepted["view"] |= {"status": "accepted", "progress": [], "result": None, "step": None}
    file.write_text(json.dumps({**accepted, "cancel_requested": True}))
    with serving(tmp_path / "root") as worker:
        load(worker, make_spec())
        put(worker, window(steps=3))
        empty = ended(worker, "/windows/r:0:0")
        assert (empty["status"], empty["result"]["end_step"]) == ("cancelled", 0)
        put(worker, window(steps=3))
        view = ended(worker, "/windows/r:0:0")
        assert (view["status"], view["result"]["end_step"]) == ("committed", 3)
