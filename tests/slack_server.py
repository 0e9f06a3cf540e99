"""A Slack on loopback: the methods of its Web API that we call, incoming webhooks, and users who click.

It keeps what it was told as Slack does: messages by channel and `ts`, edits in place. It can be slow, fail, limit the
rate, and send a click twice. Clicks are real requests with real signatures.
"""

import asyncio
import hashlib
import hmac
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

import httpx
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse

TOKEN, SIGNING_SECRET, HOOK_PATH = "xoxb-test", "slack-signing-secret", "services/T1/B1/secret"
METHODS = {"chat.postMessage", "chat.update", "chat.postEphemeral", "views.open"}


@dataclass(kw_only=True)
class Fault:
    """What happens to the next call instead."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    error: str | None = None
    delay_s: float = 0.0
    is_done: bool = False
    """Whether the call has its effect all the same: the answer is what breaks off on its way."""


@dataclass(kw_only=True)
class Message:
    """A message in a channel, as it reads now."""

    channel: str
    ts: str
    text: str
    blocks: list[dict[str, Any]]
    thread_ts: str | None
    notification_id: str = ""
    edits: int = 0

    @property
    def words(self) -> str:
        """Everything it says."""
        return json.dumps(self.blocks)

    @property
    def buttons(self) -> dict[str, str]:
        """What its buttons carry, by their action."""
        return {
            button["action_id"]: button.get("url", button["value"])
            for block in self.blocks
            if block["type"] == "actions"
            for button in block["elements"]
        }


@dataclass(kw_only=True)
class Slack:
    """What it knows, and who clicks."""

    messages: list[Message] = field(default_factory=list)
    whispers: list[tuple[str, str]] = field(default_factory=list)
    """(user, text) of messages that only one user sees."""
    views: list[dict[str, Any]] = field(default_factory=list)
    """Modals that were opened."""
    hooked: list[dict[str, Any]] = field(default_factory=list)
    """Messages through the incoming webhook."""
    calls: list[str] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)

    async def until(self, condition: Callable[[], bool], *, within_s: float = 40.0) -> None:
        """Wait until something is so."""
        async with asyncio.timeout(within_s):
            while not condition():
                await asyncio.sleep(0.02)

    def call(self, method: str, body: dict[str, Any]) -> dict[str, Any]:
        """The effect and the answer of a call."""
        match method:
            case "chat.postMessage":
                ts = f"1700000000.{len(self.messages) + 1:06}"
                self.messages.append(
                    Message(
                        channel=body["channel"],
                        ts=ts,
                        text=body["text"],
                        blocks=body["blocks"],
                        thread_ts=body.get("thread_ts"),
                        notification_id=body["metadata"]["event_payload"]["notification_id"],
                    )
                )
                return {"ok": True, "channel": body["channel"], "ts": ts}
            case "chat.update":
                found = [one for one in self.messages if (one.channel, one.ts) == (body["channel"], body["ts"])]
                if not found:
                    return {"ok": False, "error": "message_not_found"}
                found[0].text, found[0].blocks, found[0].edits = body["text"], body["blocks"], found[0].edits + 1
                return {"ok": True, "channel": body["channel"], "ts": body["ts"]}
            case "chat.postEphemeral":
                self.whispers.append((body["user"], body["text"]))
                return {"ok": True, "message_ts": "1.0"}
            case "views.open":
                if body["trigger_id"] != "trigger":
                    return {"ok": False, "error": "expired_trigger_id"}
                self.views.append(body["view"])
                return {"ok": True, "view": {"id": f"V{len(self.views)}"}}
        raise AssertionError(method)


def slack_app(slack: Slack) -> FastAPI:
    """The server."""
    app = FastAPI()

    @app.post("/api/{method}")
    async def call(method: str, request: Request) -> Response:
        if method not in METHODS:
            return JSONResponse({"ok": False, "error": "unknown_method"})
        if request.headers.get("authorization") != f"Bearer {TOKEN}":
            return JSONResponse({"ok": False, "error": "invalid_auth"})
        slack.calls.append(method)
        body = await request.json()
        fault = slack.faults.pop(0) if slack.faults else None
        if fault is None:
            return JSONResponse(slack.call(method, body))
        await asyncio.sleep(fault.delay_s)
        if fault.is_done:
            return JSONResponse(slack.call(method, body), headers={"Content-Length": "1000"})  # and there is less
        answer = {"ok": False, "error": fault.error or "internal_error"}
        return JSONResponse(answer, status_code=fault.status, headers=fault.headers)

    @app.post(f"/{HOOK_PATH}")
    async def hook(request: Request) -> Response:
        fault = slack.faults.pop(0) if slack.faults else None
        if fault is not None:
            return PlainTextResponse(fault.error or "", status_code=fault.status, headers=fault.headers)
        slack.hooked.append(await request.json())
        return PlainTextResponse("ok")

    return app


def signed(payload: dict[str, Any], *, secret: str = SIGNING_SECRET, age_s: float = 0.0) -> dict[str, Any]:
    """The body and headers of a click, as httpx takes them."""
    body = urlencode({"payload": json.dumps(payload)}).encode()
    stamp = str(int(time.time() - age_s))
    signature = hmac.new(secret.encode(), f"v0:{stamp}:".encode() + body, hashlib.sha256).hexdigest()
    return {
        "content": body,
        "headers": {
            "X-Slack-Request-Timestamp": stamp,
            "X-Slack-Signature": f"v0={signature}",
            "Content-Type": "application/x-www-form-urlencoded",
        },
    }


def pressed(action_id: str, review_id: str, *, user: str = "U1", trigger: str = "trigger") -> dict[str, Any]:
    """The payload of a press on a button below a message."""
    return {
        "type": "block_actions",
        "user": {"id": user},
        "channel": {"id": "C1"},
        "trigger_id": trigger,
        "actions": [{"action_id": action_id, "value": review_id}],
    }


def submitted(review_id: str, choice: str, message: str = "", *, user: str = "U1") -> dict[str, Any]:
    """The payload of a modal that is sent off."""
    state = {"choice": {"choice": {"selected_option": {"value": choice}}}, "message": {"message": {"value": message}}}
    view = {"callback_id": "aft_edit", "private_metadata": review_id, "state": {"values": state}}
    return {"type": "view_submission", "user": {"id": user}, "view": view}


async def click(client: httpx.AsyncClient, payload: dict[str, Any], *, times: int = 1, **how: Any) -> list[Any]:
    """Slack tells of a click, so many times at once; the responses."""
    request = signed(payload, **how)
    return list(await asyncio.gather(*(client.post("/slack/interactions", **request) for _ in range(times))))
