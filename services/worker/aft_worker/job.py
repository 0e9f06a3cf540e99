"""Job: an accepted piece of work on its way through the training thread."""

from collections.abc import Callable
from typing import Any

from aft_contracts import ENDED, JobStatus, JobView, Problem, StepRecord
from aft_worker.control import WorkerStopping
from aft_worker.job_kinds import JobKind

JobChanged = Callable[[str, str, str, int | None], None]
"""(kind, job id, status, step) -> None: hears of every change after it can be seen."""


class Job:
    """What the work listens to and reports to (a Control), and what the outside sees of it.

    The view is replaced, never changed, so any thread may read it.
    """

    def __init__(
        self, kind: JobKind, spec: Any, view: JobView[Any], *, changed: JobChanged, stops: Callable[[], bool]
    ) -> None:
        self.kind, self.spec, self.view = kind, spec, view
        self.cancel_requested = False
        self.is_dropped = False
        """Whether its run was released: it ends without a result, as if the worker had stopped."""
        self._changed, self._stops = changed, stops

    @property
    def has_ended(self) -> bool:
        """Whether its status is final."""
        return self.view.status in ENDED

    def is_due(self, after_step: int) -> bool:
        """Whether there is news for someone who knows of the steps up to `after_step`."""
        return self.has_ended or (bool(self.view.progress) and self.view.progress[-1].step > after_step)

    def started(self) -> None:
        """Notes that the training thread has taken it up."""
        self._show(status=JobStatus.RUNNING)

    def ended(self, status: JobStatus, *, result: Any = None, problem: Problem | None = None) -> None:
        """Notes how it ended."""
        self._show(status=status, result=result, problem=problem)

    def is_cancelled(self) -> bool:
        """Whether to stop after the current step."""
        return self.cancel_requested

    def raise_if_stopping(self) -> None:
        """Raises WorkerStopping once the worker stops or the run is released."""
        if self.is_dropped or self._stops():
            raise WorkerStopping

    def step_finished(self, record: StepRecord) -> None:
        """Shows a step, without its samples."""
        progress = (*self.view.progress, record.model_copy(update={"samples": ()}))
        self._show(step=record.step + 1, progress=progress)

    def trained(self) -> None:
        """Shows that only the commit is left."""
        self._show(status=JobStatus.TRAINED)

    def _show(self, **changes: Any) -> None:
        self.view = self.view.model_copy(update=changes)
        self._changed(self.kind.name, self.view.job_id, self.view.status.value, self.view.step)
