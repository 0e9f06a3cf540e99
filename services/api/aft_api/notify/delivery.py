"""Delivery: what became of one attempt to send a notification."""

from dataclasses import dataclass
from enum import StrEnum

Receipt = dict[str, str]
"""What a receiver says of an accepted message, to find it again: in Slack its `channel` and `ts`."""


class DeliveryStatus(StrEnum):
    """Whether another attempt makes sense."""

    DELIVERED = "delivered"
    RETRY = "retry"
    GONE = "gone"
    REFUSED = "refused"
    MOOT = "moot"


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """One attempt's outcome."""

    status: DeliveryStatus
    """delivered: accepted. retry: try later. gone: the endpoint is closed for good. refused: no attempt can succeed.
    moot: nobody needs it any more."""
    reason: str = ""
    """Why it was not delivered."""
    after_s: float | None = None
    """The receiver's own wish for the pause before the next attempt, in seconds."""
    receipt: Receipt | None = None
    """How to find the message again, where the receiver said."""


DELIVERED = Delivery(status=DeliveryStatus.DELIVERED)


def try_again(reason: str, *, after_s: float | None = None) -> Delivery:
    """An attempt that may succeed later."""
    return Delivery(status=DeliveryStatus.RETRY, reason=reason, after_s=after_s)


def refused(reason: str) -> Delivery:
    """An attempt that can never succeed as things are."""
    return Delivery(status=DeliveryStatus.REFUSED, reason=reason)
