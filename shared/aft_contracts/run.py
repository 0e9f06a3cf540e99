"""Runs: their status, its legal moves, and the view that clients get."""

from datetime import datetime
from enum import StrEnum

from pydantic import Field

from .contract import Contract, Measured
from .evaluation import DomainScore
from .export import ExportResult
from .job import JobStatus
from .problem import Problem
from .run_spec import RunSpec
from .schedule import Schedule
from .window import WindowResult


class RunStatus(StrEnum):
    """Where a run stands."""

    QUEUED = "queued"
    RUNNING = "running"
    PAUSED = "paused"
    WAITING = "waiting"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    STOPPED = "stopped"


MOVES: dict[RunStatus, frozenset[RunStatus]] = {
    RunStatus.QUEUED: frozenset(
        {RunStatus.RUNNING, RunStatus.PAUSED, RunStatus.WAITING, RunStatus.STOPPED, RunStatus.FAILED}
    ),
    RunStatus.RUNNING: frozenset(
        {
            RunStatus.QUEUED,
            RunStatus.PAUSED,
            RunStatus.WAITING,
            RunStatus.SUCCEEDED,
            RunStatus.FAILED,
            RunStatus.STOPPED,
        }
    ),
    RunStatus.PAUSED: frozenset({RunStatus.RUNNING, RunStatus.WAITING, RunStatus.STOPPED, RunStatus.FAILED}),
    RunStatus.WAITING: frozenset(
        {RunStatus.QUEUED, RunStatus.RUNNING, RunStatus.PAUSED, RunStatus.STOPPED, RunStatus.FAILED}
    ),
    RunStatus.SUCCEEDED: frozenset(),
    RunStatus.FAILED: frozenset(),
    RunStatus.STOPPED: frozenset(),
}
"""Statuses that may follow each status."""

FINISHED = frozenset(status for status, following in MOVES.items() if not following)
"""Statuses that a run never leaves."""


class Evaluated(Contract):
    """The held-out scores of one moment of the run."""

    step: int
    """Optimizer steps attempted then."""
    scores: dict[str, DomainScore]
    """Score by domain name."""


class RunView(Contract):
    """A run as clients see it."""

    run_id: str
    """Its id."""
    name: str
    """Its name, for people."""
    status: RunStatus
    """Where it stands."""
    spec: RunSpec
    """What was asked for."""
    schedule: Schedule
    """What has been changed since."""
    step: int = Field(ge=0)
    """Optimizer steps attempted on the current generation."""
    generation: int = Field(ge=0)
    """Rollbacks so far."""
    loss: Measured | None = None
    """Loss of the last finished step, in nats per token."""
    grad_norm: Measured | None = None
    """Gradient norm of the last finished step."""
    review_id: str | None = None
    """The review it waits for."""
    worker_id: str | None = None
    """The worker it is given to, or was when it ended; null while it waits for a slot."""
    queue_place: int | None = None
    """While it waits for a slot: 1 for the run that gets the next one, by priority and then by age."""
    evaluations: tuple[Evaluated, ...] = ()
    """Held-out scores, oldest first; the first one is from before training."""
    export: ExportResult | None = None
    """What it left behind."""
    problem: Problem | None = None
    """Why it failed."""
    created_at: datetime
    """When it was asked for."""
    updated_at: datetime
    """When its status last changed."""


class WindowView(Contract):
    """A window as clients see it."""

    window_id: str
    """Its id."""
    run_id: str
    """The run."""
    generation: int
    """Generation it belongs to."""
    index: int
    """Windows dispatched before it."""
    start_step: int
    """First optimizer step."""
    num_steps: int
    """Optimizer steps planned."""
    status: JobStatus
    """Where it stands."""
    result: WindowResult | None = None
    """What it did."""
    problem: Problem | None = None
    """Why it failed."""
