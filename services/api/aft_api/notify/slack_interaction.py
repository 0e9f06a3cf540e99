"""Clicks on Slack buttons: proven to come from Slack, then read."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qs

from slack_sdk.signature import Clock as SlackClock
from slack_sdk.signature import SignatureVerifier

from aft_api.errors import AftError
from aft_api.notify.slack_blocks import APPROVE, EDIT, REJECT


class BadSlackSignature(AftError):
    """The request does not prove that Slack sent it."""

    status = HTTPStatus.UNAUTHORIZED


class SlackUserNotAllowed(AftError):
    """This Slack user may not answer reviews."""

    status = HTTPStatus.FORBIDDEN

    def __init__(self, user_id: str) -> None:
        super().__init__(
            f"Slack user {user_id} may not answer reviews; an operator can add the id to AFT_SLACK_APPROVERS.",
            user_id=user_id,
        )


class UnreadableSlackClick(AftError):
    """The request carries no click on one of our buttons."""

    status = HTTPStatus.BAD_REQUEST


@dataclass(frozen=True, kw_only=True)
class SlackClick:
    """Who clicked what, and where Slack shows it."""

    review_id: str
    user_id: str
    choice: str | None
    """approve, reject, or the option that was chosen in the modal; None asks for the modal."""
    message: str = ""
    """Words from the modal."""
    channel: str | None = None
    """Where the message stands; None in the modal."""
    trigger_id: str | None = None
    """Lets a modal be opened, for three seconds."""


def verify(raw_body: bytes, headers: Mapping[str, str], signing_secret: str, now: datetime) -> None:
    """Return if `raw_body` is signed with `signing_secret` within five minutes of `now`.

    The bytes must be the ones that came over the wire: a parsed and rewritten body has another signature.

    Raises:
        BadSlackSignature: it is not signed so, is stale, or its headers make no sense.
    """
    verifier = SignatureVerifier(signing_secret, clock=_FrozenClock(now))
    try:
        # The verifier trusts its input: the timestamp may be no number or an endless one, the body no UTF-8, the
        # signature not ASCII.
        is_genuine = verifier.is_valid_request(raw_body, dict(headers))
    except (ValueError, OverflowError, TypeError):
        is_genuine = False
    if not is_genuine:
        raise BadSlackSignature("The Slack signature is missing, wrong or older than five minutes.")


def parse(raw_body: bytes) -> SlackClick | None:
    """The click in the form body of a verified request; None for one on a button that is a link.

    Raises:
        UnreadableSlackClick: it holds no block action or modal of ours.
    """
    try:
        payload = json.loads(parse_qs(raw_body.decode())["payload"][0])
        return _submission_in(payload) if payload.get("type") == "view_submission" else _action_in(payload)
    except (ValueError, LookupError, TypeError, AttributeError, StopIteration, RecursionError) as error:
        raise UnreadableSlackClick("The request carries no click on an aft button.") from error


def _action_in(payload: Mapping[str, Any]) -> SlackClick | None:
    choices = {APPROVE: "approve", EDIT: None, REJECT: "reject"}
    action = next(action for action in payload["actions"] if action["action_id"] in choices)
    if action.get("url"):
        return None
    channel, trigger_id = payload.get("channel", {}).get("id"), payload.get("trigger_id")
    return SlackClick(
        review_id=str(action["value"]),
        user_id=str(payload["user"]["id"]),
        choice=choices[action["action_id"]],
        channel=None if channel is None else str(channel),
        trigger_id=None if trigger_id is None else str(trigger_id),
    )


def _submission_in(payload: Mapping[str, Any]) -> SlackClick:
    view = payload["view"]
    if view["callback_id"] != EDIT:
        raise ValueError("another modal")
    values = view["state"]["values"]
    return SlackClick(
        review_id=str(view["private_metadata"]),
        user_id=str(payload["user"]["id"]),
        choice=str(values["choice"]["choice"]["selected_option"]["value"]),
        message=str(values.get("message", {}).get("message", {}).get("value") or ""),
    )


class _FrozenClock(SlackClock):
    """The verifier's clock, stopped at a given moment."""

    def __init__(self, now: datetime) -> None:
        self._now_s = now.timestamp()

    def now(self) -> float:
        return self._now_s
