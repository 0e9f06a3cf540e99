"""Outlook: when an accepted command will take effect, in words."""

from dataclasses import dataclass

from aft_contracts import Approve, Command, Edit, Pause, Reject, Respond, Resume, RunStatus, Stop


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a run is."""

    status: RunStatus
    step: int
    """Optimizer steps attempted, those of the running window included."""
    in_window: bool
    """Whether a window is being trained."""


def outlook(command: Command, progress: Progress) -> str:
    """When the command will take effect on a run that has come so far."""
    step = progress.step
    match command:
        case Pause():
            what = "the run holds"
        case Stop():
            what = "the run ends"
        case Resume(review_id=None):
            return f"accepted: the run goes on at step {step}"
        case Resume() | Approve() | Edit() | Reject() | Respond() if progress.status is RunStatus.PAUSED:
            return f"accepted: the review is decided, and the run holds at step {step} until it is resumed"
        case Resume() | Approve() | Edit() | Reject() | Respond():
            return f"accepted: the review is decided, and the run goes on at step {step} with that"
        case _:
            what = "it takes effect"
    match progress.status:
        case RunStatus.QUEUED if not isinstance(command, Pause | Stop):
            return f"accepted: {what} at step {step}, once the run has a worker"
        case RunStatus.PAUSED if not isinstance(command, Stop):
            return f"accepted: {what} at step {step}, once the run is resumed"
        case RunStatus.WAITING if not isinstance(command, Pause | Stop):
            return f"accepted: {what} once the open review is answered"
        case RunStatus.RUNNING if progress.in_window:
            return f"accepted while a window runs: {what} at the next step boundary, at step {step} or later"
        case _:
            return f"accepted: {what} at the next step boundary, at step {step}"
