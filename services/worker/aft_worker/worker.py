"""Worker: everything behind the HTTP endpoints, put together."""

import time

import structlog

from aft_contracts import Checkpoints, ReportFormat, WorkerInfo
from aft_worker.bell import Bell
from aft_worker.changes import Changes
from aft_worker.checkpoint.inspection import look_at
from aft_worker.devices import platform_and_count, versions
from aft_worker.job_store import JobStore
from aft_worker.jobs import Jobs
from aft_worker.ledger.formats import ReportQuery, written
from aft_worker.ledger.report import run_samples
from aft_worker.refusals import RunUnknown
from aft_worker.run_folder import RunFolder
from aft_worker.runs import Runs
from aft_worker.settings import WorkerSettings
from aft_worker.storage_root import root_id_of
from aft_worker.trainer import OpenTrainer, load_trainer
from aft_worker.training_thread import TrainingThread

log = structlog.get_logger(__name__)


class Worker:
    """Runs, jobs, the thread that trains, and the stream that tells of it."""

    def __init__(self, settings: WorkerSettings, *, open_trainer: OpenTrainer = load_trainer) -> None:
        self.settings = settings
        self.root_id = root_id_of(settings.root)
        self.bell = Bell()
        self.changes = Changes(self.bell)
        self.thread = TrainingThread()
        self.runs = Runs(
            settings.root,
            slots=settings.slots,
            fsdp=settings.fsdp,
            thread=self.thread,
            changed=lambda run_id, status: self.changes.note("runs", run_id, status),
            open_trainer=open_trainer,
        )
        self.jobs = Jobs(JobStore(settings.root), self.runs, thread=self.thread, changed=self.changes.note)

    def start(self) -> None:
        """Begins to work; called on the event loop."""
        self.bell.hang()
        self.thread.start()
        log.info("worker_started", worker_id=self.settings.worker_id, root=str(self.settings.root))

    def stop(self) -> None:
        """Lets every long poll go, stops after the running step and finishes the saves that are in flight.

        What is unfinished after `drain_s` is trained again when asked.
        """
        deadline_s = time.monotonic() + self.settings.drain_s
        self.bell.silence()
        ended = self.thread.stop(self.settings.drain_s)
        self.runs.finish_saves(deadline_s - time.monotonic())
        log.info("worker_stopped", worker_id=self.settings.worker_id, drained=ended)

    def info(self) -> WorkerInfo:
        """Who the worker is and what it holds."""
        platform, devices = platform_and_count()
        return WorkerInfo(
            worker_id=self.settings.worker_id,
            platform=platform,
            devices=devices,
            fsdp=self.settings.fsdp,
            versions=versions(),
            slots=self.settings.slots,
            run_ids=self.runs.run_ids,
            fences=self.runs.fences,
            root_id=self.root_id,
        )

    def checkpoints(self, run_id: str, *, verify: bool) -> Checkpoints:
        """A run's checkpoints on disk.

        Raises:
            RunUnknown: the run was never loaded here.
        """
        return Checkpoints(checkpoints=look_at(self._known(run_id).checkpoints, verify=verify))

    def samples(self, run_id: str, query: ReportQuery, form: ReportFormat) -> bytes:
        """The report of a run's samples, read from its files; it takes seconds, and no training waits for it.

        Raises:
            RunUnknown: the worker has no files of the run.
            NothingTrainedYet, UnknownDomain: there is nothing to report on.
        """
        return written(run_samples(self._known(run_id).path, run_id), query, form)

    def release(self, run_id: str, fence_token: int) -> None:
        """Drops the run's jobs and frees its slot; a run that is not held is released already."""
        self.runs.admit(run_id, fence_token)
        self.jobs.drop_run(run_id)
        self.runs.release(run_id)

    def _known(self, run_id: str) -> RunFolder:
        folder = RunFolder(self.settings.root, run_id)
        if not folder.path.is_dir():
            raise RunUnknown(f"There are no files of run {run_id!r} under {self.settings.root}.", run_id=run_id)
        return folder
