"""Notification: what leaves the house about a run, in words, ids and figures."""

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from aft_contracts import EventKind, Review


class Notification(BaseModel):
    """One thing worth telling people; never a sample's text."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    notification_id: str = Field(pattern=r"^[!-\-/-~]{1,400}$")
    """Stable key: every attempt carries the same one, so receivers can dedupe. Visible ASCII without a full stop."""
    kind: EventKind
    """What happened."""
    run_id: str
    """The run."""
    run_name: str
    """Its name, for people."""
    at: datetime
    """When it happened."""
    text: str
    """The same in words."""
    details: dict[str, Any] = {}
    """Ids and figures."""
    review: Review | None = None
    """The question that waits for an answer."""
    run_url: str = ""
    """Where people see the run; filled in when it is sent."""
    review_url: str | None = None
    """Where people see the question; filled in when it is sent."""
