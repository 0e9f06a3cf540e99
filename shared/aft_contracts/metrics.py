"""What training measured: per step, and per sample of each step."""

from enum import StrEnum

from pydantic import Field

from .contract import Contract, Measured


class Withheld(StrEnum):
    """Why a step's update was not applied."""

    NON_FINITE = "non_finite"
    LOSS = "loss"
    GRAD_NORM = "grad_norm"
    SKIPPED = "skipped"


class SampleRecord(Contract):
    """One sample's part in one step."""

    sample_id: str
    """The row's stable id."""
    domain: str
    """The domain it was drawn from."""
    loss: Measured
    """Mean loss of its own tokens, in nats per token."""
    grad_norm: Measured
    """L2 norm of the gradient of its own mean loss over the trainable parameters."""
    accuracy: Measured | None = None
    """Share of its tokens that carried loss and were the model's first choice; None where nobody measured it."""
    tokens: int = Field(ge=0)
    """Tokens of it that carried loss."""
    repetition: float | None = Field(default=None, ge=0, le=1)
    """Share of the 4-grams of its targets that stood in it before; None where nobody counted."""


class StepRecord(Contract):
    """One optimizer step, applied or withheld."""

    step: int = Field(ge=0)
    """Optimizer steps attempted before this one."""
    loss: Measured
    """Mean loss of the batch, in nats per token."""
    grad_norm: Measured
    """Global L2 norm of the batch gradient, before clipping."""
    update_rms: Measured | None = None
    """Root mean square of how far a fixed sample of the weights moved, learning rate included; null where the update
    was withheld, or where nobody measured it."""
    lr: float
    """Learning rate of this step."""
    clip_norm: float
    """Clip norm of this step."""
    tokens: int = Field(ge=0)
    """Tokens that carried loss."""
    applied: bool
    """Whether the update reached the weights."""
    withheld: Withheld | None = None
    """Why it did not; None when it did."""
    seconds: float = Field(ge=0)
    """Wall-clock time of the step."""
    samples: tuple[SampleRecord, ...] = ()
    """The rows of the batch, in row order; empty in progress reports."""


class MetricsWindow(Contract):
    """Every step of one window, oldest first."""

    window_id: str
    """The window these steps belong to."""
    steps: tuple[StepRecord, ...]
    """One record a step."""
