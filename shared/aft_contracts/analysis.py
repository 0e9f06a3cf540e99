"""Analyses: training steps replayed from a checkpoint, with and without suspects, on a copy of the state."""

from pydantic import Field

from .contract import Contract
from .metrics import StepRecord
from .schedule import Schedule


class ReplayVariant(Contract):
    """One way to replay the steps."""

    name: str
    """`as_it_was`, `without_suspects`, …"""
    masked_sample_ids: tuple[str, ...] = ()
    """Samples whose loss weight is set to zero; everything else in the batch stays what it was."""
    unguarded: bool = False
    """Whether finite updates are applied that the guard would withhold, so that what they do can be measured."""


class AnalysisSpec(Contract):
    """Which steps to replay, and how."""

    analysis_id: str
    """Its id."""
    run_id: str
    """The run it belongs to."""
    schedule: Schedule
    """The course under which the steps were trained."""
    start_step: int = Field(ge=0)
    """First step to replay; the state before it comes from the newest good checkpoint at or before it."""
    end_step: int = Field(ge=1)
    """One past the last step to replay."""
    newest_checkpoint: int | None = Field(default=None, ge=0)
    """Step of the newest checkpoint that may be used, the steps between it and the first one being trained again; null
    takes the newest good one. It tells a damaged state from a bad course."""
    variants: tuple[ReplayVariant, ...] = Field(min_length=1)
    """The ways to replay them."""


class Replay(Contract):
    """What one variant measured."""

    name: str
    """The variant."""
    masked_sample_ids: tuple[str, ...]
    """Samples that were masked."""
    steps: tuple[StepRecord, ...]
    """Its steps, oldest first."""


class AnalysisResult(Contract):
    """Every variant's figures."""

    analysis_id: str
    """Its id."""
    replays: tuple[Replay, ...]
    """One a variant, in the order asked."""
    approach_steps: int = Field(default=0, ge=0)
    """Steps trained on the way from a checkpoint to the first one, once for all variants."""
    seconds: float = Field(ge=0)
    """What it cost, in wall-clock time."""
