"""What a checkpoint says besides the state itself, saved in the same commit."""

from pydantic import JsonValue

from aft_contracts import CheckpointRef, MetricsWindow, Schedule, WindowResult, WorkerNote
from aft_contracts.contract import Contract


class WindowRecord(Contract):
    """A window's result but for its checkpoint, which cannot hold its own digest."""

    window_id: str
    """The window."""
    start_step: int
    """First optimizer step."""
    end_step: int
    """Optimizer steps attempted when it ended."""
    metrics: MetricsWindow
    """Every step and every sample."""
    state_digest: str
    """Sha256 over the trainable parameters and optimizer state at `end_step`, in hex."""
    notes: tuple[WorkerNote, ...] = ()
    """What else an operator should hear of."""

    def result(self, checkpoint: CheckpointRef) -> WindowResult:
        """The window's result, with the checkpoint that committed it."""
        return WindowResult(
            window_id=self.window_id,
            start_step=self.start_step,
            end_step=self.end_step,
            metrics=self.metrics,
            checkpoint=checkpoint,
            state_digest=self.state_digest,
            notes=self.notes,
        )


class CheckpointRecord(Contract):
    """Where a checkpoint's state comes from."""

    schedule: Schedule
    """The course it was trained under."""
    data_digest: str
    """Sha256 over the training rows it was trained on, in hex."""
    frozen_digest: str | None = None
    """Sha256 over the weights that are not trained, in hex; None where there are none, or from before it was kept."""
    architecture: dict[str, JsonValue] | None = None
    """What the model's config made of those weights (`DecoderConfig.facts`); None from before it was kept."""
    window: WindowRecord | None = None
    """The window that ends with it; None for the state before the first step."""
