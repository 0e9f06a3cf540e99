"""Which command a run takes in which status: one table, and the only one."""

from collections.abc import Iterable
from enum import StrEnum

from aft_contracts import Command, Pause, Resume, RunStatus


class Ruling(StrEnum):
    """What a run in some status says to a command."""

    LEGAL = "legal"
    TOO_LATE = "too_late"
    NOTHING_TO_RESUME = "nothing_to_resume"
    ALREADY_PAUSED = "already_paused"


_COLUMNS = (
    RunStatus.QUEUED, RunStatus.RUNNING, RunStatus.PAUSED, RunStatus.WAITING,
    RunStatus.SUCCEEDED, RunStatus.FAILED, RunStatus.STOPPED,
)  # fmt: skip
_YES, _LATE, _IDLE, _HELD = Ruling.LEGAL, Ruling.TOO_LATE, Ruling.NOTHING_TO_RESUME, Ruling.ALREADY_PAUSED
_ROWS = {
    # A review may still be open, or be open already, while its run queues for a worker, runs or is paused: whether
    # an answer comes in time is the review's own business.
    #                       queued running paused waiting  succeeded failed stopped
    "approve":             (_YES,  _YES,  _YES,  _YES,    _LATE, _LATE, _LATE),
    "edit":                (_YES,  _YES,  _YES,  _YES,    _LATE, _LATE, _LATE),
    "reject":              (_YES,  _YES,  _YES,  _YES,    _LATE, _LATE, _LATE),
    "respond":             (_YES,  _YES,  _YES,  _YES,    _LATE, _LATE, _LATE),
    "resume":              (_IDLE, _IDLE, _YES,  _YES,    _LATE, _LATE, _LATE),
    "pause":               (_YES,  _YES,  _HELD, _YES,    _LATE, _LATE, _LATE),
    "stop":                (_YES,  _YES,  _YES,  _YES,    _LATE, _LATE, _LATE),
    "set_lr":              (_YES,  _YES,  _YES,  _YES,    _LATE, _LATE, _LATE),
    "set_grad_clip":       (_YES,  _YES,  _YES,  _YES,    _LATE, _LATE, _LATE),
    "skip_batch":          (_YES,  _YES,  _YES,  _YES,    _LATE, _LATE, _LATE),
    "blacklist_samples":   (_YES,  _YES,  _YES,  _YES,    _LATE, _LATE, _LATE),
    "unblacklist_samples": (_YES,  _YES,  _YES,  _YES,    _LATE, _LATE, _LATE),
    "set_mix":             (_YES,  _YES,  _YES,  _YES,    _LATE, _LATE, _LATE),
    "rollback":            (_YES,  _YES,  _YES,  _YES,    _LATE, _LATE, _LATE),
}  # fmt: skip
RULINGS: dict[str, dict[RunStatus, Ruling]] = {
    kind: dict(zip(_COLUMNS, row, strict=True)) for kind, row in _ROWS.items()
}
"""Ruling by a command's kind and the run's status. A `resume` that names a review is an answer, as `approve` is."""


def status_after(status: RunStatus, accepted: Iterable[Command]) -> RunStatus:
    """The status that a run will have once it has carried out the pauses and resumes it accepted, in their order."""
    for command in accepted:
        if isinstance(command, Pause):
            status = RunStatus.PAUSED
        elif isinstance(command, Resume) and command.review_id is None and status is RunStatus.PAUSED:
            status = RunStatus.RUNNING
    return status
