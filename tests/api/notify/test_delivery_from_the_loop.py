"""Messages that leave while a run is supervised: through the outbox, and answered from Slack, a link or elsewhere."""

import asyncio
import json
import re
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from standardwebhooks import Webhook

from tests.api.conftest import Api
from tests.api.notify.conftest import SLACK, WEBHOOK_SECRET, Receiver, question, waiting
from tests.slack_server import Fault, Message, Slack, click, pressed, submitted

pytestmark = pytest.mark.anyio


async def received(receiver: Receiver, path: str, count: int) -> list[Any]:
    """The first `count` requests to a path."""
    async with asyncio.timeout(30):
        while len(found := [request for request in receiver.received if request.path == path]) < count:
            await asyncio.sleep(0.05)
    return found


async def test_review_reaches_slack_and_a_click_answers_it_once(told_api: Api, slack: Slack) -> None:
    run_id, review_id = await waiting(told_api, SLACK)
    asked = await question(slack)
    assert asked.buttons == {"aft_approve": review_id, "aft_edit": review_id, "aft_reject": review_id}
    assert f"http://aft.example/runs/{run_id}" in asked.words

    approve = pressed("aft_approve", review_id)
    for how in ({"secret": "another"}, {"age_s": 400.0}):
        [refused] = await click(told_api.client, approve, **how)
        assert (refused.status_code, refused.json()["code"]) == (401, "bad_slack_signature")
    [stranger] = await click(told_api.client, pressed("aft_approve", review_id, user="U2"))
    assert (stranger.status_code, stranger.content) == (200, b"")
    assert [user for user, text in slack.whispers if "AFT_SLACK_APPROVERS" in text] == ["U2"]
    assert (await told_api.client.get(f"/reviews/{review_id}")).json()["status"] == "open"

    acknowledged = await click(told_api.client, approve, times=3)
    assert [one.status_code for one in acknowledged] == [200, 200, 200]
    await told_api.until(run_id, "succeeded")
    decided = (await told_api.client.get(f"/reviews/{review_id}")).json()
    assert (decided["decided_by"], decided["decided_via"]) == ("slack:U1", "slack")
    commands = (await told_api.client.get(f"/runs/{run_id}/commands")).json()["commands"]
    assert [one["status"] for one in commands if one["given_by"] == "slack:U1"].count("applied") == 1
    await slack.until(lambda: len(slack.messages) == 2)
    assert (asked.buttons, asked.edits) == ({}, 1)
    assert "by slack:U1 through slack." in asked.words
    assert slack.messages[1].thread_ts == asked.ts, "the run's end stands in its thread"


async def test_decision_by_the_api_edits_the_message(told_api: Api, slack: Slack) -> None:
    run_id, review_id = await waiting(told_api, SLACK)
    asked = await question(slack)
    assert (await told_api.command(run_id, "reject", review_id=review_id)).status_code == 202
    await slack.until(lambda: asked.edits == 1)
    assert asked.buttons == {}
    assert "by local through api." in asked.words
    [late] = await click(told_api.client, pressed("aft_approve", review_id))
    assert late.status_code == 200
    assert [user for user, text in slack.whispers if "already decided by local" in text] == ["U1"]


async def test_decision_by_the_deadline_edits_the_message(told_api: Api, slack: Slack) -> None:
    await waiting(told_api, SLACK, reviews={"deadline_s": 3, "on_deadline": "stop"})
    asked = await question(slack)
    await slack.until(lambda: asked.edits == 1)
    assert asked.buttons == {}
    assert "by deadline through" in asked.words


async def test_run_that_ends_takes_its_question_back(told_api: Api, slack: Slack) -> None:
    run_id, _ = await waiting(told_api, SLACK)
    asked = await question(slack)
    assert (await told_api.command(run_id, "stop")).status_code == 202
    await told_api.until(run_id, "stopped")
    await slack.until(lambda: asked.edits == 1)
    assert asked.buttons == {}


async def test_edit_opens_a_modal_whose_choice_is_the_answer(told_api: Api, slack: Slack) -> None:
    run_id, review_id = await waiting(told_api, SLACK)
    await question(slack)
    [opened] = await click(told_api.client, pressed("aft_edit", review_id))
    assert opened.status_code == 200
    [view] = slack.views
    [choice] = [block["element"] for block in view["blocks"] if block.get("block_id") == "choice"]
    options = [option["value"] for option in choice["options"]]
    assert "go_on" in options
    [wrong] = await click(told_api.client, submitted(review_id, "dance"))
    assert wrong.json()["response_action"] == "errors"
    [stranger] = await click(told_api.client, submitted(review_id, "go_on", user="U2"))
    assert "AFT_SLACK_APPROVERS" in stranger.json()["errors"]["choice"]
    [taken] = await click(told_api.client, submitted(review_id, "go_on", "not today"))
    assert (taken.status_code, taken.content) == (200, b"")
    decided = (await told_api.client.get(f"/reviews/{review_id}")).json()
    assert (decided["decision"]["option"], decided["decision"]["message"]) == ("go_on", "not today")
    await told_api.until(run_id, "succeeded")


async def test_slack_that_is_slow_limits_the_rate_and_fails_gets_the_message_all_the_same(
    told_api: Api, slack: Slack
) -> None:
    slack.faults = [Fault(status=429, headers={"Retry-After": "1"}, error="ratelimited", delay_s=0.5)]
    await waiting(told_api, SLACK)
    asked = await question(slack)
    assert slack.calls == ["chat.postMessage", "chat.postMessage"]
    assert len(asked.buttons) == 3


