"""Slack's incoming webhooks, for those without an app: messages with links, no threads and no edits."""

from collections.abc import Mapping
from urllib.parse import urlsplit
from urllib.request import proxy_bypass

import aiohttp
from slack_sdk.webhook.async_client import AsyncWebhookClient

from aft_api.clock import Clock, utc_now
from aft_api.notify.address import target_id_of
from aft_api.notify.delivery import DELIVERED, Delivery, DeliveryStatus, refused, try_again
from aft_api.notify.links import Links
from aft_api.notify.parcel import Parcel
from aft_api.notify.retry_after import retry_after_s
from aft_api.notify.slack import TIMEOUT_S
from aft_api.notify.slack_blocks import answered_blocks, linked_blocks
from aft_contracts import ReviewStatus

GONE_STATUSES = {404, 410}
"""no_service, channel_is_archived: the webhook was revoked, or its channel is closed."""


class SlackWebhookSender:
    """Posts notifications to incoming webhooks by their name in the settings: their URLs are secrets."""

    def __init__(
        self,
        urls: Mapping[str, str],
        links: Links | None,
        *,
        clock: Clock = utc_now,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        self._clients = {name: _client(url, timeout_s) for name, url in urls.items()}
        self._links, self._clock = links, clock

    async def send(self, parcel: Parcel) -> Delivery:
        """One attempt. Never raises for what Slack or the network does."""
        client = self._clients.get(parcel.address)
        if client is None:
            return refused(f"AFT_SLACK_WEBHOOKS has no {parcel.address!r}")
        message, review = parcel.message, parcel.review
        if review is not None and review.status is not ReviewStatus.OPEN:
            blocks = answered_blocks(message, review)
        else:
            blocks = linked_blocks(message, self._links, target_id_of("slack_webhook", parcel.address))
        try:
            answer = await client.send(text=f"{message.run_name}: {message.text}", blocks=blocks, unfurl_links=False)
        except (OSError, TimeoutError, aiohttp.ClientError, UnicodeDecodeError) as error:
            return try_again(f"Slack is unreachable: {type(error).__name__}")  # its words may hold the URL
        if answer.status_code == 200:
            return DELIVERED
        said = f"Slack answered {answer.status_code} {answer.body[:100]}"
        if answer.status_code in GONE_STATUSES:
            return Delivery(status=DeliveryStatus.GONE, reason=said)
        if answer.status_code == 429 or answer.status_code >= 500:
            headers = {name: str(value) for name, value in answer.headers.items()}
            return try_again(said, after_s=retry_after_s(headers, self._clock()))
        return refused(said)


def _client(url: str, timeout_s: float) -> AsyncWebhookClient:
    client = AsyncWebhookClient(url, timeout=timeout_s, retry_handlers=[])  # type: ignore[arg-type]
    if proxy_bypass(urlsplit(url).hostname or ""):
        client.proxy = None
    return client
