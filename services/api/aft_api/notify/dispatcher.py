"""The dispatcher: takes due messages from the outbox and sends them."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta

import structlog
from pydantic import ValidationError

from aft_api.clock import Clock, utc_now
from aft_api.db.engine import STORE_ERRORS, Store
from aft_api.db.tables import OutboxRow
from aft_api.notify.backoff import next_attempt_delay_s
from aft_api.notify.delivery import Delivery, DeliveryStatus, refused
from aft_api.notify.message import Notification
from aft_api.notify.outbox import Target, claim_due, oldest_receipt, question_of, settle
from aft_api.notify.parcel import Parcel, Posted, Sender
from aft_api.notify.retention import AT_ONCE as FORGOTTEN_AT_ONCE
from aft_api.notify.retention import forget_arrived
from aft_api.notify.targets import disable, disabled_reason, pause
from aft_api.reviews.errors import ReviewNotFound
from aft_api.reviews.repository import get_review
from aft_api.runs.events import record
from aft_api.stop import Stop, Stopped
from aft_contracts import EventKind, NotificationState, ReviewStatus

log = structlog.get_logger()
EVERY_S = 1.0
AT_ONCE = 16
"""Messages that are being sent at a time."""
AT_ONCE_PER_TARGET = 4
"""Of those to one target, so that a slow one does not hold up the others."""
SETTLE_S = 10.0
"""What a claim lasts longer than its attempt may take."""
FORGET_EVERY_S = 3600.0


@dataclass(frozen=True, kw_only=True)
class Dispatcher:
    """Sends what the outbox holds, at least once."""

    store: Store
    senders: Mapping[str, Sender]
    """By channel."""
    stop: Stop
    timeout_s: float
    """What one attempt may take."""
    public_url: str
    """Where people reach this API."""
    keep: timedelta
    """How long messages are kept that have arrived."""
    clock: Clock = utc_now
    _busy: Counter[Target] = field(default_factory=Counter)
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self) -> None:
        """Send until the stop is asked for; what was begun is finished, so that nobody gets it twice for that."""
        async with asyncio.TaskGroup() as sends:
            sends.create_task(self._forget(), name="forget arrived")
            while not self.stop.is_asked:
                self._news.clear()
                for row in await self._claim():
                    self._busy[row.channel, row.address] += 1
                    sends.create_task(self._dispatch(row, claimed_s=time.monotonic()), name=f"send {row.seq}")
                with suppress(Stopped, TimeoutError):
                    async with self.stop.breaks_off(), asyncio.timeout(EVERY_S):
                        await self._news.wait()  # one that ended may have let the next of its run go

    async def _forget(self) -> None:
        while not self.stop.is_asked:
            try:
                async with self.store.sessions.begin() as session:
                    forgotten = await forget_arrived(session, before=self.clock() - self.keep)
            except STORE_ERRORS:
                log.exception("outbox_not_pruned")
                forgotten = 0
            if forgotten:
                log.info("outbox_pruned", messages=forgotten)
            if forgotten < FORGOTTEN_AT_ONCE:
                await self.stop.sleep(FORGET_EVERY_S)

    async def _claim(self) -> list[OutboxRow]:
        room = AT_ONCE - self._busy.total()
        if room <= 0:
            return []
        try:
            return list(
                await claim_due(
                    self.store,
                    limit=room,
                    claim_s=2 * self.timeout_s + SETTLE_S,
                    busy=[target for target, count in self._busy.items() if count >= AT_ONCE_PER_TARGET],
                    per_target=AT_ONCE_PER_TARGET,
                )
            )
        except STORE_ERRORS:
            log.exception("outbox_unreadable")
            return []

    async def _dispatch(self, row: OutboxRow, *, claimed_s: float) -> None:
        try:
            delivery = await self._attempt(row, claimed_s)
            if delivery is not None:
                await self._settle(row, delivery)
        except STORE_ERRORS:
            # The claim runs out, and the message is sent again: at least once.
            log.exception("notification_unsettled", seq=row.seq)
        finally:
            self._busy[row.channel, row.address] -= 1
            self._news.set()

    async def _attempt(self, row: OutboxRow, claimed_s: float) -> Delivery | None:
        """What became of one attempt; one that breaks in a way nobody foresaw costs its own message and no other.

        Raises:
            STORE_ERRORS: the store is away.
        """
        try:
            return await self._send(row, claimed_s)
        except STORE_ERRORS:
            raise
        except Exception as error:
            log.exception("notification_broke", seq=row.seq)
            # Not its words: they may hold an address that is a secret.
            return refused(f"the message cannot be made or sent: {type(error).__name__}; the API's log has the trace")

    async def _send(self, row: OutboxRow, claimed_s: float) -> Delivery | None:
        try:
            message = self._with_urls(Notification.model_validate(row.body))
        except ValidationError as error:
            return refused(f"the message cannot be read: {error.error_count()} fields are wrong")
        sender = self.senders.get(row.channel)
        if sender is None:
            return refused(f"the API's settings say nothing of the channel {row.channel}")
        parcel = await self._parcel(row, message)
        if isinstance(parcel, Delivery):
            return parcel
        if time.monotonic() - claimed_s > self.timeout_s:
            log.warning("notification_left", seq=row.seq)  # frozen meanwhile: the claim may be somebody else's
            return None
        return await sender.send(parcel)

    def _with_urls(self, message: Notification) -> Notification:
        base, review = self.public_url.rstrip("/"), message.review
        review_url = None if review is None else f"{base}/reviews/{review.review_id}"
        return message.model_copy(update={"run_url": f"{base}/runs/{message.run_id}", "review_url": review_url})

    async def _parcel(self, row: OutboxRow, message: Notification) -> Parcel | Delivery:
        async with self.store.reads() as session:
            reason = await disabled_reason(session, row.channel, row.address)
            if reason is not None:
                return refused(reason)
            review = None
            if message.review is not None:
                with suppress(ReviewNotFound):
                    review = await get_review(session, message.review.review_id)
            if row.escalates and (review is None or review.status is not ReviewStatus.OPEN):
                return Delivery(status=DeliveryStatus.MOOT, reason="the question was answered before")
            if row.channel != "slack":
                return Parcel(address=row.address, message=message, review=review)
            thread = await oldest_receipt(session, row)
            asked = None if review is None else await question_of(session, row)
        return Parcel(
            address=row.address,
            message=message,
            review=review,
            thread=None if thread is None or thread.seq == row.seq else thread.receipt,
            question=self._posted(asked),
        )

    def _posted(self, row: OutboxRow | None) -> Posted | None:
        if row is None or row.receipt is None:
            return None
        try:
            message = self._with_urls(Notification.model_validate(row.body))
        except ValidationError:
            log.warning("question_unreadable", seq=row.seq)  # then it is not edited, and a new message says it
            return None
        return Posted(message=message, receipt=row.receipt)

    async def _settle(self, row: OutboxRow, delivery: Delivery) -> None:
        log.info("notification_attempted", key=_key(row), status=delivery.status, reason=delivery.reason)
        state, delay_s = _outcome(row, delivery)
        async with self.store.sessions.begin() as session:
            counts = await settle(session, self.store, row, state, delivery, clock=self.clock, retry_in_s=delay_s)
            if delivery.status is DeliveryStatus.GONE:
                await disable(session, row.channel, row.address, delivery.reason, self.clock)
            elif delivery.after_s:
                await pause(session, self.store, row.channel, row.address, delivery.after_s, delivery.reason)
            if counts and row.escalates and state is NotificationState.SENT:
                await record(
                    session, row.run_id, EventKind.REVIEW_ESCALATED, f"Nobody has answered: {row.channel} was asked.",
                    key=f"{row.seq}", clock=self.clock, review_id=row.review_id,
                )  # fmt: skip
        if state is NotificationState.FAILED:
            log.error("notification_given_up", key=_key(row), reason=delivery.reason)


def _outcome(row: OutboxRow, delivery: Delivery) -> tuple[NotificationState, float]:
    """The state after an attempt, and the pause before the next one."""
    if delivery.status is DeliveryStatus.DELIVERED:
        return NotificationState.SENT, 0.0
    if delivery.status is DeliveryStatus.MOOT:
        return NotificationState.DROPPED, 0.0
    delay_s = next_attempt_delay_s(row.attempts, jitter=random.random())  # noqa: S311
    if delivery.status is not DeliveryStatus.RETRY or delay_s is None:
        return NotificationState.FAILED, 0.0
    return NotificationState.PENDING, max(delay_s, delivery.after_s or 0.0)


def _key(row: OutboxRow) -> str:
    return str(row.body.get("notification_id"))
