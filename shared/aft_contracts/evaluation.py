"""Evaluations: held-out loss, domain by domain."""

from pydantic import Field

from .contract import Contract, Measured
from .schedule import Schedule


class EvaluationSpec(Contract):
    """Which state of the run to score."""

    evaluation_id: str
    """Its id."""
    run_id: str
    """The run it belongs to."""
    schedule: Schedule
    """The run's course."""
    step: int = Field(ge=0)
    """Optimizer steps attempted by the state to score."""
    newest_checkpoint: int | None = Field(default=None, ge=0)
    """Step of the newest checkpoint that may be used, the steps behind it being trained again on a copy; null scores
    the state as it is. It tells a damaged state from a bad course."""


class DomainScore(Contract):
    """How well one held-out domain is predicted."""

    loss: Measured
    """Mean held-out loss, in nats per token."""
    tokens: int = Field(ge=0)
    """Tokens that carried loss."""


class EvaluationResult(Contract):
    """The scores of one state."""

    evaluation_id: str
    """Its id."""
    step: int
    """Optimizer steps attempted by the scored state."""
    scores: dict[str, DomainScore]
    """Score by domain name."""
