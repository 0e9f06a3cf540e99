"""What has changed on a worker: the one stream that wakes whoever waits for its jobs."""

from pydantic import Field

from .contract import Contract


class JobChange(Contract):
    """A job, or the loading of a run, that has changed; how it stands is asked of the job itself."""

    kind: str
    """`windows`, `analyses`, `evaluations`, `exports`, or `runs` for a run's loading."""
    job_id: str
    """The job's id; the run's for `runs`."""
    status: str
    """Its status; `dropped` when it ended without a result."""
    step: int | None = None
    """Optimizer steps attempted so far, of jobs that train."""
    is_turn: bool
    """Whether its status is new; otherwise only another step is done."""


class WorkerChanges(Contract):
    """Everything that has changed behind a place in the stream, each job once, as it stands now."""

    stream: str
    """Id of the stream; a worker that restarts begins another."""
    seq: int = Field(ge=0)
    """Place in the stream up to which this tells; ask for what is behind it next."""
    is_complete: bool
    """Whether nothing is missing since the place that was asked for; otherwise look at every job again."""
    changes: tuple[JobChange, ...] = ()
    """Oldest first."""
