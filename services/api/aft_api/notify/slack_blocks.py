"""A notification as Slack's Block Kit: the evidence, and buttons that carry a review's id and nothing else."""

from typing import Any

from aft_api.notify.message import Notification
from aft_contracts import Answer, Review, ReviewStatus

SECTION_CHARS = 2900
"""Slack refuses a section of more than 3,000 characters."""

MOST_FIELDS = 10
"""Slack refuses a section of more than 10 fields."""

FIELD_CHARS = 1900
"""Slack refuses a field of more than 2,000 characters."""

ACTION_IDS = {Answer.APPROVE: "aft_approve", Answer.REJECT: "aft_reject"}
"""What a click on each button is called when Slack reports it."""


def blocks_of(notification: Notification) -> list[dict[str, Any]]:
    """The message's blocks; a question gets its buttons, anything else is told and no more."""
    blocks = _told(notification)
    if notification.review is not None:
        blocks += _question(notification, notification.review)
    return blocks


def answered_blocks(notification: Notification, review: Review | None) -> list[dict[str, Any]]:
    """The blocks of a message whose question nobody need answer any more: who answered what, and no buttons."""
    blocks = _told(notification)
    if review is not None and notification.review is not None and review.question != notification.text:
        blocks.append(_section(_escaped(review.question)))
    return [*blocks, _section(f"*{_escaped(outcome_of(review))}*")]


def outcome_of(review: Review | None) -> str:
    """What became of a question, in words."""
    if review is None or review.status is ReviewStatus.WITHDRAWN:
        return "The question was taken back: its run has ended."
    if review.decision is None:
        return "The question waits for an answer."
    return f"Answered {review.decision.answer} by {review.decided_by or 'unknown'}."


def _told(notification: Notification) -> list[dict[str, Any]]:
    link = f"<{notification.run_url}|{_escaped(notification.run_name)}>"
    blocks = [_section(f"*{_escaped(notification.kind.replace('_', ' '))}* · {link}\n{_escaped(notification.text)}")]
    figures = [_field(name, value) for name, value in notification.details.items()][:MOST_FIELDS]
    if figures:
        blocks.append({"type": "section", "fields": figures})
    return blocks


def _question(notification: Notification, review: Review) -> list[dict[str, Any]]:
    asked = [] if review.question == notification.text else [_section(_escaped(review.question))]
    links = [f"<{notification.run_url}|run {_escaped(notification.run_id)}>"]
    if notification.review_url is not None:
        links.append(f"<{notification.review_url}|the whole report, and other answers>")
    return [
        *asked,
        {
            "type": "actions",
            "block_id": "aft_review",
            "elements": [
                _button("Approve", Answer.APPROVE, "primary", review.review_id),
                _button("Reject", Answer.REJECT, "danger", review.review_id),
            ],
        },
        {"type": "context", "elements": [{"type": "mrkdwn", "text": " · ".join(links)}]},
    ]


def _button(label: str, answer: Answer, style: str, review_id: str) -> dict[str, Any]:
    return {
        "type": "button",
        "action_id": ACTION_IDS[answer],
        "style": style,
        "text": {"type": "plain_text", "text": label},
        "value": review_id,
    }


def _section(text: str) -> dict[str, Any]:
    return {"type": "section", "text": {"type": "mrkdwn", "text": _cut(text, SECTION_CHARS)}}


def _field(name: str, value: object) -> dict[str, Any]:
    return {"type": "mrkdwn", "text": _cut(f"*{_escaped(name)}*\n{_escaped(str(value))}", FIELD_CHARS)}


def _escaped(text: str) -> str:
    """Slack's three control characters, so that no name or id can write a link or a mention."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _cut(text: str, chars: int) -> str:
    return text if len(text) <= chars else f"{text[: chars - 1]}…"
