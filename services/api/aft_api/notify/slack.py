"""Slack messages, through Slack's own client."""

import asyncio
from http.client import HTTPException
from urllib.parse import urlsplit
from urllib.request import proxy_bypass

from slack_sdk import WebClient
from slack_sdk.errors import SlackApiError, SlackClientError

from aft_api.clock import Clock, utc_now
from aft_api.notify.delivery import DELIVERED, Delivery, refused, try_again
from aft_api.notify.message import Notification
from aft_api.notify.retry_after import retry_after_s
from aft_api.notify.slack_blocks import blocks_of

TIMEOUT_S = 15
"""What one call may wait for Slack."""

PASSING_ERRORS = frozenset({"ratelimited", "rate_limited", "internal_error", "fatal_error", "service_unavailable",
                            "request_timeout", "team_added_to_org"})  # fmt: skip
"""Slack's error codes that another attempt may not meet."""


class SlackSender:
    """Posts notifications to a channel.

    slack_sdk's asynchronous client needs aiohttp; the plain one in a thread does without.
    """

    def __init__(self, token: str, base_url: str, *, clock: Clock = utc_now, timeout_s: int = TIMEOUT_S) -> None:
        # The outbox retries; the client's own retries would only hold its thread.
        self._client = WebClient(token=token, base_url=base_url, timeout=timeout_s, retry_handlers=[])
        if proxy_bypass(urlsplit(base_url).hostname or ""):
            self._client.proxy = None  # slack_sdk reads HTTPS_PROXY but not NO_PROXY
        self._clock = clock

    async def send(self, channel: str, notification: Notification) -> Delivery:
        """One attempt. Never raises for what Slack or the network does."""
        return await asyncio.to_thread(self._post, channel, notification)

    def _post(self, channel: str, notification: Notification) -> Delivery:
        try:
            self._client.chat_postMessage(
                channel=channel,
                text=f"{notification.run_name}: {notification.text}",
                blocks=blocks_of(notification),
                metadata={"event_type": "aft", "event_payload": {"notification_id": notification.notification_id}},
                unfurl_links=False,
            )
        except SlackApiError as error:
            return self._refusal(error)
        except (OSError, HTTPException) as error:
            return try_again(f"Slack is unreachable: {type(error).__name__}: {error}")
        except SlackClientError as error:
            return refused(f"Slack cannot be called: {error}")
        return DELIVERED

    def _refusal(self, error: SlackApiError) -> Delivery:
        response = error.response
        code, status = str(response.get("error")), int(response.status_code)
        if status == 429 or status >= 500 or code in PASSING_ERRORS:
            after_s = retry_after_s({name: str(value) for name, value in response.headers.items()}, self._clock())
            return try_again(f"Slack answered {status} {code}", after_s=after_s)
        return refused(f"Slack answered {code}")
