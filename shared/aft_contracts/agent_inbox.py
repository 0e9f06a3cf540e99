"""Agent Inbox: a review and its answer in the shapes that LangChain's inboxes show and send."""

from datetime import datetime
from typing import Any, Literal

from pydantic import Field

from .contract import Contract


class ActionRequest(Contract):
    """An action and its arguments."""

    action: str
    """`apply_repair`, or `go_on` where nothing is proposed."""
    args: dict[str, Any]
    """The fields of the proposed *Repair*; an inbox may send edited ones back as strings."""


class HumanInterruptConfig(Contract):
    """Which answers an inbox offers."""

    allow_ignore: bool
    """ignore: our reject."""
    allow_respond: bool
    """response: our respond."""
    allow_edit: bool
    """edit: our edit."""
    allow_accept: bool
    """accept: our approve."""


class HumanInterrupt(Contract):
    """A review as an inbox shows it; also what LangGraph's interrupt carries."""

    action_request: ActionRequest
    """What approving does."""
    config: HumanInterruptConfig
    """What may be answered."""
    description: str
    """The question with its evidence and options, in Markdown."""
    review_id: str
    """The review's id, which inboxes pass over."""
    run_id: str
    """The run that waits for it."""
    expires_at: datetime | None
    """The review's deadline."""


class HumanResponse(Contract):
    """An answer as an inbox sends it."""

    type: Literal["accept", "ignore", "response", "edit"]
    """Which answer."""
    args: str | ActionRequest | None = Field(default=None)
    """The words of a response, the edited action of an edit, nothing otherwise."""


class EditedAction(Contract):
    """An action as a human has changed it."""

    name: str
    """`apply_repair`."""
    args: dict[str, Any]
    """The fields of the *Repair* that are to be other than proposed; numbers and lists may come as strings."""


class HumanDecision(Contract):
    """An answer as LangChain's HumanInTheLoopMiddleware takes it."""

    type: Literal["approve", "edit", "reject", "respond"]
    """Which answer."""
    edited_action: EditedAction | None = None
    """The action to take instead; needed by edit, refused otherwise."""
    message: str = Field(default="", max_length=4000)
    """Words for the record; needed by respond."""


class HumanDecisions(Contract):
    """What a human said to what was asked, in the order in which it was asked: here one thing."""

    decisions: tuple[HumanDecision, ...] = Field(min_length=1, max_length=1)
    """The answer."""
