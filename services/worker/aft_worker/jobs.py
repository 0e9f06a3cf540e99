"""Jobs: accepts work, has the training thread do it, and keeps what came of it."""

from concurrent.futures import CancelledError, Future
from threading import Lock
from typing import Any

import structlog

from aft_contracts import ENDED, JobRequest, JobStatus, JobView
from aft_worker.control import WorkerStopping
from aft_worker.job import Job, JobChanged
from aft_worker.job_kinds import JobKind
from aft_worker.job_store import JobStore, StoredJob, stored_type
from aft_worker.problems import problem_of
from aft_worker.refusals import InvalidId, JobNotFound, RunNotLoaded, SpecConflict, StaleFence
from aft_worker.run_folder import RunFolder
from aft_worker.runs import HeldRun, Runs
from aft_worker.training_thread import Task, TrainingThread

log = structlog.get_logger(__name__)


class Jobs:
    """A job is on disk before it is acknowledged and again when it has ended; in between it lives in memory.

    After a restart only ended jobs are known: the rest is put again by whoever wants it. A result is kept until a later
    job of its run is put with `settles`.
    """

    def __init__(self, store: JobStore, runs: Runs, *, thread: TrainingThread, changed: JobChanged) -> None:
        self._store, self._runs = store, runs
        self._thread, self._changed = thread, changed
        self._lock = Lock()
        self._active: dict[tuple[str, str], Job] = {}

    def put(self, kind: JobKind, job_id: str, request: JobRequest[Any]) -> JobView[Any]:
        """Accepts a job, or says where it stands; one that failed, or was cancelled before it began, is done again."""
        run_id = request.spec.run_id
        if getattr(request.spec, kind.id_field) != job_id:
            raise InvalidId(f"{kind.id_field} in the body is not {job_id!r}, the id in the address.")
        self._runs.admit(run_id, request.fence_token)  # may wait for another worker, and the other runs' jobs must not
        with self._lock:
            self._refuse_older(run_id, request.fence_token)
            known = self._known(kind, job_id, run_id)
            if known is not None and known.view.spec_hash != request.spec_hash:
                raise SpecConflict(f"{job_id} was accepted with another spec; a changed spec needs a new id.")
            if known is not None and self._stands(kind, known.view):
                return known.view
            held = self._runs.held(run_id)
            accepted = stored_type(kind)(
                request=request,
                view=JobView(job_id=job_id, spec_hash=request.spec_hash, status=JobStatus.ACCEPTED),
                cancel_requested=known is not None and known.cancel_requested and known.view.status not in ENDED,
            )
            self._store.write(kind, run_id, accepted)
            self._submit(kind, accepted, held)
            if request.settles:
                self._forget_settled(run_id)
        log.info("job_accepted", kind=kind.name, job_id=job_id, run_id=run_id)
        return accepted.view

    def view(self, kind: JobKind, job_id: str) -> JobView[Any]:
        """Where a job stands.

        Raises:
            JobNotFound: it was never accepted, or had not ended when the worker stopped.
        """
        with self._lock:
            known = self._known(kind, job_id)
            if known is None or ((kind.name, job_id) not in self._active and known.view.status not in ENDED):
                raise JobNotFound(f"No job {job_id} among the {kind.name}; put it again.", job_id=job_id)
            return known.view

    def is_due(self, kind: JobKind, job_id: str, after_step: int) -> bool:
        """Whether there is news of a job for someone who knows of the steps up to `after_step`."""
        job = self._active.get((kind.name, job_id))
        return job is None or job.is_due(after_step)

    def cancel(self, kind: JobKind, job_id: str, fence_token: int) -> JobView[Any]:
        """Asks a job to stop after its current step; one that has ended stays as it is."""
        with self._lock:
            run_id = self._to_cancel(kind, job_id).request.spec.run_id
        self._runs.admit(run_id, fence_token)
        with self._lock:
            self._refuse_older(run_id, fence_token)
            known = self._to_cancel(kind, job_id)
            if known.view.status not in ENDED:
                self._store.write(kind, run_id, known.model_copy(update={"cancel_requested": True}))
                if job := self._active.get((kind.name, job_id)):
                    job.cancel_requested = True
                log.info("job_cancel_requested", kind=kind.name, job_id=job_id)
            return known.view

    def drop_run(self, run_id: str) -> None:
        """Stops the run's jobs without a result: the run is being released."""
        with self._lock:
            for job in self._active.values():
                if job.spec.run_id == run_id:
                    job.is_dropped = True

    def _refuse_older(self, run_id: str, fence_token: int) -> None:
        """Somebody with a newer lease may have come between being admitted and having the lock."""
        RunFolder(self._runs.root, run_id).check(fence_token)

    def _to_cancel(self, kind: JobKind, job_id: str) -> StoredJob[Any, Any]:
        known = self._known(kind, job_id)
        if known is None:
            raise JobNotFound(f"No job {job_id} among the {kind.name}; nothing to cancel.", job_id=job_id)
        return known

    def _stands(self, kind: JobKind, view: JobView[Any]) -> bool:
        """Whether a known job is not to be done again: it is under way, or something came of it."""
        if view.status in ENDED:
            return view.status is not JobStatus.FAILED and not _is_empty(view)
        job = self._active.get((kind.name, view.job_id))
        return job is not None and not job.is_dropped

    def _forget_settled(self, run_id: str) -> None:
        """Removes the results that whoever asks has on record; one that cannot be removed is merely kept longer."""
        under_way = [key for key, job in self._active.items() if job.spec.run_id == run_id]
        try:
            self._store.forget(run_id, but=under_way)
        except OSError as error:
            log.warning("jobs_not_forgotten", run_id=run_id, error=str(error))

    def _known(self, kind: JobKind, job_id: str, run_id: str | None = None) -> StoredJob[Any, Any] | None:
        """The job as it is on disk, with its present view while it is in memory."""
        job = self._active.get((kind.name, job_id))
        home = job.spec.run_id if job is not None else run_id
        stored = self._store.find(kind, job_id, run_id=home)
        return stored if stored is None or job is None else stored.model_copy(update={"view": job.view})

    def _submit(self, kind: JobKind, accepted: StoredJob[Any, Any], held: HeldRun) -> None:
        job = Job(
            kind,
            accepted.request.spec,
            accepted.view,
            changed=self._changed,
            stops=lambda: self._thread.is_stopping,
        )
        job.cancel_requested = accepted.cancel_requested
        self._active[kind.name, job.view.job_id] = job
        task = Task(
            name=kind.name,
            run=lambda: self._perform(job, accepted, held),
            failed=lambda error: self._failed(job, accepted, held, error),
        )
        self._thread.submit(task)

    # From here on the training thread is the caller, or the saver's of a session.

    def _perform(self, job: Job, accepted: StoredJob[Any, Any], held: HeldRun) -> None:
        try:
            job.raise_if_stopping()
            if held.session is None:
                raise RunNotLoaded(f"Run {job.spec.run_id} could not be loaded.", run_id=job.spec.run_id)
            job.started()
            outcome = job.kind.perform(held.session, job.spec, job)
        except WorkerStopping:
            self._drop(job)
            return
        if isinstance(outcome, Future):
            outcome.add_done_callback(lambda done: self._settle(job, accepted, held, done))
        else:
            self._succeed(job, accepted, held, outcome)

    def _settle(self, job: Job, accepted: StoredJob[Any, Any], held: HeldRun, outcome: Future[Any]) -> None:
        """Ends a job as its future did; nothing may escape, for a future swallows what its callbacks raise."""
        try:
            self._succeed(job, accepted, held, outcome.result())
        except (WorkerStopping, CancelledError):
            self._drop(job)
        except Exception as error:  # noqa: BLE001 - logged where it happened; here it becomes the job's problem
            self._failed(job, accepted, held, error)

    def _succeed(self, job: Job, accepted: StoredJob[Any, Any], held: HeldRun, result: Any) -> None:
        self._end(job, accepted, held, status=job.kind.ends_as(job.spec, result), result=result)

    def _drop(self, job: Job) -> None:
        self._forget(job)
        self._changed(job.kind.name, job.view.job_id, "dropped", job.view.step)
        log.info("job_dropped", kind=job.kind.name, job_id=job.view.job_id)

    def _failed(self, job: Job, accepted: StoredJob[Any, Any], held: HeldRun, error: Exception) -> None:
        problem = problem_of(error)
        log.warning("job_failed", kind=job.kind.name, job_id=job.view.job_id, code=problem.code)
        self._end(job, accepted, held, status=JobStatus.FAILED, problem=problem)

    def _end(self, job: Job, accepted: StoredJob[Any, Any], held: HeldRun, **end: Any) -> None:
        """Shows the end only once it is on disk: what was reported must survive a restart."""
        view = job.view.model_copy(update=end)
        try:
            if job.is_dropped or self._is_stale(held):
                # Its file may belong to a job that was put anew, here or elsewhere: that one finds what was committed.
                self._drop(job)
                return
            with self._lock:
                kept = accepted.model_copy(update={"view": view, "cancel_requested": job.cancel_requested})
                self._store.write(job.kind, job.spec.run_id, kept)
        except Exception as error:  # whatever it is: nobody else would tell that the job has come to an end
            log.exception("job_not_stored", kind=job.kind.name, job_id=view.job_id)
            job.ended(JobStatus.FAILED, problem=problem_of(error))
            return
        log.info("job_ended", kind=job.kind.name, job_id=view.job_id, status=view.status.value)
        job.ended(**end)
        self._forget(job)

    def _is_stale(self, held: HeldRun) -> bool:
        try:
            self._runs.check(held)
        except StaleFence:
            return True
        return False

    def _forget(self, job: Job) -> None:
        key = (job.kind.name, job.view.job_id)
        with self._lock:
            # A released run's job may have been put anew before the thread came to drop it.
            if self._active.get(key) is job:
                del self._active[key]


def _is_empty(view: JobView[Any]) -> bool:
    """Whether it is a window that was cancelled before its first step: nothing is lost by training it after all."""
    result = view.result
    return view.status is JobStatus.CANCELLED and result is not None and result.end_step == result.start_step
