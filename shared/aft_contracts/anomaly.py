"""Anomaly: a step that a detector called out."""

from enum import StrEnum

from pydantic import Field

from .contract import Contract, Measured


class AnomalyKind(StrEnum):
    """Which detector spoke."""

    NON_FINITE = "non_finite"
    LOSS_SPIKE = "loss_spike"
    GRAD_SPIKE = "grad_spike"
    SAMPLE_OUTLIER = "sample_outlier"
    DRIFT = "drift"
    STALL = "stall"
    EVALUATION_DROP = "evaluation_drop"
    RATE_JUMP = "rate_jump"
    OPPOSED_ROWS = "opposed_rows"
    REPETITION = "repetition"


class Anomaly(Contract):
    """One detector's finding on one step."""

    kind: AnomalyKind
    """Which detector spoke."""
    step: int = Field(ge=0)
    """The step it spoke about; for a held-out score, the steps attempted by the state that was scored."""
    value: Measured
    """What was measured, in the detector's own unit (nats, log of a norm, or a share)."""
    score: Measured
    """How far out it is, in robust standard deviations; infinite for a value that is not finite; for a stall, its
    steps; for a learning rate, how many times what was planned."""
    threshold: float
    """The score from which on this is an anomaly."""
    applied: bool
    """Whether the step's update reached the weights."""
    sample_ids: tuple[str, ...] = ()
    """Samples the detector itself points at."""
    domain: str | None = None
    """The held-out domain, where a score is anomalous."""
