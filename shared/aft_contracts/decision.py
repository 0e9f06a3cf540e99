"""Decision: what a human said about a review."""

from enum import StrEnum

from pydantic import Field

from .contract import Contract
from .repair import Repair


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
    option: str | None = None
    """Name of the review's option that was taken; None for an answer of the human's own."""
