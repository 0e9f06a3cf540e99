"""Notifications as the API shows them: what waits, what arrived, what was given up."""

from datetime import datetime
from enum import StrEnum

from pydantic import Field

from .contract import Contract
from .event import EventKind


class NotificationState(StrEnum):
    """Where a message stands."""

    PENDING = "pending"
    SENT = "sent"
    FAILED = "failed"
    DROPPED = "dropped"


class NotificationView(Contract):
    """One message to one target."""

    seq: int
    """Its number in the outbox: smaller ones of the same run and target go first."""
    notification_id: str
    """Key that every attempt carries, so that receivers can drop doubles."""
    run_id: str
    """The run it tells of."""
    kind: EventKind
    """What happened."""
    channel: str
    """Through what: webhook, slack or slack_webhook."""
    target: str
    """Where to, without what may be secret in it."""
    state: NotificationState
    """pending: will be tried; sent: accepted; failed: given up, may be replayed; dropped: not needed any more."""
    attempts: int = Field(ge=0)
    """Attempts begun since it was written or replayed."""
    next_attempt_in_s: float | None = None
    """Seconds until the next attempt; None when there will be none."""
    last_error: str = ""
    """Why the last attempt failed."""
    created_at: datetime
    """When it was written."""
    sent_at: datetime | None = None
    """When it was accepted."""


class NotificationBacklog(Contract):
    """How much stands in the outbox."""

    pending: int = Field(ge=0)
    """Messages that will be tried."""
    failed: int = Field(ge=0)
    """Messages that were given up."""
    sent: int = Field(ge=0)
    """Messages that were accepted."""
    oldest_pending_s: float | None = None
    """Age of the oldest message that waits, in seconds."""


class Notifications(Contract):
    """Messages, newest first, and the whole backlog."""

    notifications: tuple[NotificationView, ...]
    """Those that were asked for."""
    backlog: NotificationBacklog
    """All there is."""


class Replayed(Contract):
    """What a replay did."""

    replayed: int = Field(ge=0)
    """Messages that are tried again."""


class NotificationTarget(Contract):
    """A target that has refused or asked for a pause."""

    target_id: str
    """Its id, for `aft notifications enable`."""
    channel: str
    """Through what: webhook, slack or slack_webhook."""
    target: str
    """Where to, without what may be secret in it."""
    disabled_at: datetime | None = None
    """When it said that it is gone for good; nothing is sent to it since. None: it is not disabled."""
    reason: str = ""
    """What it said."""
    paused_for_s: float | None = None
    """Seconds for which it asked to be left alone still."""


class NotificationTargets(Contract):
    """Targets that have refused or asked for a pause."""

    targets: tuple[NotificationTarget, ...]
    """By target."""
