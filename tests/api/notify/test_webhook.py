"""Webhooks against a receiver on loopback."""

import asyncio
import base64
import json
import socket
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from pydantic import ValidationError
from standardwebhooks import Webhook
from standardwebhooks.webhooks import WebhookVerificationError

from aft_api.notify.delivery import Delivery, DeliveryStatus
from aft_api.notify.parcel import Parcel
from aft_api.notify.webhook import WebhookSender
from aft_api.notify.webhook_secrets import WebhookSecrets

SECRET = "whsec_" + base64.b64encode(b"0123456789abcdef0123456789abcdef").decode()


def send(url, notification, *, secret: str | None = SECRET, **settings) -> Delivery:
    async def once() -> Delivery:
        async with httpx.AsyncClient(trust_env=False) as client:
            sender = WebhookSender(client, WebhookSecrets(secret), **settings)
            return await sender.send(Parcel(address=url, message=notification))

    return asyncio.run(once())


def test_a_receiver_can_verify_and_read_it(receiver, notification) -> None:
    sent = notification()
    assert send(receiver.url + "hook", sent) == Delivery(status=DeliveryStatus.DELIVERED)
    (got,) = receiver.received
    body = Webhook(SECRET).verify(got.body, got.headers)
    assert (got.path, got.headers["webhook-id"]) == ("/hook", sent.notification_id)
    assert (body["type"], body["timestamp"]) == ("review_requested", "2026-03-01T12:00:00Z")
    assert body["data"]["review"]["review_id"] == "run1:0:4:d:review"
    assert body["data"]["details"] == {"step": 44, "score": None}
    with pytest.raises(WebhookVerificationError):
        Webhook(SECRET).verify(got.body.replace(b"44", b"45"), got.headers)


def test_every_attempt_has_the_same_id_and_its_own_time(receiver, notification) -> None:
    now = datetime.now(UTC)
    for attempt in (0, 1):
        send(receiver.url, notification(), clock=lambda attempt=attempt: now + timedelta(seconds=60 * attempt))
    first, second = receiver.received
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert int(second.headers["webhook-timestamp"]) - int(first.headers["webhook-timestamp"]) == 60
    assert first.body == second.body
    for got in (first, second):
        Webhook(SECRET).verify(got.body, got.headers)


def test_without_a_secret_it_is_sent_unsigned(receiver, notification) -> None:
    send(receiver.url, notification(), secret=None)
    (got,) = receiver.received
    assert "webhook-signature" not in got.headers
    assert json.loads(got.body)["data"]["run_id"] == "run1"


@pytest.mark.parametrize(
    ("status", "headers", "expected", "after_s"),
    [
        (204, {}, DeliveryStatus.DELIVERED, None),
        (500, {}, DeliveryStatus.RETRY, None),
        (503, {"retry-after": "30"}, DeliveryStatus.RETRY, 30.0),
        (429, {"retry-after": "7"}, DeliveryStatus.RETRY, 7.0),
        (404, {}, DeliveryStatus.RETRY, None),
        (410, {}, DeliveryStatus.GONE, None),
    ],
)
def test_only_2xx_delivers(receiver, notification, status, headers, expected, after_s) -> None:
    receiver.status, receiver.headers = status, headers
    delivery = send(receiver.url, notification())
    assert (delivery.status, delivery.after_s) == (expected, after_s)
    assert bool(delivery.reason) is (expected is not DeliveryStatus.DELIVERED)


def test_a_redirect_is_not_followed(receiver, notification) -> None:
    receiver.status, receiver.headers = 307, {"location": receiver.url + "elsewhere"}
    assert send(receiver.url, notification()).status is DeliveryStatus.RETRY
    assert [got.path for got in receiver.received] == ["/"]


def test_a_receiver_that_does_not_answer_is_tried_again(receiver, notification) -> None:
    receiver.delay_s = 0.5
    delivery = send(receiver.url, notification(), timeout_s=0.1)
    assert (delivery.status, delivery.reason) == (DeliveryStatus.RETRY, "no answer within 0.1 s")


def test_a_receiver_that_is_not_there_is_tried_again(notification) -> None:
    with socket.socket() as bound:  # bound but not listening: a port where nobody answers
        bound.bind(("127.0.0.1", 0))
        delivery = send(f"http://127.0.0.1:{bound.getsockname()[1]}/", notification())
    assert delivery.status is DeliveryStatus.RETRY
    assert delivery.reason.startswith("unreachable")


@pytest.mark.parametrize("url", ["ftp://127.0.0.1/x", "nowhere", "http://[bad]/", "http://127.0.0.1:port/"])
def test_a_url_that_can_never_be_posted_to_is_refused(notification, url: str) -> None:
    assert send(url, notification()).status is DeliveryStatus.REFUSED


@pytest.mark.parametrize("secret", ["", " ", "whsec_", "whsec_%%%", "whsec_a", f"{SECRET} whsec_a"])
def test_a_secret_that_cannot_sign_is_refused_when_it_is_set(secret: str) -> None:
    with pytest.raises(ValueError, match="AFT_WEBHOOK_SECRET"):
        WebhookSecrets(secret)
    with pytest.raises(ValueError, match="AFT_WEBHOOK_SECRETS"):
        WebhookSecrets(None, {"a.example": secret})


OTHER_SECRET = "whsec_" + base64.b64encode(b"fedcba9876543210fedcba9876543210").decode()


@pytest.mark.parametrize(
    ("url", "verified_with"),
    [
        ("https://a.example/hook", OTHER_SECRET),
        ("https://A.example:443/hook", OTHER_SECRET),
        ("http://b.example:81/hook", OTHER_SECRET),
        ("http://b.example/hook", SECRET),
        ("http://c.example/hook", SECRET),
    ],
)
def test_a_receiver_may_have_a_secret_of_its_own(url: str, verified_with: str) -> None:
    secrets = WebhookSecrets(SECRET, {"a.example": OTHER_SECRET, "b.example:81": OTHER_SECRET})
    now = datetime.now(UTC)
    headers = {
        "webhook-id": "m1",
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": secrets.signature(url, "m1", now, "{}") or "",
    }
    assert Webhook(verified_with).verify("{}", headers) == {}
    with pytest.raises(WebhookVerificationError):
        Webhook({SECRET: OTHER_SECRET, OTHER_SECRET: SECRET}[verified_with]).verify("{}", headers)


@pytest.mark.parametrize("known", [SECRET, OTHER_SECRET])
def test_while_secrets_change_receivers_of_either_can_verify(receiver, notification, known: str) -> None:
    send(receiver.url, notification(), secret=f"{SECRET} {OTHER_SECRET}")
    (got,) = receiver.received
    assert len(got.headers["webhook-signature"].split(" ")) == 2
    assert Webhook(known).verify(got.body, got.headers)["data"]["run_id"] == "run1"


@pytest.mark.parametrize("key", ["run.1", "two words", "", "line\nbreak", "ümlaut"])
def test_a_key_that_no_header_can_carry_is_refused(notification, key: str) -> None:
    with pytest.raises(ValidationError):
        notification(notification_id=key)
