"""Slack messages against a server on loopback that speaks chat.postMessage."""

import asyncio
import json
import socket

import pytest

from aft_api.notify.delivery import Delivery, DeliveryStatus
from aft_api.notify.parcel import Parcel
from aft_api.notify.slack import SlackClient, SlackSender
from aft_contracts import EventKind


def post(base_url: str, notification, **settings) -> Delivery:
    sender = SlackSender(SlackClient("xoxb-token", base_url, **settings))
    parcel = Parcel(address="C123", message=notification, review=notification.review)
    return asyncio.run(sender.send(parcel))


@pytest.fixture
def slack(receiver):
    receiver.body = json.dumps({"ok": True, "channel": "C123", "ts": "1.2"}).encode()
    receiver.headers = {"content-type": "application/json"}
    return receiver


def test_a_review_arrives_with_evidence_link_and_buttons_that_carry_only_its_id(slack, notification) -> None:
    assert post(slack.url, notification()).status is DeliveryStatus.DELIVERED
    (got,) = slack.received
    body = json.loads(got.body)
    assert (got.path, got.headers["authorization"], body["channel"]) == (
        "/chat.postMessage",
        "Bearer xoxb-token",
        "C123",
    )
    assert body["metadata"]["event_payload"] == {"notification_id": notification().notification_id}
    told, figures, asked, options, actions, links = body["blocks"]
    assert told["text"]["text"].endswith("\nStep 44 was withheld &amp; needs a look.")
    assert "<http://aft.example/runs/run1|tune &lt;the&gt; model>" in told["text"]["text"]
    assert [field["text"] for field in figures["fields"]] == ["*step*\n44", "*score*\ninf"]
    assert asked["text"]["text"] == "Verdict data. Blacklisting chat-17 &lt;b&gt; &amp; more. Approve?"
    assert "*go_on* (recommended): Changes nothing &amp; trains on." in options["text"]["text"]
    assert [(button["action_id"], button["value"], button.get("style")) for button in actions["elements"]] == [
        ("aft_approve", "run1:0:4:d:review", "primary"),
        ("aft_edit", "run1:0:4:d:review", None),
        ("aft_reject", "run1:0:4:d:review", "danger"),
    ]
    assert "http://aft.example/reviews/run1:0:4:d:review" in links["elements"][0]["text"]


def test_an_ending_is_told_without_buttons(slack, notification) -> None:
    post(slack.url, notification(kind=EventKind.RUN_SUCCEEDED, review=None, review_url=None, details={}))
    blocks = json.loads(slack.received[0].body)["blocks"]
    assert [block["type"] for block in blocks] == ["section"]


def test_nothing_is_longer_than_slack_allows(slack, notification, review) -> None:
    endless = "x" * 10_000
    details = {f"figure{number}": endless for number in range(30)}
    post(slack.url, notification(text=endless, details=details, review=review.model_copy(update={"question": endless})))
    told, figures, *_ = json.loads(slack.received[0].body)["blocks"]
    assert len(told["text"]["text"]) <= 3000
    assert len(figures["fields"]) <= 10
    assert max(len(field["text"]) for field in figures["fields"]) <= 2000


@pytest.mark.parametrize(
    ("status", "headers", "body", "expected", "after_s"),
    [
        (429, {"retry-after": "9"}, {"ok": False, "error": "ratelimited"}, DeliveryStatus.RETRY, 9.0),
        (500, {}, {"ok": False}, DeliveryStatus.RETRY, None),
        (200, {}, {"ok": False, "error": "internal_error"}, DeliveryStatus.RETRY, None),
        (200, {}, {"ok": False, "error": "channel_not_found"}, DeliveryStatus.REFUSED, None),
        (200, {}, {"ok": False, "error": "invalid_auth"}, DeliveryStatus.REFUSED, None),
    ],
)
def test_what_slack_says_decides(slack, notification, status, headers, body, expected, after_s) -> None:
    slack.status, slack.headers, slack.body = status, {**slack.headers, **headers}, json.dumps(body).encode()
    delivery = post(slack.url, notification())
    assert (delivery.status, delivery.after_s) == (expected, after_s)
    assert "xoxb" not in delivery.reason


def test_an_answer_that_is_no_json_from_a_broken_proxy_is_tried_again(slack, notification) -> None:
    slack.status, slack.headers, slack.body = 502, {"content-type": "text/html"}, b"<html>Bad gateway</html>"
    assert post(slack.url, notification()).status is DeliveryStatus.RETRY


def test_a_slack_that_hangs_is_tried_again(slack, notification) -> None:
    slack.delay_s = 0.5
    assert post(slack.url, notification(), timeout_s=0.1).status is DeliveryStatus.RETRY


def test_one_attempt_is_one_request_even_when_slack_hangs_up(slack, notification) -> None:
    slack.hangs_up = True
    assert post(slack.url, notification()).status is DeliveryStatus.RETRY
    assert len(slack.received) == 1


def test_a_slack_that_is_not_there_is_tried_again(notification) -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        delivery = post(f"http://127.0.0.1:{bound.getsockname()[1]}/", notification())
    assert delivery.status is DeliveryStatus.RETRY
