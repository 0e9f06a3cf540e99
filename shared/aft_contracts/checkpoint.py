"""Checkpoints as an operator sees them: which there are, and whether they can be relied upon."""

from datetime import datetime

from pydantic import Field

from .contract import Contract


class CheckpointView(Contract):
    """One checkpoint of a run on its worker's disk."""

    generation: int = Field(ge=0)
    """Generation it belongs to."""
    step: int = Field(ge=0)
    """Optimizer steps attempted when it was taken."""
    committed: bool
    """Whether it was finished; one that was not is never used, and goes once a later one is committed."""
    size_bytes: int = Field(ge=0)
    """Bytes of all its files."""
    written_at: datetime
    """When it was committed, or last written to."""
    verified: bool | None = None
    """Whether every file is what was committed; None when nobody looked, or when it was never committed."""
    damage: str | None = None
    """What is wrong with it, in words."""


class Checkpoints(Contract):
    """The checkpoints of a run."""

    checkpoints: tuple[CheckpointView, ...]
    """By generation and step."""
