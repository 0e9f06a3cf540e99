"""Webhooks, signed as Standard Webhooks 1.0.0 says."""

import asyncio
from datetime import datetime
from http import HTTPStatus

import httpx
from pydantic import BaseModel, ConfigDict
from standardwebhooks import Webhook
from standardwebhooks.webhooks import EmptyWebhookSecretError

from aft_api.clock import Clock, utc_now
from aft_api.notify.delivery import DELIVERED, Delivery, DeliveryStatus, refused, try_again
from aft_api.notify.message import Notification
from aft_api.notify.outgoing import TargetRefused
from aft_api.notify.retry_after import retry_after_s
from aft_contracts import EventKind

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


class WebhookSender:
    """Posts notifications; an answer of 2xx delivers one, and nothing else does.

    `secret` (`whsec_…`) signs them; None sends them unsigned. Redirects are not followed: a signed body goes only where
    the run's owner said.
    """

    def __init__(
        self, client: httpx.AsyncClient, secret: str | None, *, clock: Clock = utc_now, timeout_s: float = TIMEOUT_S
    ) -> None:
        self._client = client
        self._signer = None if secret is None else _signer(secret)
        self._clock = clock
        self._timeout_s = timeout_s

    async def send(self, url: str, notification: Notification) -> Delivery:
        """One attempt. Never raises for what the receiver or the network does."""
        payload = WebhookPayload(type=notification.kind, timestamp=notification.at, data=notification)
        body = payload.model_dump_json()
        try:
            async with (
                asyncio.timeout(self._timeout_s),
                self._client.stream(
                    "POST",
                    url,
                    content=body.encode(),
                    headers=self._headers(notification.notification_id, body),
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

    def _headers(self, notification_id: str, body: str) -> dict[str, str]:
        now = self._clock()
        headers = {
            "content-type": "application/json",
            "webhook-id": notification_id,
            "webhook-timestamp": str(int(now.timestamp())),
        }
        if self._signer is not None:
            headers["webhook-signature"] = self._signer.sign(notification_id, now, body)
        return headers

    def _judge(self, response: httpx.Response) -> Delivery:
        """The body is not read: only the status speaks."""
        if response.is_success:
            return DELIVERED
        status = f"answered {response.status_code}"
        if response.status_code == HTTPStatus.GONE:
            return Delivery(status=DeliveryStatus.GONE, reason=status)
        return try_again(status, after_s=retry_after_s(response.headers, self._clock()))


def _signer(secret: str) -> Webhook:
    try:
        return Webhook(secret)
    except (ValueError, EmptyWebhookSecretError) as error:
        raise ValueError("The webhook secret (AFT_WEBHOOK_SECRET) must be `whsec_` and base64.") from error
