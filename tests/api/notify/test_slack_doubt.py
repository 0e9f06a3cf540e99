"""Slack when nobody knows: an answer of Slack's that is lost on its way, and a store that is too slow for a click."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from aft_api.clock import utc_now
from aft_api.db.engine import open_store
from aft_api.notify.answer import Answers
from aft_api.notify.errors import SlackClickOpen
from aft_api.notify.slack_clicks import SlackClicks
from aft_api.notify.slack_interaction import SlackClick
from aft_api.stop import Stop
from tests.api.conftest import Api
from tests.api.notify.conftest import SLACK, busy, question, waiting
from tests.slack_server import Fault, Slack, click, pressed, submitted
from tests.ticking import Ticks

pytestmark = pytest.mark.anyio
SLACK_WAITS_S = 3.0


async def status_of(api: Api, review_id: str) -> str:
    return str((await api.client.get(f"/reviews/{review_id}")).json()["status"])


async def test_post_whose_answer_is_lost_is_posted_again_and_the_one_that_is_known_is_edited(
    told_api: Api, slack: Slack
) -> None:
    slack.faults = [Fault(is_done=True)]
    run_id, review_id = await waiting(told_api, SLACK)
    await slack.until(lambda: len(slack.messages) == 2)
    lost, known = slack.messages
    assert lost.notification_id == known.notification_id, "whoever reads along can drop the double"
    assert (await told_api.command(run_id, "approve")).status_code == 202
    await told_api.until(run_id, "succeeded")
    await slack.until(lambda: len(slack.messages) == 3)
    assert (known.buttons, known.edits) == ({}, 1)
    assert slack.messages[2].thread_ts == known.ts
    [late] = await click(told_api.client, pressed("aft_reject", review_id))
    assert (late.status_code, late.content) == (200, b"")
    assert [text for _, text in slack.whispers if "already decided by local" in text], "the buttons of the other tell"


async def test_edit_whose_answer_is_lost_is_made_again_to_the_same_effect(told_api: Api, slack: Slack) -> None:
    run_id, _ = await waiting(told_api, SLACK)
    asked = await question(slack)
    slack.faults = [Fault(is_done=True)]
    await told_api.command(run_id, "approve")
    await slack.until(lambda: asked.edits == 2)
    await slack.until(lambda: len(slack.messages) == 2)
    assert slack.calls == ["chat.postMessage", "chat.update", "chat.update", "chat.postMessage"]
    assert "by local through api." in asked.words


async def test_click_that_the_store_is_too_slow_for_is_not_acknowledged_and_counts_all_the_same(
    told_api: Api, slack: Slack, ticks: Ticks
) -> None:
    run_id, review_id = await waiting(told_api, SLACK)
    asked = await question(slack)
    async with busy(told_api.app.state.store, run_id):
        began_s = ticks.lived_s
        [slow] = await click(told_api.client, pressed("aft_approve", review_id))
        assert ticks.lived_s - began_s < SLACK_WAITS_S
        assert (slow.status_code, slow.json()["code"]) == (503, "slack_click_open")
        await slack.until(lambda: [user for user, text in slack.whispers if "not on record yet" in text] == ["U1"])
        assert await status_of(told_api, review_id) == "open"
    await slack.until(lambda: asked.edits == 1)
    assert "by slack:U1 through slack." in asked.words
    await slack.until(lambda: ("U1", "Your answer is on record now.") in slack.whispers)


async def test_form_that_the_store_is_too_slow_for_stays_open_and_says_so(
    told_api: Api, slack: Slack, ticks: Ticks
) -> None:
    run_id, review_id = await waiting(told_api, SLACK)
    asked = await question(slack)
    async with busy(told_api.app.state.store, run_id):
        began_s = ticks.lived_s
        [slow] = await click(told_api.client, submitted(review_id, "go_on", "not today"))
        assert ticks.lived_s - began_s < SLACK_WAITS_S
        assert slow.json()["response_action"] == "errors"
        assert "not on record yet" in slow.json()["errors"]["choice"]
        assert await status_of(told_api, review_id) == "open"
    await slack.until(lambda: asked.edits == 1)


async def test_refusal_that_cannot_be_told_is_not_acknowledged(told_api: Api, slack: Slack) -> None:
    _, review_id = await waiting(told_api, SLACK)
    await question(slack)
    slack.faults = [Fault(error="user_not_in_channel")]
    [untold] = await click(told_api.client, pressed("aft_approve", review_id, user="U2"))
    assert (untold.status_code, untold.json()["code"]) == (503, "slack_clicker_not_told")
    assert "AFT_SLACK_APPROVERS" in untold.json()["detail"]


async def test_click_is_not_acknowledged_where_the_store_is_away(tmp_path: Path) -> None:
    away, stop = open_store(None, tmp_path), Stop()
    answers = Answers(store=away, clock=utc_now, on_answer=lambda _: None)
    clicks = SlackClicks(answers, None, ("U1",), stop)
    pressed_button = SlackClick(review_id="r", user_id="U1", choice="approve", channel="C1")
    in_form = replace(pressed_button, channel=None)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(clicks.run())
        await asyncio.sleep(0)
        with pytest.raises(SlackClickOpen, match="as long as the question has its buttons"):
            await clicks.acknowledge(pressed_button)
        told = await clicks.acknowledge(in_form)
        assert told is not None
        assert "not on record" in told["errors"]["choice"]
        stop.ask()
    await away.engine.dispose()
