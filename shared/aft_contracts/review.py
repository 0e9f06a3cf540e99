"""Reviews: a typed question to a human, and its one answer."""

from datetime import datetime
from enum import StrEnum

from pydantic import Field

from .contract import Contract
from .repair import Repair


class ReviewStatus(StrEnum):
    """Whether a review still waits; it is withdrawn when its run ends without an answer."""

    OPEN = "open"
    DECIDED = "decided"
    WITHDRAWN = "withdrawn"


class Answer(StrEnum):
    """The canonical answers to a review."""

    APPROVE = "approve"
    EDIT = "edit"
    REJECT = "reject"
    RESPOND = "respond"


class Decision(Contract):
    """What a human said."""

    answer: Answer
    """approve: do what is proposed; edit: do `repair` instead; reject and respond: change nothing and go on."""
    repair: Repair | None = None
    """The repair to make instead; needed by edit, refused otherwise."""
    message: str = Field(default="", max_length=4000)
    """Words for the record."""


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
    status: ReviewStatus
    """Whether it still waits."""
    created_at: datetime
    """When it was asked."""
    decision: Decision | None = None
    """The answer."""
    decided_by: str | None = None
    """Who answered."""
    decided_at: datetime | None = None
    """When."""
