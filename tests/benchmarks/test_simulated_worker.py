"""The simulated worker says nothing that the contracts do not allow."""

import json

import pytest

from aft_contracts import (
    AnalysisResult,
    EvaluationResult,
    ExportResult,
    JobView,
    LoadedRun,
    WindowResult,
    WorkerChanges,
)
from benchmarks.simulated_worker.answers import STREAM, changes_json, job_json, loaded_json
from benchmarks.simulated_worker.records import BAD_STEP, step_record
from benchmarks.simulated_worker.worker import Job, SimulatedWorker

pytestmark = pytest.mark.anyio


def window(index: int = 0, **changes) -> Job:
    spec = {"run_id": "r", "start_step": 10 * index, "num_steps": 10, "generation": 0}
    return Job(kind="windows", job_id=f"r:0:{index}", spec_hash="x", spec=spec, bad_row=False, **changes)


@pytest.fixture
def worker() -> SimulatedWorker:
    return SimulatedWorker(window_s=(0.05, 0.05))


async def test_a_window_is_trained_once_and_says_so_in_the_contracts_words(worker: SimulatedWorker) -> None:
    job = window()
    worker.accept(job)
    assert job.begun_at_s is not None
    running = JobView[WindowResult].model_validate_json(job_json(job, job.begun_at_s + 0.026))
    assert (running.status, len(running.progress)) == ("running", 5)
    await worker.wait(job, wait_s=5, after_step=9)
    ended = JobView[WindowResult].model_validate_json(job_json(job, job.begun_at_s + 1))
    assert ended.status == "committed"
    assert ended.result is not None
    assert [step.step for step in ended.result.metrics.steps] == list(range(10))
    assert {len(step.samples) for step in ended.result.metrics.steps} == {8}
    assert worker.trainings == {"r:0:0": 1}
    assert worker.misplaced == []


async def test_a_window_that_does_not_begin_where_the_weights_stand_is_told_on(worker: SimulatedWorker) -> None:
    worker.accept(window(index=1))
    assert worker.misplaced == ["r:0:1"]


async def test_a_cancelled_window_ends_early(worker: SimulatedWorker) -> None:
    job = window()
    worker.accept(job)
    worker.cancel(job)
    await worker.wait(job, wait_s=5, after_step=99)
    ended = JobView[WindowResult].model_validate_json(job_json(job, 0.0))
    assert ended.status == "cancelled"
    assert ended.result is not None
    assert ended.result.end_step == 1


async def test_a_held_worker_begins_nothing_until_it_is_let_go(worker: SimulatedWorker) -> None:
    worker.hold()
    job = window()
    worker.accept(job)
    await worker.wait(job, wait_s=0.1, after_step=-1)
    assert job.status() == "accepted"
    worker.let_go()
    await worker.wait(job, wait_s=5, after_step=9)
    assert job.status() == "committed"


async def test_settled_jobs_are_forgotten_and_those_under_way_are_not(worker: SimulatedWorker) -> None:
    done, other = window(), Job(kind="exports", job_id="e", spec_hash="x", spec={"run_id": "other"}, bad_row=False)
    worker.accept(done)
    worker.accept(other)
    await worker.wait(done, wait_s=5, after_step=9)
    worker.accept(window(index=1))
    worker.settle("r")
    assert set(worker.jobs) == {"e", "r:0:1"}
    worker.settle("a run without jobs")
    assert set(worker.jobs) == {"e", "r:0:1"}


async def test_the_stream_tells_each_change_once(worker: SimulatedWorker) -> None:
    known = WorkerChanges.model_validate_json(changes_json(worker, "", 0))
    assert (known.stream, known.is_complete) == (STREAM, False)
    worker.accept(window())
    await worker.wait_for_changes(known.seq, wait_s=5, steps_wait_s=1)
    began = WorkerChanges.model_validate_json(changes_json(worker, STREAM, known.seq))
    assert [(change.job_id, change.status, change.is_turn) for change in began.changes] == [("r:0:0", "running", True)]
    await worker.wait_for_changes(began.seq, wait_s=5, steps_wait_s=1)
    ended = WorkerChanges.model_validate_json(changes_json(worker, STREAM, began.seq))
    assert [(change.job_id, change.status, change.is_turn) for change in ended.changes] == [
        ("r:0:0", "committed", True)
    ]
    assert WorkerChanges.model_validate_json(changes_json(worker, STREAM, ended.seq)).changes == ()


@pytest.mark.parametrize(
    ("kind", "spec", "shape"),
    [
        ("evaluations", {"step": 10}, EvaluationResult),
        ("exports", {}, ExportResult),
        (
            "analyses",
            {"start_step": 0, "end_step": 5, "variants": [{"name": "as_it_was", "masked_sample_ids": []}]},
            AnalysisResult,
        ),
    ],
)
async def test_other_jobs_end_at_once(worker: SimulatedWorker, kind: str, spec: dict, shape: type) -> None:
    job = Job(kind=kind, job_id="j", spec_hash="x", spec={"run_id": "r", **spec}, bad_row=True)
    worker.accept(job)
    view = JobView[shape].model_validate_json(job_json(job, 0.0))  # type: ignore[valid-type]
    assert isinstance(view.result, shape)


def test_a_bad_row_has_no_finite_loss_until_it_is_masked() -> None:
    bad = step_record(BAD_STEP, bad_row=True)
    assert (bad.applied, json.loads(bad.model_dump_json())["loss"]) == (False, "NaN")
    assert step_record(BAD_STEP, bad_row=True, masked=frozenset({bad.samples[0].sample_id})).applied


def test_a_loaded_run_fits_its_contract() -> None:
    assert LoadedRun.model_validate_json(loaded_json("r", "x")).status == "ready"
