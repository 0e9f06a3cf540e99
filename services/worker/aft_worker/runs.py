"""Runs: which runs the worker holds, and how they get in and out."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

import structlog

from aft_contracts import JobRequest, LoadedRun, LoadStatus, RunLoad, digest_of
from aft_worker.model.mesh import make_mesh
from aft_worker.problems import problem_of
from aft_worker.refusals import NoFreeSlot, RunNotLoaded, SpecConflict
from aft_worker.run_folder import RunFolder
from aft_worker.session import Session
from aft_worker.trainer import OpenTrainer, load_trainer
from aft_worker.training_thread import Task, TrainingThread

log = structlog.get_logger(__name__)


@dataclass(kw_only=True)
class HeldRun:
    """A run in one of the worker's slots."""

    view: LoadedRun
    fence_token: int
    """Newest lease token that was shown here for the run; another worker may have been shown a newer one."""
    session: Session | None = None


class Runs:
    """Answers at once and loads on the training thread."""

    def __init__(
        self,
        root: Path,
        *,
        slots: int,
        thread: TrainingThread,
        changed: Callable[[str, str], None],
        fsdp: int = 1,
        open_trainer: OpenTrainer = load_trainer,
    ) -> None:
        self.root, self.slots, self.fsdp = root, slots, fsdp
        self._open_trainer = open_trainer
        self._thread, self._changed = thread, changed
        self._lock = Lock()
        self._held: dict[str, HeldRun] = {}

    @property
    def run_ids(self) -> tuple[str, ...]:
        """Runs that take up a slot."""
        held_runs = list(self._held.items())  # a copy: runs come and go on other threads
        return tuple(sorted(run_id for run_id, held in held_runs if held.view.status != LoadStatus.FAILED))

    @property
    def fences(self) -> dict[str, int]:
        """Newest lease token shown here, by run."""
        return {run_id: held.fence_token for run_id, held in list(self._held.items())}

    def admit(self, run_id: str, fence_token: int) -> None:
        """Let the holder of the newest lease pass, and what the run does here go on under that lease.

        Raises:
            StaleFence: a newer lease has been seen.
        """
        RunFolder(self.root, run_id).admit(fence_token)
        held = self._held.get(run_id)
        if held is not None:
            held.fence_token = max(held.fence_token, fence_token)

    def check(self, held: HeldRun) -> None:
        """Let the run write, unless another worker has it by a newer lease.

        Raises:
            StaleFence: it has.
        """
        RunFolder(self.root, held.view.run_id).check(held.fence_token)

    def load(self, request: JobRequest[RunLoad]) -> LoadedRun:
        """Takes the run up, or says how far that is; one that failed to load is tried again."""
        with self._lock:
            return self._load_or_view(request)

    def view(self, run_id: str) -> LoadedRun:
        """The run as it is held.

        Raises:
            RunNotLoaded: it is not.
        """
        if run_id not in self._held:
            raise _not_loaded(run_id)
        return self._held[run_id].view

    def is_settled(self, run_id: str) -> bool:
        """Whether waiting longer would tell nothing new about the run's loading."""
        held = self._held.get(run_id)
        return held is None or held.view.status is not LoadStatus.LOADING

    def held(self, run_id: str) -> HeldRun:
        """The run's slot, for a job that is to use it once it is loaded.

        Raises:
            RunNotLoaded: the run is not held, or could not be loaded.
        """
        held = self._held.get(run_id)
        if held is None or held.view.status is LoadStatus.FAILED:
            raise _not_loaded(run_id)
        return held

    def release(self, run_id: str) -> None:
        """Frees the run's slot; the devices follow as soon as the training thread gets there."""
        held = self._held.pop(run_id, None)
        if held is None:
            return
        # Loading and releasing are done by one thread in order, so the next run finds the memory free.
        self._thread.submit(Task(name="release_run", run=lambda: _close(held), failed=lambda _: None))
        log.info("run_released", run_id=run_id)
        self._changed(run_id, "dropped")

    def finish_saves(self, within_s: float) -> None:
        """Waits for what is being saved; what has not begun when the time is over stays uncommitted."""
        deadline_s = time.monotonic() + within_s
        for held in list(self._held.values()):
            if held.session is not None:
                held.session.commits.close(max(0.0, deadline_s - time.monotonic()))

    def _load_or_view(self, request: JobRequest[RunLoad]) -> LoadedRun:
        load = request.spec
        folder = RunFolder(self.root, load.run_id)
        self.admit(load.run_id, request.fence_token)
        if (bound := folder.bound_spec()) is not None and digest_of(bound) != request.spec_hash:
            raise _conflict(load.run_id)
        held = self._held.get(load.run_id)
        if held is not None and held.view.status is not LoadStatus.FAILED:
            if held.view.spec_hash != request.spec_hash:
                raise _conflict(load.run_id)
            return held.view
        if len(self.run_ids) >= self.slots:
            raise NoFreeSlot(
                f"The worker holds {', '.join(self.run_ids)} and has {self.slots} slot(s); release one first.",
                run_ids=list(self.run_ids),
                slots=self.slots,
            )
        view = LoadedRun(run_id=load.run_id, status=LoadStatus.LOADING, spec_hash=request.spec_hash)
        held = self._held[load.run_id] = HeldRun(view=view, fence_token=request.fence_token)
        self._thread.submit(
            Task(
                name="load_run",
                run=lambda: self._load(held, load, folder),
                failed=lambda error: self._failed(held, error),
            )
        )
        log.info("run_loading", run_id=load.run_id)
        return view

    def _load(self, held: HeldRun, load: RunLoad, folder: RunFolder) -> None:
        trainer = self._open_trainer(load.spec, make_mesh(fsdp=self.fsdp))
        folder.bind(load)
        session = Session(trainer, folder.path, may_write=lambda: self.check(held))
        held.session = session
        held.view = held.view.model_copy(
            update={
                "status": LoadStatus.READY,
                "trainable_parameters": session.trainable_parameters,
                "domains": session.domains,
            }
        )
        log.info("run_loaded", run_id=load.run_id, trainable_parameters=session.trainable_parameters)
        self._changed(load.run_id, held.view.status.value)

    def _failed(self, held: HeldRun, error: Exception) -> None:
        problem = problem_of(error)
        held.view = held.view.model_copy(update={"status": LoadStatus.FAILED, "problem": problem})
        log.warning("run_not_loaded", run_id=held.view.run_id, code=problem.code)
        self._changed(held.view.run_id, held.view.status.value)


def _close(held: HeldRun) -> None:
    if held.session is not None:
        held.session.close()
        held.session = None


def _not_loaded(run_id: str) -> RunNotLoaded:
    return RunNotLoaded(f"Run {run_id} is not loaded here; put it first.", run_id=run_id)


def _conflict(run_id: str) -> SpecConflict:
    return SpecConflict(f"Run {run_id} was loaded with another spec; a changed spec needs a new run id.", run_id=run_id)
