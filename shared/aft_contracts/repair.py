"""Repair: one thing to do about a diagnosis, with its reasons."""

from enum import StrEnum

from pydantic import Field

from .contract import Contract


class RepairKind(StrEnum):
    """The rung of the ladder."""

    CONTINUE = "continue"
    ADJUST = "adjust"
    BLACKLIST = "blacklist"
    ROLLBACK = "rollback"
    ESCALATE = "escalate"


class RepairState(StrEnum):
    """What became of a repair that changed something."""

    ON_PROBATION = "on_probation"
    PROVEN = "proven"
    FAILED = "failed"


class Repair(Contract):
    """What changes, from which step, and why. Parts that are None or empty stay as they are."""

    kind: RepairKind
    """The rung of the ladder."""
    blacklist: tuple[str, ...] = ()
    """Samples never to be loaded again."""
    rollback_to_step: int | None = Field(default=None, ge=0)
    """Step to go back to, in a new generation."""
    lr_factor: float | None = Field(default=None, gt=0)
    """Factor on the current learning rate."""
    rate_from_step: int | None = Field(default=None, ge=0)
    """First step of the changed rate; null where it holds from the step that the run goes on from."""
    clip_norm: float | None = Field(default=None, gt=0)
    """New clip norm."""
    rewarmup_steps: int = Field(default=0, ge=0)
    """Steps over which the rate climbs again."""
    reasons: tuple[str, ...]
    """Why this and nothing else, in words."""
    proposal: "Repair | None" = None
    """What would be done if a human agreed; only for an escalation."""

    def goes_on_from(self, step: int) -> int:
        """The step that a run at `step` goes on from."""
        return step if self.rollback_to_step is None else self.rollback_to_step

    def rate_begins(self, step: int) -> int:
        """The first step of the changed rate, for a run at `step`: never before the one that it goes on from."""
        return max(self.goes_on_from(step), self.rate_from_step or 0)