async def test_webhook_is_signed_and_hears_question_answer_and_end_in_order(told_api: Api, receiver: Receiver) -> None:
    run_id, review_id = await waiting(told_api, {"webhooks": [receiver.url + "hook"]})
    [hook] = await received(receiver, "/hook", 1)
    assert Webhook(WEBHOOK_SECRET).verify(hook.body, hook.headers)["data"]["run_id"] == run_id
    link = urlsplit(json.loads(hook.body)["answer_url"])
    assert link.netloc == "aft.example"
    await answer_by_link(told_api.client, link.path, review_id)
    await told_api.until(run_id, "succeeded")
    assert [json.loads(request.body)["type"] for request in await received(receiver, "/hook", 3)] == [
        "review_requested",
        "review_decided",
        "run_succeeded",
    ]


async def answer_by_link(client: httpx.AsyncClient, path: str, review_id: str) -> None:
    for _ in range(2):
        page = await client.get(path)
        assert page.status_code == 200
    assert "script" not in page.text
    assert page.headers["cache-control"] == "no-store"
    assert "frame-ancestors 'none'" in page.headers["content-security-policy"]
    assert (await client.get(f"/reviews/{review_id}")).json()["status"] == "open", "a GET decides nothing"
    assert (await client.post(path, data={"message": "?"})).status_code == 422
    taken = await client.post(path, data={"choice": "approve", "message": "fine"})
    assert (taken.status_code, "Your answer was taken" in taken.text) == (200, True)
    decided = (await client.get(f"/reviews/{review_id}")).json()
    assert (decided["decision"]["answer"], decided["decided_via"]) == ("approve", "link")
    for again in (await client.get(path), await client.post(path, data={"choice": "reject"})):
        assert (again.status_code, "This link has been used" in again.text) == (409, True)
    changed = await client.post(path[:-3] + "abc", data={"choice": "reject"})
    assert (changed.status_code, "AFT_LINK_SECRET" in changed.text) == (404, True)


async def test_incoming_webhook_has_buttons_that_are_links(told_api: Api, slack: Slack) -> None:
    run_id, review_id = await waiting(told_api, {"slack_webhook": "team"})
    await slack.until(lambda: bool(slack.hooked))
    buttons = Message(channel="", ts="", text="", thread_ts=None, blocks=slack.hooked[0]["blocks"]).buttons
    assert set(buttons) == {"aft_approve", "aft_edit", "aft_reject"}
    link = urlsplit(buttons["aft_reject"])
    page = await told_api.client.get(f"{link.path}?{link.query}")
    assert re.search(r'value="go_on" required checked', page.text)
    pressed_link = pressed("aft_reject", review_id)
    pressed_link["actions"][0]["url"] = buttons["aft_reject"]
    [ignored] = await click(told_api.client, pressed_link)
    assert ignored.status_code == 200
    assert (await told_api.client.get(f"/reviews/{review_id}")).json()["status"] == "open"
    await told_api.client.post(link.path, data={"choice": "go_on"})
    await told_api.until(run_id, "succeeded")
    await slack.until(lambda: len(slack.hooked) == 3)


async def test_nobody_answers_and_somebody_else_is_asked(told_api: Api, slack: Slack, receiver: Receiver) -> None:
    notify = {"webhooks": [receiver.url + "hook"], "escalation": {"slack_channel": "C2", "after_s": 1}}
    run_id, review_id = await waiting(told_api, notify)
    asked = await question(slack)
    assert (asked.channel, set(asked.buttons.values())) == ("C2", {review_id})
    assert "Nobody has answered for 1 s." in asked.words
    async with asyncio.timeout(30):
        while not (events := await told_api.events(run_id, "review_escalated")):
            await asyncio.sleep(0.05)  # noted when Slack has taken it
    [event] = events
    assert event["details"]["review_id"] == review_id
    await told_api.command(run_id, "approve")
    await slack.until(lambda: asked.edits == 1)


async def test_target_that_is_gone_is_disabled_shown_and_enabled_again(told_api: Api, receiver: Receiver) -> None:
    receiver.status = 410
    run_id = await told_api.start(notify={"webhooks": [receiver.url + "hook?key=secret"]})
    await told_api.until(run_id, "succeeded")
    async with asyncio.timeout(30):
        while not (found := (await told_api.client.get("/notifications/targets")).json()["targets"]):
            await asyncio.sleep(0.05)
    [target] = found
    assert (target["target"], target["reason"]) == (receiver.url + "hook?…", "answered 410")
    failed = (await told_api.client.get("/notifications", params={"state": "failed"})).json()["notifications"]
    assert "secret" not in json.dumps(failed)
    seq = failed[0]["seq"]
    refused = await told_api.client.post(f"/notifications/{seq}/replay")
    assert (refused.status_code, refused.json()["code"]) == (409, "target_disabled")
    receiver.status = 204
    enabled = await told_api.client.post(f"/notifications/targets/{target['target_id']}/enable")
    assert enabled.json() == {"targets": []}
    assert (await told_api.client.post("/notifications/replay")).json() == {"replayed": 1}
    first, again = await received(receiver, "/hook?key=secret", 2)
    assert first.headers["webhook-id"] == again.headers["webhook-id"]


async def test_message_that_was_not_taken_is_sent_again_with_the_same_id(told_api: Api, receiver: Receiver) -> None:
    receiver.status = 503
    run_id = await told_api.start(notify={"webhooks": [receiver.url + "hook"]})
    await told_api.until(run_id, "succeeded")
    await received(receiver, "/hook", 1)
    receiver.status = 200
    first, second = await received(receiver, "/hook", 2)
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
