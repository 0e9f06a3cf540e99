"""Parcel: a message with what its sender must know of those before it."""

from dataclasses import dataclass
from typing import Protocol

from aft_api.notify.delivery import Delivery, Receipt
from aft_api.notify.message import Notification
from aft_contracts import Review


@dataclass(frozen=True, kw_only=True)
class Posted:
    """A message that arrived earlier."""

    message: Notification
    receipt: Receipt


@dataclass(frozen=True, kw_only=True)
class Parcel:
    """One message on its way to one address."""

    address: str
    message: Notification
    review: Review | None = None
    """The review it is about, as it stands now; `message.review` is as it stood when the message was written."""
    thread: Receipt | None = None
    """The run's first message at this address."""
    question: Posted | None = None
    """The message that asked this review's question at this address."""


class Sender(Protocol):
    """Sends through one channel."""

    async def send(self, parcel: Parcel) -> Delivery:
        """One attempt. Never raises for what the receiver or the network does."""
        ...
