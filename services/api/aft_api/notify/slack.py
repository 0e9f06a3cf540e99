"""Slack messages, through Slack's own client: posted in a thread per run, edited when their question is decided."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit
from urllib.request import proxy_bypass

import aiohttp
from slack_sdk.errors import SlackApiError, SlackClientError
from slack_sdk.web.async_client import AsyncWebClient

from aft_api.clock import Clock, utc_now
from aft_api.notify.delivery import Delivery, DeliveryStatus, Receipt, refused, try_again
from aft_api.notify.message import Notification
from aft_api.notify.parcel import Parcel
from aft_api.notify.retry_after import retry_after_s
from aft_api.notify.slack_blocks import answered_blocks, blocks_of
from aft_contracts import EventKind, ReviewStatus

TIMEOUT_S = 15.0
"""What one call may take in all."""

PASSING_ERRORS = frozenset({"ratelimited", "rate_limited", "internal_error", "fatal_error", "service_unavailable",
                            "request_timeout", "team_added_to_org"})  # fmt: skip
"""Slack's error codes that another attempt may not meet."""

GONE_ERRORS = frozenset({"message_not_found", "cant_update_message", "edit_window_closed"})
"""What chat.update says of a message that can be edited no more."""

UNREADABLE = (ValueError, TypeError, AttributeError, RecursionError)
"""What slack_sdk raises for an answer that is no JSON, no object, or nested without end."""


class SlackClient:
    """Slack's Web API, each call once: what failed is told, and the outbox tries again."""

    def __init__(self, token: str, base_url: str, *, clock: Clock = utc_now, timeout_s: float = TIMEOUT_S) -> None:
        # The client's own retries would only hold up others.
        self._client = AsyncWebClient(token=token, base_url=base_url, timeout=timeout_s, retry_handlers=[])  # type: ignore[arg-type]
        if proxy_bypass(urlsplit(base_url).hostname or ""):
            self._client.proxy = None  # slack_sdk reads HTTPS_PROXY but not NO_PROXY
        self._clock = clock

    async def call(self, method: str, body: Mapping[str, Any]) -> Mapping[str, Any] | Delivery:
        """Slack's answer, or why there is none. Never raises for what Slack or the network does."""
        try:
            answer = await self._client.api_call(method, json=dict(body))
        except SlackApiError as error:
            return self._refusal(error)
        except (OSError, TimeoutError, aiohttp.ClientError) as error:
            return try_again(f"Slack is unreachable: {type(error).__name__}: {error}")
        except UNREADABLE as error:
            return try_again(f"Slack's answer cannot be read: {type(error).__name__}")
        except SlackClientError as error:
            return refused(f"Slack cannot be called: {error}")
        found = answer.data
        return found if isinstance(found, dict) else try_again("Slack answered no JSON object")

    def _refusal(self, error: SlackApiError) -> Delivery:
        response = error.response
        status = int(getattr(response, "status_code", 0) or getattr(response, "status", 0))
        said = getattr(response, "data", None)
        code = str(said.get("error")) if isinstance(said, dict) else "no JSON"
        if status == 429 or status >= 500 or code in PASSING_ERRORS or code == "no JSON":
            headers = {name: str(value) for name, value in response.headers.items()}
            return try_again(f"Slack answered {status} {code}", after_s=retry_after_s(headers, self._clock()))
        return refused(f"Slack answered {code}")


class SlackSender:
    """Posts notifications to a channel: a run's messages in one thread, a decision into the message that asked."""

    def __init__(self, client: SlackClient) -> None:
        self._client = client

    async def send(self, parcel: Parcel) -> Delivery:
        """One attempt. Never raises for what Slack or the network does."""
        message, asked = parcel.message, parcel.question
        if message.kind in {EventKind.REVIEW_DECIDED, EventKind.REVIEW_WITHDRAWN} and asked is not None:
            edited = await self._edit(parcel, asked.message, asked.receipt)
            if edited is not None:
                return edited
        is_open = parcel.review is not None and parcel.review.status is ReviewStatus.OPEN
        blocks = blocks_of(message) if is_open or message.review is None else answered_blocks(message, parcel.review)
        thread: dict[str, Any] = {} if parcel.thread is None else {"thread_ts": parcel.thread["ts"]}
        if thread and is_open:
            thread["reply_broadcast"] = True  # a question must not be overlooked in a thread
        return await self._post(parcel.address, message, blocks, thread)

    async def _post(
        self, channel: str, message: Notification, blocks: list[dict[str, Any]], thread: Mapping[str, Any]
    ) -> Delivery:
        body = {
            "channel": channel,
            "text": f"{message.run_name}: {message.text}",
            "blocks": blocks,
            "metadata": {"event_type": "aft", "event_payload": {"notification_id": message.notification_id}},
            "unfurl_links": False,
            **thread,
        }
        answer = await self._client.call("chat.postMessage", body)
        if isinstance(answer, Delivery):
            return answer
        return Delivery(status=DeliveryStatus.DELIVERED, receipt=_receipt(answer, channel))

    async def _edit(self, parcel: Parcel, asked: Notification, receipt: Receipt) -> Delivery | None:
        """The outcome; None when the message cannot be edited any more, and a new one has to say it."""
        body = {
            "channel": receipt["channel"],
            "ts": receipt["ts"],
            "text": f"{asked.run_name}: {parcel.message.text}",
            "blocks": answered_blocks(asked, parcel.review),
        }
        answer = await self._client.call("chat.update", body)
        if not isinstance(answer, Delivery):
            return Delivery(status=DeliveryStatus.DELIVERED)
        return None if any(answer.reason.endswith(code) for code in GONE_ERRORS) else answer


def _receipt(answer: Mapping[str, Any], channel: str) -> Receipt | None:
    if not isinstance(answer.get("ts"), str):
        return None
    return {"channel": str(answer.get("channel", channel)), "ts": answer["ts"]}
