"""The dispatcher: takes due messages from the outbox and sends them."""

import random
from dataclasses import dataclass

import structlog

from aft_api.db.engine import STORE_ERRORS, Store
from aft_api.db.tables import OutboxRow
from aft_api.notify.backoff import next_attempt_delay_s
from aft_api.notify.delivery import Delivery, DeliveryStatus
from aft_api.notify.message import Notification
from aft_api.notify.outbox import fetch_due, settle
from aft_api.notify.slack import SlackSender
from aft_api.notify.webhook import WebhookSender
from aft_api.stop import Stop

log = structlog.get_logger()
EVERY_S = 1.0
BATCH = 50


@dataclass(frozen=True, kw_only=True)
class Dispatcher:
    """Sends what the outbox holds, at least once."""

    store: Store
    webhook: WebhookSender
    slack: SlackSender | None
    stop: Stop

    async def run(self) -> None:
        """Send until the stop is asked for; what was begun is finished, so that nobody gets it twice for that."""
        while not self.stop.is_asked:
            try:
                sent = await self.send_due()
            except STORE_ERRORS:
                log.exception("outbox_unreadable")
                sent = 0
            if sent < BATCH:
                await self.stop.sleep(EVERY_S)

    async def send_due(self) -> int:
        """Send what is due now; how many messages that was."""
        rows = await fetch_due(self.store, limit=BATCH)
        for row in rows:
            await self._settle(row, await self._send(row))
        return len(rows)

    async def _send(self, row: OutboxRow) -> Delivery:
        message = Notification.model_validate(row.body)
        if row.channel == "webhook":
            return await self.webhook.send(row.address, message)
        if self.slack is None:
            return Delivery(status=DeliveryStatus.REFUSED, reason="AFT_SLACK_TOKEN is not set")
        return await self.slack.send(row.address, message)

    async def _settle(self, row: OutboxRow, delivery: Delivery) -> None:
        log.info("notification_attempted", key=row.key, status=delivery.status, reason=delivery.reason)
        if delivery.status is DeliveryStatus.DELIVERED:
            await settle(self.store, row.seq, status="delivered")
            return
        delay_s = next_attempt_delay_s(row.attempts + 1, jitter=random.random())  # noqa: S311
        if delivery.status is not DeliveryStatus.RETRY or delay_s is None:
            await settle(self.store, row.seq, status="failed", error=delivery.reason)
            return
        await settle(
            self.store, row.seq, status="pending", error=delivery.reason,
            retry_in_s=max(delay_s, delivery.after_s or 0.0),
        )  # fmt: skip
