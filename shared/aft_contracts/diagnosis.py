"""DiagnosisReport: what was wrong, which samples did it, and the replays that prove it."""

from datetime import datetime
from enum import StrEnum

from .analysis import Replay
from .anomaly import Anomaly
from .contract import Contract, Measured
from .repair import Repair, RepairState


class Verdict(StrEnum):
    """What an incident turned out to be."""

    TRANSIENT = "transient"
    DATA = "data"
    OPTIMISATION = "optimisation"
    STATE = "state"
    UNKNOWN = "unknown"


class Suspect(Contract):
    """A sample that stands out from the clean samples of its domain."""

    sample_id: str
    """The row's stable id."""
    domain: str
    """Its domain."""
    step: int
    """The step in which it stood out."""
    loss: Measured
    """Its loss there, in nats per token."""
    grad_norm: Measured
    """Norm of its own gradient there."""
    score: Measured
    """Robust standard deviations above the clean median of its domain."""


class DiagnosisReport(Contract):
    """An incident, explained."""

    diagnosis_id: str
    """Its id."""
    run_id: str
    """The run."""
    window_id: str
    """The window in which it happened."""
    created_at: datetime
    """When the report was written."""
    anomalies: tuple[Anomaly, ...]
    """What the detectors said."""
    suspects: tuple[Suspect, ...]
    """Samples that stood out, most suspicious first."""
    verdict: Verdict
    """What it turned out to be."""
    culprits: tuple[str, ...] = ()
    """Ids of the samples that were proven to do harm: those of a data verdict, and those found beside a graver one."""
    unproven: tuple[str, ...] = ()
    """Ids of the samples that caused an alarm and were not shown to do harm. A data verdict without culprits has
    nothing but these: there is nothing to undo."""
    sound_step: int | None = None
    """Step of the checkpoint from which a replay came out clean, and to which the run may therefore go back; where a
    held-out score fell for no known reason, the last step that scored well; null where there is none."""
    rate_jump: float | None = None
    """How many times what spec and schedule plan the learning rate was on the way into the incident, if it jumped
    there; null where it kept to the plan."""
    rate_jump_step: int | None = None
    """The first step of that jump."""
    is_rate_jump_recorded: bool | None = None
    """Whether the records show that rate; false where only how far the weights moved gave it away, null for no jump."""
    reasons: tuple[str, ...]
    """How the verdict was reached, in words."""
    replays: tuple[Replay, ...] = ()
    """The evidence: each replay with its losses."""
    replay_steps: int = 0
    """What the evidence cost, in steps trained again, those on the way from a checkpoint to each replay included."""
    replay_seconds: float = 0.0
    """What the evidence cost, in wall-clock time."""
    repair: Repair | None = None
    """What was chosen to be done about it, by a human where one was asked and has agreed; null before that."""
    repair_state: RepairState | None = None
    """What became of the repair; null for one that changed nothing, and for a question that is not answered."""
    probation_ends_step: int | None = None
    """The step that the run must reach in good health for the repair to count as proven."""
