"""Messages that leave while a run is supervised: through the outbox, signed, and answered from Slack."""

import asyncio
import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest
from pydantic import SecretStr
from standardwebhooks import Webhook

from tests.api.conftest import Api, running_api, settings_for
from tests.api.notify.conftest import Receiver
from tests.simulated_worker import SimulatedWorker

pytestmark = pytest.mark.anyio
EARLY_POISON = "s54"
WEBHOOK_SECRET = "whsec_" + "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0"
SLACK_SECRET = "slack-signing-secret"


@pytest.fixture
async def told_api(
    tmp_path: Path, database_url: str | None, worker: SimulatedWorker, worker_url: str, receiver: Receiver
) -> AsyncIterator[Api]:
    """An API that may speak to a Slack and a webhook of ours."""
    receiver.body = b'{"ok": true}'
    settings = settings_for(
        tmp_path,
        database_url,
        worker_url,
        webhook_secret=SecretStr(WEBHOOK_SECRET),
        slack_token=SecretStr("xoxb-test"),
        slack_signing_secret=SecretStr(SLACK_SECRET),
        slack_base_url=receiver.url + "slack/",
        slack_approvers=("U1",),
    )
    async with running_api(settings, worker) as running:
        yield running


def click(review_id: str, user_id: str, *, secret: str = SLACK_SECRET) -> dict[str, Any]:
    """A signed click on Approve, as Slack sends it."""
    payload = {
        "type": "block_actions",
        "user": {"id": user_id},
        "actions": [{"action_id": "aft_approve", "value": review_id}],
    }
    body = urlencode({"payload": json.dumps(payload)}).encode()
    stamp = str(int(time.time()))
    signature = hmac.new(secret.encode(), f"v0:{stamp}:".encode() + body, hashlib.sha256).hexdigest()
    headers = {
        "X-Slack-Request-Timestamp": stamp,
        "X-Slack-Signature": f"v0={signature}",
        "Content-Type": "application/x-www-form-urlencoded",
    }
    return {"content": body, "headers": headers}


async def received(receiver: Receiver, path: str, count: int) -> list[Any]:
    """The first `count` requests to a path."""
    async with asyncio.timeout(20):
        while len(found := [request for request in receiver.received if request.path == path]) < count:
            await asyncio.sleep(0.05)
    return found


async def test_review_reaches_slack_and_webhook_and_a_click_resumes_the_run(told_api: Api, receiver: Receiver) -> None:
    told_api.worker.poison = {EARLY_POISON}
    run_id = await told_api.start(
        repair={"ask_before_rollback": True},
        notify={"webhooks": [receiver.url + "hook"], "slack_channel": "C1"},
    )
    review_id = (await told_api.until(run_id, "waiting"))["review_id"]
    [hook] = await received(receiver, "/hook", 1)
    assert Webhook(WEBHOOK_SECRET).verify(hook.body, hook.headers)["data"]["run_id"] == run_id
    [message] = await received(receiver, "/slack/chat.postMessage", 1)
    assert review_id in message.body.decode()

    async def press(**how: Any) -> tuple[int, str]:
        response: httpx.Response = await told_api.client.post("/slack/interactions", **click(review_id, **how))
        return response.status_code, response.json()["code"] if response.content else ""

    assert await press(user_id="U1", secret="another") == (401, "bad_slack_signature")
    assert await press(user_id="U2") == (403, "slack_user_not_allowed")
    assert await press(user_id="U1") == (200, "")
    assert await press(user_id="U1") == (409, "review_already_decided")
    await told_api.until(run_id, "succeeded")
    decided = (await told_api.client.get(f"/reviews/{review_id}")).json()
    assert decided["decided_by"] == "slack:U1"
    assert [json.loads(request.body)["type"] for request in await received(receiver, "/hook", 2)] == [
        "review_requested",
        "run_succeeded",
    ]


async def test_message_that_was_not_taken_is_sent_again_with_the_same_id(told_api: Api, receiver: Receiver) -> None:
    receiver.status = 503
    run_id = await told_api.start(notify={"webhooks": [receiver.url + "hook"]})
    await told_api.until(run_id, "succeeded")
    await received(receiver, "/hook", 1)
    receiver.status = 200
    first, second = await received(receiver, "/hook", 2)
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
