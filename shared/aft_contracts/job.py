"""Jobs: the one shape of everything a worker is asked to do, and its status."""

from enum import StrEnum
from typing import Generic, TypeVar

from pydantic import Field

from .contract import Contract
from .metrics import StepRecord
from .problem import Problem


class JobStatus(StrEnum):
    """Where a job stands. A result exists in committed and cancelled, a problem in failed."""

    ACCEPTED = "accepted"
    RUNNING = "running"
    TRAINED = "trained"
    COMMITTED = "committed"
    FAILED = "failed"
    CANCELLED = "cancelled"


ENDED = frozenset({JobStatus.COMMITTED, JobStatus.FAILED, JobStatus.CANCELLED})
"""Statuses that never change again."""

SpecT = TypeVar("SpecT", bound=Contract)
ResultT = TypeVar("ResultT", bound=Contract)


class JobRequest(Contract, Generic[SpecT]):
    """A job as it is sent: what to do, its hash, and the right to ask for it."""

    spec: SpecT
    """What to do."""
    spec_hash: str
    """Digest of `spec`; the same id with another hash is refused."""
    fence_token: int = Field(ge=0)
    """Lease token of the sender; lower than the highest seen for the run is refused."""
    settles: bool = False
    """Whether the sender has on record what every earlier job of the run brought. The worker keeps results until then,
    and forgets them when it accepts this job."""


class JobView(Contract, Generic[ResultT]):
    """A job as the worker reports it."""

    job_id: str
    """The id it was put under."""
    spec_hash: str
    """Digest of the accepted spec."""
    status: JobStatus
    """Where it stands."""
    step: int | None = None
    """Optimizer steps attempted so far, of jobs that train."""
    progress: tuple[StepRecord, ...] = ()
    """Steps finished so far, without their samples."""
    result: ResultT | None = None
    """What came of it."""
    problem: Problem | None = None
    """Why it failed."""
