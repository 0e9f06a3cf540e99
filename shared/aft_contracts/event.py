"""Events: what happened to a run, in order, in words."""

from datetime import datetime
from enum import StrEnum
from typing import Any

from pydantic import Field

from .contract import Contract


class EventKind(StrEnum):
    """Stable names of what can happen to a run."""

    RUN_CREATED = "run_created"
    RUN_STARTED = "run_started"
    RUN_PAUSED = "run_paused"
    RUN_RESUMED = "run_resumed"
    RUN_SUCCEEDED = "run_succeeded"
    RUN_FAILED = "run_failed"
    RUN_STOPPED = "run_stopped"
    WINDOW_COMMITTED = "window_committed"
    WINDOW_FAILED = "window_failed"
    JOB_FAILED = "job_failed"
    WORKER_NOTE = "worker_note"
    WORKER_UNREACHABLE = "worker_unreachable"
    WORKER_ASSIGNED = "worker_assigned"
    WORKER_LOST = "worker_lost"
    ANOMALY_DETECTED = "anomaly_detected"
    DIAGNOSED = "diagnosed"
    REPAIR_CHOSEN = "repair_chosen"
    REPAIR_PROVEN = "repair_proven"
    REPAIR_FAILED = "repair_failed"
    REVIEW_REQUESTED = "review_requested"
    REVIEW_DECIDED = "review_decided"
    REVIEW_OVERDUE = "review_overdue"
    REVIEW_WITHDRAWN = "review_withdrawn"
    REVIEW_ESCALATED = "review_escalated"
    COMMAND_APPLIED = "command_applied"
    COMMAND_REFUSED = "command_refused"
    EVALUATED = "evaluated"
    MIX_CHANGED = "mix_changed"
    RATE_GIVEN_BACK = "rate_given_back"
    EXPORTED = "exported"


class Event(Contract):
    """One thing that happened."""

    seq: int = Field(ge=1)
    """Order within the whole store; grows, with gaps."""
    run_id: str
    """The run."""
    at: datetime
    """When it was recorded."""
    kind: EventKind
    """What happened."""
    step: int | None = None
    """The optimizer step it belongs to."""
    message: str
    """The same in words; ids and figures only, never a sample's text."""
    details: dict[str, Any] = {}
    """Ids and figures."""
