"""Clicks: genuine, tampered with, replayed, garbled."""

import json
from datetime import UTC, datetime, timedelta
from urllib.parse import urlencode

import pytest
from slack_sdk.signature import SignatureVerifier

from aft_api.notify.slack_interaction import (
    BadSlackSignature,
    SlackClick,
    SlackUserNotAllowed,
    UnreadableSlackClick,
    parse,
    verify,
)

SECRET = "8f742231b10e8888abcd99yyyzzz85a5"
NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def click(action_id: str = "aft_approve", **changes: object) -> bytes:
    payload = {
        "type": "block_actions",
        "user": {"id": "U1"},
        "actions": [{"action_id": action_id, "value": "run1:0:4:d:review"}],
    } | changes
    return urlencode({"payload": json.dumps(payload)}).encode()


def signed(body: bytes, *, at: datetime = NOW, secret: str = SECRET) -> dict[str, str]:
    timestamp = str(int(at.timestamp()))
    signature = SignatureVerifier(secret).generate_signature(timestamp=timestamp, body=body)
    assert signature is not None
    return {"X-Slack-Request-Timestamp": timestamp, "x-slack-signature": signature}


@pytest.mark.parametrize("age_s", [0, 299, -299])
def test_a_genuine_click_is_let_through(age_s: int) -> None:
    assert verify(click(), signed(click(), at=NOW - timedelta(seconds=age_s)), SECRET, NOW) is None


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        pytest.param(click("aft_reject"), signed(click()), id="tampered-body"),
        pytest.param(click(), signed(click(), secret="another"), id="another-secret"),
        pytest.param(click(), signed(click(), at=NOW - timedelta(seconds=301)), id="replayed-later"),
        pytest.param(click(), signed(click(), at=NOW + timedelta(seconds=301)), id="from-the-future"),
        pytest.param(click(), {}, id="no-headers"),
        pytest.param(click(), signed(click()) | {"X-Slack-Request-Timestamp": "yesterday"}, id="timestamp-in-words"),
        pytest.param(click(), signed(click()) | {"X-Slack-Request-Timestamp": "9" * 400}, id="endless-timestamp"),
        pytest.param(click(), signed(click()) | {"X-Slack-Request-Timestamp": "9" * 5000}, id="too-long-timestamp"),
        pytest.param(click(), signed(click()) | {"X-Slack-Request-Timestamp": ""}, id="empty-timestamp"),
        pytest.param(click(), signed(click()) | {"x-slack-signature": "v0=ü"}, id="signature-not-ascii"),
        pytest.param(b"\xff\xfe", signed(click()), id="body-not-utf8"),
    ],
)
def test_anything_else_is_refused_with_401(body: bytes, headers: dict[str, str]) -> None:
    with pytest.raises(BadSlackSignature) as refusal:
        verify(body, headers, SECRET, NOW)
    assert refusal.value.status == 401


@pytest.mark.parametrize(
    ("action_id", "choice"), [("aft_approve", "approve"), ("aft_edit", None), ("aft_reject", "reject")]
)
def test_a_click_says_who_answered_what(action_id: str, choice: str | None) -> None:
    body = click(action_id, channel={"id": "C1"}, trigger_id="t")
    assert parse(body) == SlackClick(
        review_id="run1:0:4:d:review", choice=choice, user_id="U1", channel="C1", trigger_id="t"
    )


def modal(**view: object) -> bytes:
    values = {"choice": {"choice": {"selected_option": {"value": "go_on"}}}, "message": {"message": {"value": None}}}
    whole = {"callback_id": "aft_edit", "private_metadata": "r1", "state": {"values": values}} | view
    return urlencode({"payload": json.dumps({"type": "view_submission", "user": {"id": "U1"}, "view": whole})}).encode()


def test_a_modal_says_which_option_was_chosen() -> None:
    assert parse(modal()) == SlackClick(review_id="r1", choice="go_on", user_id="U1")


def test_a_button_that_is_a_link_answers_nothing() -> None:
    assert parse(click(actions=[{"action_id": "aft_approve", "value": "r1", "url": "http://aft/answer/x"}])) is None


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"payload=",
        b"payload=[]",
        b"payload=%7B%7D",
        b"\xff",
        click("someone_elses_button"),
        click(actions=[]),
        click(actions=None),
        click(user=None),
        click(actions=["text"]),
        modal(callback_id="another"),
        modal(state={}),
        modal(state=None),
        modal(private_metadata="r1", state={"values": {"choice": {"choice": {"selected_option": None}}}}),
    ],
)
def test_a_body_without_our_click_is_unreadable(body: bytes) -> None:
    with pytest.raises(UnreadableSlackClick):
        parse(body)


def test_a_stranger_is_told_how_to_be_let_in() -> None:
    assert SlackUserNotAllowed("U9").problem.status == 403
    assert "AFT_SLACK_APPROVERS" in str(SlackUserNotAllowed("U9"))
