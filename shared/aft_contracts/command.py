"""Commands: what a human may tell a run to do."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from .contract import Contract, Whole
from .decision import Answer
from .problem import Problem
from .repair import Repair


class Resume(Contract):
    """Go on: after a pause, or by answering the open review."""

    kind: Literal["resume"] = "resume"
    review_id: str | None = None
    """The review that is answered; None answers the one that is open."""
    answer: Answer = Answer.APPROVE
    """The answer, when a review is open."""
    repair: Repair | None = None
    """The repair to make instead; needed by edit."""
    message: str = Field(default="", max_length=4000)
    """Words for the record."""


class Approve(Contract):
    """Answer a review: do what it proposes."""

    kind: Literal["approve"] = "approve"
    review_id: str | None = None
    """The review; None answers the one that is open."""
    message: str = Field(default="", max_length=4000)
    """Words for the record."""


class Edit(Contract):
    """Answer a review: make another repair than the proposed one."""

    kind: Literal["edit"] = "edit"
    review_id: str | None = None
    """The review; None answers the one that is open."""
    repair: Repair
    """The repair to make instead."""
    message: str = Field(default="", max_length=4000)
    """Words for the record."""


class Reject(Contract):
    """Answer a review: change nothing and go on."""

    kind: Literal["reject"] = "reject"
    review_id: str | None = None
    """The review; None answers the one that is open."""
    message: str = Field(default="", max_length=4000)
    """Words for the record."""


class Respond(Contract):
    """Answer a review in words: change nothing and go on."""

    kind: Literal["respond"] = "respond"
    review_id: str | None = None
    """The review; None answers the one that is open."""
    message: str = Field(min_length=1, max_length=4000)
    """The words."""


class Stop(Contract):
    """End the run at the next step boundary; what was trained is kept."""

    kind: Literal["stop"] = "stop"
    review_id: str | None = None
    """The review that this answers, which is then rejected; None stops the run whatever it waits for."""
    message: str = Field(default="", max_length=4000)
    """Words for the record."""


class Pause(Contract):
    """Hold the run at the next step boundary until it is resumed."""

    kind: Literal["pause"] = "pause"


class SetLearningRate(Contract):
    """Change the peak learning rate from the next step on."""

    kind: Literal["set_lr"] = "set_lr"
    learning_rate: float = Field(gt=0, allow_inf_nan=False)
    """New peak learning rate; the curve keeps its shape."""
    rewarmup_steps: Whole = Field(default=0, ge=0)
    """Steps over which it climbs to the new value."""


class SetGradClip(Contract):
    """Change the clip norm from the next step on."""

    kind: Literal["set_grad_clip"] = "set_grad_clip"
    max_norm: float = Field(gt=0, allow_inf_nan=False)
    """Largest global gradient norm that is let through unscaled."""


class SkipBatch(Contract):
    """Consume a step's batch without applying its update."""

    kind: Literal["skip_batch"] = "skip_batch"
    step: Whole = Field(ge=0)
    """The step to skip; it must not have been trained yet."""


class BlacklistSamples(Contract):
    """Never load these samples again."""

    kind: Literal["blacklist_samples"] = "blacklist_samples"
    sample_ids: tuple[str, ...] = Field(min_length=1, max_length=10_000)
    """Stable ids of the rows."""


class UnblacklistSamples(Contract):
    """Load these samples again from the next step on; every other sample stays in its place."""

    kind: Literal["unblacklist_samples"] = "unblacklist_samples"
    sample_ids: tuple[str, ...] = Field(min_length=1, max_length=10_000)
    """Stable ids of rows that are banned."""


class SetMix(Contract):
    """Change the mixture weights from the next step on."""

    kind: Literal["set_mix"] = "set_mix"
    weights: dict[str, float] = Field(min_length=1)
    """Weight by domain name; domains not named keep theirs."""


class Rollback(Contract):
    """Go back to an earlier step, in a new generation."""

    kind: Literal["rollback"] = "rollback"
    step: Whole = Field(ge=0)
    """The step to go back to."""


Command = Annotated[
    Resume
    | Approve
    | Edit
    | Reject
    | Respond
    | Stop
    | Pause
    | SetLearningRate
    | SetGradClip
    | SkipBatch
    | BlacklistSamples
    | UnblacklistSamples
    | SetMix
    | Rollback,
    Field(discriminator="kind"),
]


class CommandStatus(StrEnum):
    """What became of a command: accepted and waiting for its moment, carried out, or refused."""

    PENDING = "pending"
    APPLIED = "applied"
    REFUSED = "refused"


class CommandRecord(Contract):
    """A command as the run's audit trail keeps it."""

    seq: Whole = Field(default=0, ge=0)
    """Order within the whole store; grows, with gaps."""
    command_id: str
    """Its id; the sender's idempotency key where one was given."""
    run_id: str
    """The run."""
    command: Command
    """What was asked."""
    status: CommandStatus
    """What became of it."""
    outcome: str = ""
    """The same in words: when it will take effect, from which step it holds, or why it was refused."""
    applied_step: int | None = None
    """The step from which on it holds."""
    problem: Problem | None = None
    """Why it was refused, with its code."""
    given_by: str
    """Who asked."""
    channel: str
    """Through what: api, cli, slack, webhook, system."""
    created_at: datetime
    """When it was asked."""
    settled_at: datetime | None = None
    """When it was carried out or refused."""
