"""NotifySpec: who hears of a run, when not to be woken, and who is asked when nobody answers."""

import re
from datetime import time
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints

from .contract import Contract
from .event import EventKind

WebhookUrl = Annotated[str, StringConstraints(min_length=1, max_length=1000)]


def _clock_words(value: Any) -> Any:
    # YAML 1.1 reads 22:00 as a number to the base of sixty, and 07:00 as text.
    return f"{value // 60:02}:{value % 60:02}" if isinstance(value, int) and 0 <= value < 1440 else value


def _as_time(value: str) -> str:
    if not re.fullmatch(r"([01]\d|2[0-3]):[0-5]\d", value):
        raise ValueError("must be hours and minutes like '22:00'")
    return value


def _known_zone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(f"{value!r} is no time zone; names are like 'Europe/Berlin' or 'UTC'") from error
    return value


ToldKind = Literal[
    EventKind.RUN_SUCCEEDED,
    EventKind.RUN_FAILED,
    EventKind.RUN_STOPPED,
    EventKind.REVIEW_REQUESTED,
    EventKind.REVIEW_DECIDED,
    EventKind.REVIEW_OVERDUE,
    EventKind.REVIEW_ESCALATED,
    EventKind.REVIEW_WITHDRAWN,
]
"""What people are told of."""

CLOCK_RULE, ZONE_RULE = AfterValidator(_as_time), AfterValidator(_known_zone)
HourMinute = Annotated[str, BeforeValidator(_clock_words), CLOCK_RULE]


class NotifyTargets(Contract):
    """Where messages go."""

    webhooks: tuple[WebhookUrl, ...] = Field(default=(), max_length=20)
    """URLs that receive signed events (Standard Webhooks)."""
    slack_channel: str | None = Field(default=None, min_length=1, max_length=200)
    """Slack channel id for reviews and endings; needs the API's Slack settings."""
    slack_webhook: str | None = Field(default=None, min_length=1, max_length=200)
    """Name of a Slack incoming webhook in the API's settings (AFT_SLACK_WEBHOOKS); its messages have links only."""


class QuietHours(Contract):
    """When messages wait; those that wait are sent in order when the quiet hours end."""

    start: HourMinute
    """When they begin, as "22:00" in `time_zone`."""
    end: HourMinute
    """When they end; earlier than `start` means the next day."""
    time_zone: Annotated[str, ZONE_RULE] = "UTC"
    """IANA name of the time zone."""
    breaks_through: tuple[ToldKind, ...] = (EventKind.RUN_FAILED, EventKind.REVIEW_ESCALATED)
    """Kinds of messages that do not wait; nor does a question whose deadline passes before the quiet hours end."""

    @property
    def span(self) -> tuple[time, time]:
        """Start and end as times of day."""
        return time.fromisoformat(self.start), time.fromisoformat(self.end)


class Escalation(NotifyTargets):
    """Who is told when nobody has answered a question."""

    after_s: float = Field(default=1800.0, gt=0, le=30 * 86_400)
    """How long a question may stay without an answer, in seconds."""


class NotifySpec(NotifyTargets):
    """Who hears of the run besides the API."""

    quiet_hours: QuietHours | None = None
    """When messages wait; None sends them at any hour."""
    escalation: Escalation | None = None
    """Who else is asked when nobody answers; None asks nobody else."""

    @property
    def every_webhook(self) -> tuple[str, ...]:
        """All URLs that may be posted to."""
        return self.webhooks + (() if self.escalation is None else self.escalation.webhooks)
