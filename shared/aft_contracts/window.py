"""Windows: K optimizer steps that enter the weights exactly once."""

from pydantic import Field

from .contract import Contract
from .metrics import MetricsWindow
from .schedule import Schedule


def window_id_of(run_id: str, generation: int, index: int) -> str:
    """The id of a window, from persisted facts only."""
    return f"{run_id}:{generation}:{index}"


class WindowSpec(Contract):
    """What to train: which steps, under which schedule."""

    window_id: str
    """`run:generation:index`."""
    run_id: str
    """The run it belongs to."""
    generation: int = Field(ge=0)
    """Generation whose weights it continues."""
    index: int = Field(ge=0)
    """Windows dispatched before it."""
    start_step: int = Field(ge=0)
    """First optimizer step."""
    num_steps: int = Field(ge=1)
    """Optimizer steps to attempt."""
    schedule: Schedule
    """The run's course up to the end of this window."""


class CheckpointRef(Contract):
    """A committed checkpoint."""

    generation: int = Field(ge=0)
    """Generation it belongs to."""
    step: int = Field(ge=0)
    """Optimizer steps attempted when it was taken."""
    uri: str
    """Where it lies."""
    manifest_digest: str
    """Sha256 of its manifest, in hex."""


class WorkerNote(Contract):
    """Something the worker did that an operator should hear of."""

    kind: str
    """Stable name, `checkpoint_fell_back` for example."""
    message: str
    """What happened, in words."""


class WindowResult(Contract):
    """What a window did."""

    window_id: str
    """The window."""
    start_step: int
    """First optimizer step."""
    end_step: int
    """Optimizer steps attempted when it ended; earlier than planned when it was cancelled."""
    metrics: MetricsWindow
    """Every step and every sample."""
    checkpoint: CheckpointRef
    """The committed state at `end_step`."""
    state_digest: str
    """Sha256 over the trainable parameters and optimizer state at `end_step`, in hex."""
    notes: tuple[WorkerNote, ...] = ()
    """What else an operator should hear of."""
