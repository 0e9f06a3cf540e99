"""Jobs: whatever goes wrong once the work is done becomes the job's failure, and one run's admission waits alone."""

import fcntl
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from aft_contracts import EvaluationResult, EvaluationSpec, JobRequest, JobStatus, LoadedRun, LoadStatus, Schedule
from aft_worker.job_kinds import EVALUATIONS, JobKind
from aft_worker.job_store import JobStore, StoredJob
from aft_worker.jobs import Jobs
from aft_worker.run_folder import RunFolder
from aft_worker.runs import HeldRun, Runs
from aft_worker.session import Session
from aft_worker.training_thread import Task, TrainingThread

RESULT = EvaluationResult(evaluation_id="r:e", step=3, scores={})


class ForgetfulStore(JobStore):
    """Keeps what was accepted, and fails in an unforeseen way at what has ended."""

    def write(self, kind: JobKind, run_id: str, job: StoredJob[Any, Any]) -> None:
        """Fails for a job that ended well."""
        if job.view.status is JobStatus.COMMITTED:
            raise ValueError("no such encoding")
        super().write(kind, run_id, job)


class HeardRuns(Runs):
    """Tells when somebody has begun to be admitted."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.began = threading.Event()

    def admit(self, run_id: str, fence_token: int) -> None:
        """Tells, and admits."""
        if run_id == "r":
            self.began.set()
        super().admit(run_id, fence_token)


def unforeseen(spec: Any, result: Any) -> JobStatus:
    raise ValueError("no such encoding")


def request(run_id: str = "r") -> JobRequest[EvaluationSpec]:
    spec = EvaluationSpec(evaluation_id=f"{run_id}:e", run_id=run_id, schedule=Schedule(), step=3)
    return JobRequest[EvaluationSpec](spec=spec, spec_hash="0" * 64, fence_token=1)


def jobs_of(root: Path, *run_ids: str, store: Callable[[Path], JobStore] = JobStore) -> tuple[Jobs, TrainingThread]:
    """Jobs on a thread that is yet to be started, with these runs held."""
    thread = TrainingThread()
    runs = HeardRuns(root, slots=2, thread=thread, changed=lambda run_id, status: None)
    for run_id in run_ids:
        view = LoadedRun(run_id=run_id, status=LoadStatus.READY, spec_hash="0" * 64)
        runs._held[run_id] = HeldRun(view=view, fence_token=1, session=cast("Session", object()))
    return Jobs(store(root), runs, thread=thread, changed=lambda kind, job_id, status, step: None), thread


@pytest.mark.parametrize("beside", [False, True], ids=["on the training thread", "beside it"])
@pytest.mark.parametrize(
    ("store", "ends_as"),
    [(ForgetfulStore, EVALUATIONS.ends_as), (JobStore, unforeseen)],
    ids=["storing", "judging"],
)
def test_an_unforeseen_error_after_the_work_is_the_jobs_failure(
    tmp_path: Path, store: type[JobStore], ends_as: Callable[[Any, Any], JobStatus], *, beside: bool
) -> None:
    saved: Future[EvaluationResult] = Future()
    kind = replace(EVALUATIONS, ends_as=ends_as, perform=lambda session, spec, job: saved if beside else RESULT)
    jobs, thread = jobs_of(tmp_path, "r", store=store)
    jobs.put(kind, "r:e", request())
    done = threading.Event()
    thread.submit(Task(name="last", run=done.set, failed=lambda error: None))
    thread.start()
    assert done.wait(30)
    saved.set_result(RESULT)
    assert thread.stop(30)
    view = jobs.view(kind, "r:e")
    assert view.problem is not None
    assert (view.status, view.problem.code) == (JobStatus.FAILED, "internal_error")
    assert "no such encoding" in view.problem.detail


def test_a_run_that_cannot_be_admitted_holds_up_no_other_runs_jobs(tmp_path: Path) -> None:
    jobs, _ = jobs_of(tmp_path, "r", "s")
    RunFolder(tmp_path, "r").admit(1)
    with (tmp_path / "r/fence.lock").open("w") as frozen:
        fcntl.flock(frozen, fcntl.LOCK_EX)
        stuck = threading.Thread(target=jobs.put, args=(EVALUATIONS, "r:e", request()))
        stuck.start()
        assert cast("HeardRuns", jobs._runs).began.wait(30)
        assert jobs.put(EVALUATIONS, "s:e", request("s")).status is JobStatus.ACCEPTED
        assert stuck.is_alive()
    stuck.join(30)
    assert jobs.view(EVALUATIONS, "r:e").status is JobStatus.ACCEPTED
