"""Webhooks, signed as Standard Webhooks 1.0.0 says."""

import asyncio
from datetime import datetime
from http import HTTPStatus

import httpx
from pydantic import BaseModel, ConfigDict

from aft_api.clock import Clock, utc_now
from aft_api.notify.address import target_id_of
from aft_api.notify.delivery import DELIVERED, Delivery, DeliveryStatus, refused, try_again
from aft_api.notify.links import Links
from aft_api.notify.message import Notification
from aft_api.notify.outgoing import TargetRefused
from aft_api.notify.parcel import Parcel
from aft_api.notify.retry_after import retry_after_s
from aft_api.notify.webhook_secrets import WebhookSecrets
from aft_contracts import EventKind, ReviewStatus

TIMEOUT_S = 15.0
"""What an attempt may take in all, from connecting to the status line."""


class WebhookPayload(BaseModel):
    """The body of a webhook."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    type: EventKind
    """What happened."""
    timestamp: datetime
    """When it happened; the time of the attempt is in the header."""
    data: Notification
    """The notification."""
    answer_url: str | None = None
    """Page where the question is answered, once, by whoever has this address; None without a question or a secret."""


class WebhookSender:
    """Posts notifications; an answer of 2xx delivers one, and nothing else does.

    `secrets` signs them; where it has none they are sent unsigned. Redirects are not followed: a signed body goes only
    where the run's owner said.
    """

    def __init__(
        self,
        client: httpx.AsyncClient,
        secrets: WebhookSecrets,
        links: Links | None = None,
        *,
        clock: Clock = utc_now,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        self._client = client
        self._secrets = secrets
        self._links = links
        self._clock = clock
        self._timeout_s = timeout_s

    async def send(self, parcel: Parcel) -> Delivery:
        """One attempt. Never raises for what the receiver or the network does."""
        url, notification = parcel.address, parcel.message
        payload = WebhookPayload(
            type=notification.kind,
            timestamp=notification.at,
            data=notification,
            answer_url=self._answer_url(parcel),
        )
        body = payload.model_dump_json()
        try:
            async with (
                asyncio.timeout(self._timeout_s),
                self._client.stream(
                    "POST",
                    url,
                    content=body.encode(),
                    headers=self._headers(url, notification.notification_id, body),
                    follow_redirects=False,
                    timeout=self._timeout_s,
                ) as response,
            ):
                return self._judge(response)
        except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
            return refused(f"{url!r} is no URL that can be posted to: {error}")
        except TargetRefused as error:
            return refused(str(error))
        except (TimeoutError, httpx.TimeoutException):
            return try_again(f"no answer within {self._timeout_s:g} s")
        except httpx.HTTPError as error:
            return try_again(f"unreachable: {type(error).__name__}: {error}")

    def _answer_url(self, parcel: Parcel) -> str | None:
        # From the message as it was written, so that every attempt has the same body.
        review = parcel.message.review
        if self._links is None or review is None or review.status is not ReviewStatus.OPEN:
            return None
        return self._links.url(review, target_id_of("webhook", parcel.address))

    def _headers(self, url: str, notification_id: str, body: str) -> dict[str, str]:
        now = self._clock()
        signature = self._secrets.signature(url, notification_id, now, body)
        return {
            "content-type": "application/json",
            "webhook-id": notification_id,
            "webhook-timestamp": str(int(now.timestamp())),
        } | ({} if signature is None else {"webhook-signature": signature})

    def _judge(self, response: httpx.Response) -> Delivery:
        """The body is not read: only the status speaks."""
        if response.is_success:
            return DELIVERED
        status = f"answered {response.status_code}"
        if response.status_code == HTTPStatus.GONE:
            return Delivery(status=DeliveryStatus.GONE, reason=status)
        return try_again(status, after_s=retry_after_s(response.headers, self._clock()))
