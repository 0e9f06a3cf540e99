"""Reviews: a typed question to a human, its evidence, its options, and its one answer."""

from datetime import datetime
from enum import StrEnum

from pydantic import Field

from .anomaly import Anomaly
from .command import Command
from .contract import Contract, Measured
from .decision import Decision
from .diagnosis import Suspect, Verdict
from .repair import Repair


class ReviewStatus(StrEnum):
    """Whether a review still waits; it is withdrawn when its run ends without an answer."""

    OPEN = "open"
    DECIDED = "decided"
    WITHDRAWN = "withdrawn"


class OnDeadline(StrEnum):
    """What happens when nobody has answered in time: the run goes on waiting, or takes the option of this name."""

    HOLD = "hold"
    APPLY = "apply"
    GO_ON = "go_on"
    STOP = "stop"


class LossPoint(Contract):
    """One step in the picture of the loss."""

    step: int
    """The optimizer step."""
    loss: Measured
    """Mean loss of its batch, in nats per token."""
    applied: bool
    """Whether its update reached the weights."""


class ReplayFigures(Contract):
    """What one replay of the first bad step showed."""

    name: str
    """`as_it_was`, `without_suspects`, …"""
    masked: int = Field(ge=0)
    """Samples that were masked."""
    step: int
    """The step the figures are from."""
    loss: Measured
    """Its loss there, in nats per token."""
    grad_norm: Measured
    """Its gradient norm there."""


class Evidence(Contract):
    """What happened, in ids and figures; never a sample's text."""

    step: int = Field(ge=0)
    """Optimizer steps attempted when the question was asked."""
    verdict: Verdict
    """What the replays made of it."""
    anomalies: tuple[Anomaly, ...]
    """What the detectors said, the first few."""
    anomaly_count: int = Field(ge=0)
    """How many findings there were in all."""
    suspects: tuple[Suspect, ...] = ()
    """Samples that stood out, the most suspicious few."""
    culprits: tuple[str, ...] = ()
    """Ids of the samples that caused it; only for a data verdict."""
    replays: tuple[ReplayFigures, ...] = ()
    """What each replay showed."""
    losses: tuple[LossPoint, ...] = ()
    """The last steps, oldest first: the picture."""


class Option(Contract):
    """One way to answer a review."""

    name: str = Field(pattern=r"^[a-z][a-z_]{0,39}$")
    """Its name: `apply` what is proposed, `go_on` without a change, `stop` the run."""
    command: Command
    """The command that takes it, as `POST /runs/{id}/commands` has it."""
    effect: str
    """What is expected to come of it, in words."""


class Review(Contract):
    """A question with its evidence."""

    review_id: str
    """Its id."""
    run_id: str
    """The run that waits for it."""
    diagnosis_id: str | None = None
    """The report behind it."""
    question: str
    """What is asked, in words; ids and figures only, never a sample's text."""
    proposal: Repair | None
    """What approving would do; None when approving just goes on."""
    evidence: Evidence | None = None
    """What happened; None where the question is not about the course of training, or is from before this was kept."""
    options: tuple[Option, ...] = ()
    """The ways to answer that were thought of; an edit or a response of one's own is another."""
    recommended: str | None = None
    """Name of the option that aft would take."""
    answered_by: tuple[str, ...] = ()
    """Who may answer: users by name, roles as `role:NAME`; empty for whoever may command the run."""
    deadline_at: datetime | None = None
    """Until when an answer is waited for, by the database's clock; None waits for ever."""
    on_deadline: OnDeadline = OnDeadline.HOLD
    """What happens then."""
    is_overdue: bool = False
    """Whether the deadline has passed without an answer."""
    status: ReviewStatus
    """Whether it still waits."""
    created_at: datetime
    """When it was asked."""
    decision: Decision | None = None
    """The answer."""
    decided_by: str | None = None
    """Who answered; `deadline` when nobody did in time."""
    decided_via: str | None = None
    """Through what: api, cli, slack, webhook, system."""
    decided_at: datetime | None = None
    """When."""

    def option(self, name: str) -> Option | None:
        """The option of this name, if there is one."""
        return next((option for option in self.options if option.name == name), None)
